"""What the tools do, one file a tool's work."""
