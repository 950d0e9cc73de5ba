"""From sweeps to frames."""
