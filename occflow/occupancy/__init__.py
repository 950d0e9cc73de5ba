"""Occupancy sequences: building them from logs, storing them, cutting them into windows."""
