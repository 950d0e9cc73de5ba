"""Forecast risks of planned paths against the share of true futures in which they are struck."""
