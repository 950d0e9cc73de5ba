"""From a film to files of other programs: MCAP (Foxglove), .rrd (Rerun), PLY (anything)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.viewing.export_mcap import write_mcap
from occflow.viewing.export_rerun import write_rerun
from occflow.viewing.film import Film, film_path, plain_names
from occflow.viewing.meshes import Mesh
from occflow.viewing.panels import view_value
from occflow.viewing.scene import class_mesh

FORMATS = ("mcap", "rrd", "ply")
PLY_HEADER = """ply
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
PLY_VERTEX = np.dtype([("place", "<f4", 3), ("colour", "u1", 3)])
PLY_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def export_film(film: Film, folder: Path, view: Mapping) -> Iterator[Path]:
    """Write a film in the formats of view.formats to `folder`, yielding each path when it is there.

    Files are named after the scene and after what it was read from, a run (SCENE.forecast.mcap) or a store
    (SCENE.occupancy.mcap). PLY is one file for each source, of the instant nearest to view.ply_s.

    Raises:
        InputError: an unknown format, a missing package, or a scene whose name cannot be that of a file.
    """
    formats = view_value(view, "formats", "[mcap]")
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"view.formats: no format '{unknown[0]}'; known: {', '.join(FORMATS)}")
    for write, suffix in ((write_mcap, "mcap"), (write_rerun, "rrd")):
        if suffix in formats:
            path = film_path(folder, film, suffix)
            write(path, film)
            yield path
    if "ply" in formats:
        yield from _write_frames(film, Path(folder), float(view_value(view, "ply_s", "1.0")))


def _write_frames(film: Film, folder: Path, wanted_s: float) -> Iterator[Path]:
    index = min(range(len(film.seconds)), key=lambda one: abs(film.seconds[one] - wanted_s))
    names = plain_names(film.sources)
    for name, frames in film.sources.items():
        path = film_path(folder, film, f"{names[name]}.{film.seconds[index]:.1f}s.ply")
        write_ply(path, class_mesh(film.grid, frames[index]))
        yield path


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh as a PLY file (binary), which every 3D program opens, its vertices in the grid frame, metres."""
    vertices, faces = np.zeros(len(mesh.vertices), PLY_VERTEX), np.zeros(len(mesh.triangles), PLY_FACE)
    vertices["place"], vertices["colour"] = mesh.vertices, np.rint(255 * mesh.colours)
    faces["count"], faces["corners"] = 3, mesh.triangles
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream:
        stream.write(PLY_HEADER.format(vertices=len(vertices), faces=len(faces)).encode())
        stream.write(vertices.tobytes())
        stream.write(faces.tobytes())
