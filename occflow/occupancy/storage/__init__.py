"""Frames and forecasts on disk."""
