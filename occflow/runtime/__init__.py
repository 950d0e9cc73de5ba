"""Running a trained forecaster: on windows, on logs, on streams."""
