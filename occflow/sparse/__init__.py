"""Sparse tensors and layers over spconv. Imports nothing else of occflow."""
