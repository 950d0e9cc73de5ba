"""What forecasts: networks and rules over one interface, their checkpoints, consensus."""
