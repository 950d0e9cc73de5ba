"""One HTML file that shows a run, a stream or a scene of a store in a browser, without a server or a network: the
voxels packed (occflow.viewing.page_voxels), a program that draws them (browser/), and three.js, all inside.

Nothing of what a run calls its scenes and forecasts becomes markup or program: the page's description is JSON without
any "<", it is shown as text alone, and a policy in the page lets run no other script than those it was written with.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, FLAT_CLASSES, MOVABLE_CLASSES, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.cameras import DISTANCE_M, LOWEST_EYE_M, PRESETS, preset
from occflow.viewing.film import CAUSAL, HISTORY, OCCUPANCY, TRUTH, Film
from occflow.viewing.meshes import CORNER_LIGHT, OUTLINE_LIGHT, SIDES
from occflow.viewing.page_voxels import Blocks
from occflow.viewing.palette import (
    AGREED_GREYS,
    DIFFERENCE_COLOURS,
    DIFFERENCE_NAMES,
    EGO_BODY,
    EGO_CABIN,
    HIGH_RGB,
    LOW_RGB,
    OWN,
    PALE_DIFFERENCE_COLOURS,
    PROBABILITY_STOPS,
    RAMP,
    palette_named,
)
from occflow.viewing.scene import OUTLINE
from occflow.viewing.stage import FILTERS

FORMAT = "occflow-page-1"
FOLDER = Path(__file__).parent / "browser"
SCRIPTS = ("voxels.js", "drawing.js", "content.js", "words.js", "page.js")  # one after the other, one program
OBSERVED, TRUE, FORECAST, SAMPLE = KINDS = ("observed", "truth", "forecast", "sample")


@dataclass(frozen=True)
class Layer:
    """What one source says, instant by instant.

    Args:
        name: of the source; of a sample, of who drew it.
        kind: one of KINDS.
        frames: T frames, None where it says nothing. Those of an instant share one grid pose.
    """

    name: str
    kind: str
    frames: Sequence[OccupancyFrame | None]


@dataclass(frozen=True)
class PageWindow:
    """Some instants of a page that are looked at together: a run's window, an instant of a stream, a scene.

    Args:
        name: what the selector calls it.
        note: a line about it; may be empty.
        seconds: time of each of the T instants, relative to the present (or to the start of a scene).
        now: index of the present; forecasts speak of what comes after it.
        layers: in the order of the lists of sources; samples of one sampler one after the other.
    """

    name: str
    note: str
    seconds: Sequence[float]
    now: int
    layers: Sequence[Layer]


def window_of_film(film: Film, name: str, note: str = "") -> PageWindow:
    """A film as a window of a page: what was observed until the present, the truth, forecasts and samples after it."""
    instants, ahead = range(len(film.seconds)), len(film.seconds) - film.now - 1
    layers, samples = [], {}
    for source, frames in film.sources.items():
        if source in (HISTORY, OCCUPANCY, CAUSAL):
            layers.append(Layer(source, OBSERVED, [frames[index] if index <= film.now else None for index in instants]))
            continue
        kind = TRUE if source == TRUTH else FORECAST
        layers.append(Layer(source, kind, [None] * (film.now + 1) + list(frames[film.now + 1:])))
        futures = film.samples.get(source)
        if futures and not any(futures is one for one in samples.values()):  # several may share them
            samples[film.samplers.get(source, source)] = futures
    for sampler, futures in samples.items():
        layers += [Layer(sampler, SAMPLE, [None] * (film.now + 1) + list(future)) for future in futures
                   if len(future) == ahead]
    return PageWindow(name, note, film.seconds, film.now, layers)


def write_page(path: Path, grid: VoxelGrid, title: str, windows: Iterable[PageWindow], start: int = 0,
               palette: str = OWN) -> Path:
    """Write a page with one or more windows, whose frames all have one grid.

    Args:
        start: the window that is shown first.
        palette: whose colours the classes have.

    Raises:
        InputError: no window, or no such palette.
    """
    blocks, described = Blocks(grid), []
    for window in windows:
        layers = [{"name": one.name, "kind": one.kind} for one in window.layers]
        instants = []
        for index, seconds in enumerate(window.seconds):
            there = [k for k, one in enumerate(window.layers) if one.frames[index] is not None]
            block = blocks.add([window.layers[k].frames[index] for k in there])
            instants.append({"s": round(float(seconds), 4), "block": block, "layers": there})
        described.append({"name": window.name, "note": window.note, "now": window.now, "classes": _classes(window),
                          "layers": layers, "instants": instants})
    if not described:
        raise InputError(f"{path}: there is nothing to show on a page")
    about = {"format": FORMAT, "title": title, "start": start, "grid": grid.to_dict(), **_looks(grid, palette),
             "blocks": blocks.described(), "windows": described}
    text = page_text(about, blocks.packed())
    with atomic_file(Path(path)) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path)


def _classes(window: PageWindow) -> list[int]:
    """The classes that any frame shows, in order; NUM_CLASSES: voxels without one."""
    counts = np.zeros(NUM_CLASSES + 1, dtype=np.int64)
    for frame in {id(frame): frame for one in window.layers for frame in one.frames if frame is not None}.values():
        counts += np.bincount(np.minimum(frame.labels, NUM_CLASSES), minlength=NUM_CLASSES + 1)
    return np.flatnonzero(counts).tolist()


def page_text(about: Mapping, packed: bytes) -> str:
    """The page of a description and the packed blocks that it speaks of."""
    style, three = _read("page.css"), _read("three/three.min.js")
    program = "(() => {\n\"use strict\";\n" + "\n".join(map(_read, SCRIPTS)) + "\n})();"
    policy = "; ".join(["default-src 'none'", f"script-src {_digest(three)} {_digest(program)}",
                        f"style-src {_digest(style)}", "img-src data:", "base-uri 'none'", "form-action 'none'"])
    parts = {"policy": policy, "style": style, "three": three, "program": program,
             "about": json.dumps(about, separators=(",", ":")).replace("<", "\\u003c"),
             "voxels": base64.b64encode(packed).decode()}
    return re.sub(r"@@(\w+)@@", lambda found: parts[found[1]], _read("page.html"))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _looks(grid: VoxelGrid, palette: str) -> dict:
    """Names, colours, light and cameras: those of all other pictures."""
    cameras = {name: preset(name, grid) for name in PRESETS}
    return {
        "classes": [name.replace("_", " ") for name in CLASS_NAMES], "movable": list(MOVABLE_CLASSES),
        "filters": {name: sorted(hidden) for name, hidden in FILTERS.items()},
        "differences": list(DIFFERENCE_NAMES), "ramp": list(RAMP),
        "palette": {"classes": palette_named(palette).tolist(), "difference": DIFFERENCE_COLOURS.tolist(),
                    "pale_difference": PALE_DIFFERENCE_COLOURS.tolist(), "agreed": AGREED_GREYS.tolist(),
                    "probability": PROBABILITY_STOPS.tolist(), "low": LOW_RGB.tolist(), "high": HIGH_RGB.tolist(),
                    "flat": list(FLAT_CLASSES), "ego": [EGO_BODY, EGO_CABIN]},
        "light": {"sides": [side.light for side in SIDES], "corners": CORNER_LIGHT.tolist(),
                  "outline": OUTLINE, "outline_light": OUTLINE_LIGHT, "lowest_eye_m": LOWEST_EYE_M},
        "cameras": {name: {"eye": camera.eye_m.tolist(), "target": camera.target_m.tolist(),
                           "opening_deg": camera.opening_deg} for name, camera in cameras.items()},
        "distance_m": list(DISTANCE_M)}
