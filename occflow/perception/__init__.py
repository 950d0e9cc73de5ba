"""What a car sees: from what its sweeps have shown to labelled, completed occupancy with a confidence."""
