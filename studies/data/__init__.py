"""The data: builds against exact occupancy, recordings, speeds."""
