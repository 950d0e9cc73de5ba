"""Running a trained forecaster: on windows, on logs, later on streams."""
