"""Occupancy that others have made."""
