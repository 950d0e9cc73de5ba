"""The forecaster: seeds, inputs, ablations, recordings."""
