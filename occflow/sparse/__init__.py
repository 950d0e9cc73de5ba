"""Sparse tensors and layers, over spconv where it computes. Imports nothing else of occflow."""
