"""From a window, a store or a whole drive to files of other programs: MCAP (Foxglove), .rrd (Rerun), PLY (anything),
HTML (a browser)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.occupancy.storage.saved_forecasts import SavedForecasts
from occflow.viewing.drive import Drive, drive_of_film, drive_of_saved, log_of_store
from occflow.viewing.film import Film, film_path, plain_names
from occflow.viewing.mcap_file import write_layout, write_mcap
from occflow.viewing.meshes import Mesh
from occflow.viewing.page import PageWindow, window_of_film, write_page
from occflow.viewing.panels import view_palette, view_value
from occflow.viewing.rerun_file import write_rerun
from occflow.viewing.saved_windows import SavedWindows, store_of_saved
from occflow.viewing.scene import Look, class_mesh

FORMATS = ("mcap", "rrd", "ply", "html")
LAYOUT = "foxglove.json"  # beside an MCAP file: how Foxglove shows it
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


def export_film(film: Film, folder: Path, view: Mapping,
                windows: Callable[[], Sequence[PageWindow]] | None = None) -> Iterator[Path]:
    """Write a film in the formats of view.formats to `folder`, yielding each path when it is there.

    Files are named after the scene and after what it was read from, a run (SCENE.forecast.mcap) or a store
    (SCENE.occupancy.mcap); a layout for Foxglove goes with an MCAP file. PLY is one file for each source, of the
    instant nearest to view.ply_s.

    Args:
        windows: what an HTML page shows; None: the film alone.

    Raises:
        InputError: an unknown format, a missing package, or a scene whose name cannot be that of a file.
    """
    formats, palette = _formats(view), view_palette(view)
    for suffix, everywhere in (("mcap", False), ("rrd", True)):
        if suffix in formats:
            yield from _write(suffix, drive_of_film(film, everywhere), folder, palette)
    if "html" in formats:
        yield write_page(film_path(folder, film, "html"), film.grid, film.scene,
                         windows() if windows else [window_of_film(film, film.scene)], palette=palette)
    if "ply" in formats:
        yield from _write_frames(film, Path(folder), float(view_value(view, "ply_s", "1.0")), palette)


def export_drive(saved: SavedForecasts, folder: Path, view: Mapping, log: Mapping) -> Iterator[Path]:
    """Write a whole drive, all windows of a scene of a folder that eval.save=all made (SCENE.drive.mcap), likewise;
    with view.lidar also the sweeps of the configured log, where that is the one that the drive is of. A page
    (SCENE.drive.html) has the windows, one after the other.

    Raises:
        InputError: as `export_film`; no such scene, its store is not there, or a format that has no time.
    """
    formats = _formats(view)
    if "ply" in formats:
        raise InputError(f"{saved.folder}: a PLY file is of one instant; name a run or a store for it")
    store, palette, found = store_of_saved(saved, view), view_palette(view), None
    if "html" in formats:
        windows = SavedWindows(saved, store, view.get("scene"), view.get("forecasts") or ())
        yield write_page(film_path(folder, windows, "html"), store.grid, windows.scene, windows.page_windows(),
                         palette=palette)
        formats = [suffix for suffix in formats if suffix != "html"]
    if not formats:
        return
    if view_value(view, "lidar", "true"):
        found, lack = log_of_store(store, log)
        if found is None:
            print(f"no LiDAR points: {lack}; name the log with log=... (view.lidar=false: none are wanted)", flush=True)
    drive = drive_of_saved(saved, store, view.get("scene"), view.get("forecasts") or (),
                           view_value(view, "times_s", "[1,2,3]"), found)
    for suffix in formats:
        yield from _write(suffix, drive, folder, palette)


def _formats(view: Mapping) -> list[str]:
    formats = view_value(view, "formats", "[mcap]")
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"view.formats: no format '{unknown[0]}'; known: {', '.join(FORMATS)}")
    return formats


def _write(suffix: str, drive: Drive, folder: Path, palette: str) -> Iterator[Path]:
    path = film_path(folder, drive, suffix)
    if suffix == "rrd":
        write_rerun(path, drive, palette)
        yield path
        return
    write_mcap(path, drive, palette)
    yield path
    layout = film_path(folder, drive, LAYOUT)
    write_layout(layout, drive)
    yield layout


def _write_frames(film: Film, folder: Path, wanted_s: float, palette: str) -> Iterator[Path]:
    index = min(range(len(film.seconds)), key=lambda one: abs(film.seconds[one] - wanted_s))
    names = plain_names(film.sources)
    for name, frames in film.sources.items():
        path = film_path(folder, film, f"{names[name]}.{film.seconds[index]:.1f}s.ply")
        write_ply(path, class_mesh(film.grid, frames[index], Look(palette=palette)))
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
