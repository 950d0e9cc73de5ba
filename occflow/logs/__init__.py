"""Driving logs: one reader a file, all behind the DrivingLog protocol."""
