"""occflow: one-step sparse occupancy forecasting from driving logs."""

__version__ = "0.1.0"
