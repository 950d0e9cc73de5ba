"""From a film to files of other programs: MCAP (Foxglove), .rrd (Rerun), PLY (anything)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.viewing.export_mcap import write_mcap
from occflow.viewing.export_ply import write_ply
from occflow.viewing.export_rerun import write_rerun
from occflow.viewing.film import Film
from occflow.viewing.names import film_path, plain_names
from occflow.viewing.panels import view_value
from occflow.viewing.scene import class_mesh

FORMATS = ("mcap", "rrd", "ply")


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
