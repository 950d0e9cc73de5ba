"""A procedural world that writes driving logs in the nuScenes schema."""
