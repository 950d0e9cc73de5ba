"""The streaming forecaster: a driving log as a stream of sweeps, a forecaster that keeps up, and sinks."""
