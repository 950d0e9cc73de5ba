"""Time, memory and multiply-adds, sparse against dense."""
