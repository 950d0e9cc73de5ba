"""A frame as a PLY file (binary, coloured mesh), which every 3D program opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.viewing.meshes import Mesh

HEADER = """ply
format binary_little_endian 1.0
comment occflow; metres, x forward, y left, z up
element vertex {vertices}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face {faces}
property list uchar int vertex_indices
end_header
"""
VERTEX = np.dtype([("place", "<f4", 3), ("colour", "u1", 3)])
FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh, its vertices in the grid frame, metres."""
    vertices, faces = np.zeros(len(mesh.vertices), VERTEX), np.zeros(len(mesh.triangles), FACE)
    vertices["place"], vertices["colour"] = mesh.vertices, np.rint(255 * mesh.colours)
    faces["count"], faces["corners"] = 3, mesh.triangles
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream:
        stream.write(HEADER.format(vertices=len(vertices), faces=len(faces)).encode())
        stream.write(vertices.tobytes())
        stream.write(faces.tobytes())
