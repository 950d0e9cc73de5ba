"""Every method from one teacher, on held-out drives."""
