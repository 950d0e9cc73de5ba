"""Pictures and the player: occupancy frames as coloured voxel meshes. The only room of pictures that meets Open3D."""
