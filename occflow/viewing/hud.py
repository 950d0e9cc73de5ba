"""The plates on the player's window: title, keys, legend and timeline, drawn with PIL; what a click on them means; and
how they come into the window.

Positions are pixels of the window, from its upper left corner. Open3D's window without Vulkan has neither text nor
widgets, so the plates are textured quads that stay right before the eye, and names lie in the scene.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from occflow.geometry import invert, transform
from occflow.grid import CLASS_NAMES
from occflow.viewing.cameras import Camera
from occflow.viewing.film import without_class
from occflow.viewing.headless import NEAR_M
from occflow.viewing.palette import (
    DIFFERENCE_COLOURS,
    DIFFERENCE_NAMES,
    EGO_BODY,
    FAINT_INK,
    HIGH_RGB,
    INK,
    LOW_RGB,
    RAMP,
    palette_named,
    probability_colours,
)
from occflow.viewing.panels import time_text
from occflow.viewing.stage import CLASSES, DIFFERENCE, PROBABILITY, Stage

TEXT_PX, LINE_PX, PAD_PX = 14, 21, 10
PLATE, RIM, MARKED = (255, 255, 255), (205, 205, 212), (228, 236, 252)
TRACK, KNOB, PAST, FUTURE = (215, 217, 224), (25, 90, 235), (120, 120, 130), (25, 90, 235)
TIMELINE_PX = 52
PLAY_PX = 46  # width of the play button
PLATE_DEPTH_M = 1.05 * NEAR_M
# Corners come clockwise from the upper left; faces are seen from where their corners run anticlockwise.
_UVS = np.array([(0, 0), (0, 1), (1, 1), (0, 0), (1, 1), (1, 0)], dtype=np.float64)
Rect = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Plate:
    """An opaque picture on the window, with its clickable parts.

    Args:
        image: width a multiple of 4, as textures want it.
        left, top: where its corner lies.
        parts: (rectangle on the window, what it stands for): ("class", label), ("play",), ("instant", index).
    """

    image: Image.Image
    left: int
    top: int
    parts: list[tuple[Rect, tuple]] = field(default_factory=list)

    def hit(self, x: float, y: float) -> tuple | None:
        """What lies under a pixel of the window: a part, ("plate",), or None outside."""
        for (left, top, right, bottom), meaning in self.parts:
            if left <= x < right and top <= y < bottom:
                return meaning
        inside = 0 <= x - self.left < self.image.width and 0 <= y - self.top < self.image.height
        return ("plate",) if inside else None


def title_plate(stage: Stage) -> Plate:
    """Scene, what is shown, and how well it agrees with the truth."""
    lines = [stage.film.scene, stage.text(), *filter(None, [stage.figures()])]
    return _text_plate(lines, 8, 8, strong=1)


def keys_plate(keys: list[tuple[str, str]], top: int, chosen: Set[str] = frozenset()) -> Plate:
    """The keys and what they do; those of what is chosen are marked."""
    marked = {number for number, (key, _) in enumerate(keys) if key in chosen}
    return _text_plate([f"{key}\t{meaning}" for key, meaning in keys], 8, top, marked=marked)


def legend_plate(stage: Stage, width_px: int) -> Plate:
    """The classes (a click hides one) with their colours where these are on stage, and what the colours say where they
    say something else."""
    panes = stage.panes()
    drawn = {pane.drawn for pane in panes}
    entries: list[tuple[str, tuple | None, tuple | None]] = []  # name, colour, what a click means
    if DIFFERENCE in drawn:
        entries += [(name, colour, None) for name, colour in zip(DIFFERENCE_NAMES, DIFFERENCE_COLOURS)]
        entries.append(("pale: the ground", None, None))
    if PROBABILITY in drawn:
        entries += [(f"{100 * p:g} % of samples", colour, None) for p, colour in zip(RAMP, probability_colours(RAMP))]
        entries.append(("grey: the ground", None, None))
    by_height = [without_class(pane.frame) for pane in panes if pane.drawn == CLASSES]
    if any(mask.any() for mask in by_height):
        entries += [("no class, high", HIGH_RGB, None), ("no class, low", LOW_RGB, None)]
    coloured = any(not mask.all() for mask in by_height)
    if coloured or drawn != {CLASSES}:  # a filter works on those that are not coloured too
        palette = palette_named(stage.look.palette)
        entries.append(("click: hide, show", None, None))
        entries += [(CLASS_NAMES[label].replace("_", " "), palette[label] if coloured else None, ("class", label))
                    for label in stage.film.labels()]
    entries.append(("ego vehicle", EGO_BODY, None))
    font = ImageFont.load_default(size=TEXT_PX)
    plate = _blank(2 * PAD_PX + 22 + max(int(font.getlength(name)) for name, _, _ in entries),
                   2 * PAD_PX + LINE_PX * len(entries))
    left, top, draw, parts = width_px - plate.width - 8, 8, ImageDraw.Draw(plate), []
    for number, (name, colour, meaning) in enumerate(entries):
        y = PAD_PX + number * LINE_PX
        hidden = meaning is not None and meaning[1] in stage.look.hidden
        if colour is not None:
            fill = PLATE if hidden else tuple(int(value) for value in colour)
            draw.rectangle((PAD_PX, y + 2, PAD_PX + 14, y + 16), fill=fill, outline=FAINT_INK)
        note = colour is None and meaning is None
        ink = RIM if hidden else FAINT_INK if note else INK
        draw.text((PAD_PX + (0 if note else 22), y), name, fill=ink, font=font)
        if meaning:
            parts.append(((left, top + y, left + plate.width, top + y + LINE_PX), meaning))
    return Plate(plate, left, top, parts)


def timeline_plate(stage: Stage, playing: bool, width_px: int, height_px: int) -> Plate:
    """Play button and slider; a click or a drag goes to an instant."""
    film, count = stage.film, len(stage.film.seconds)
    plate = _blank(width_px - 16, TIMELINE_PX)
    left, top, draw = 8, height_px - TIMELINE_PX - 8, ImageDraw.Draw(plate)
    _draw_button(draw, playing)
    ticks = np.linspace(PLAY_PX + 24, plate.width - 34, count) if count > 1 else np.array([PLAY_PX + 24.0])
    middle = 18
    draw.line((ticks[0], middle, ticks[-1], middle), fill=TRACK, width=6)
    font, last_right = ImageFont.load_default(size=TEXT_PX - 2), -np.inf
    for index, x in enumerate(ticks):
        colour = PAST if index <= film.now else FUTURE
        draw.ellipse((x - 4, middle - 4, x + 4, middle + 4), fill=colour)
        text = time_text(film.seconds[index]) if film.now + 1 < count else f"{film.seconds[index]:.1f} s"
        half = font.getlength(text) / 2
        if x - half > last_right + 6 or index == 0:
            draw.text((x, 33), text, fill=INK if index == stage.index else FAINT_INK, font=font, anchor="ma")
            last_right = x + half
    x = ticks[stage.index]
    draw.ellipse((x - 9, middle - 9, x + 9, middle + 9), fill=PLATE, outline=KNOB, width=4)
    edges = np.r_[ticks[0] - 20, (ticks[1:] + ticks[:-1]) / 2, ticks[-1] + 20]
    parts = [((left, top, left + PLAY_PX, top + TIMELINE_PX), ("play",))]
    parts += [((left + a, top, left + b, top + TIMELINE_PX), ("instant", i))
              for i, (a, b) in enumerate(zip(edges, edges[1:]))]
    return Plate(plate, left, top, parts)


def _draw_button(draw: ImageDraw.ImageDraw, playing: bool) -> None:
    if playing:
        draw.rectangle((16, 14, 22, 38), fill=INK)
        draw.rectangle((28, 14, 34, 38), fill=INK)
    else:
        draw.polygon([(16, 13), (16, 39), (38, 26)], fill=INK)


def ground_label(text: str) -> Image.Image:
    """A name to lie on the ground beside a grid."""
    font = ImageFont.load_default(size=48)
    image = Image.new("RGB", (4 * ((int(font.getlength(text)) + 28) // 4), 72), PLATE)
    ImageDraw.Draw(image).text((image.width // 2, 36), text, fill=INK, font=font, anchor="mm")
    return image


def _blank(width_px: int, height_px: int) -> Image.Image:
    plate = Image.new("RGB", (4 * ((width_px + 3) // 4), height_px), PLATE)
    ImageDraw.Draw(plate).rectangle((0, 0, plate.width - 1, plate.height - 1), outline=RIM)
    return plate


def _text_plate(lines: list[str], left: int, top: int, strong: int = -1, marked: Set[int] = frozenset()) -> Plate:
    """Lines of text; what stands before a tab is a column of its own. Line `strong` is larger, those `marked` have a
    bar before them."""
    font, large = ImageFont.load_default(size=TEXT_PX), ImageFont.load_default(size=TEXT_PX + 5)
    columns = [line.split("\t") for line in lines]
    first_px = max((int(font.getlength(one[0])) + 12 for one in columns if len(one) > 1), default=0)
    width = max(int((large if n == strong else font).getlength(one[-1])) for n, one in enumerate(columns)) + first_px
    plate = _blank(width + 2 * PAD_PX, 2 * PAD_PX + LINE_PX * len(lines))
    draw = ImageDraw.Draw(plate)
    for number, one in enumerate(columns):
        y = PAD_PX + LINE_PX * number
        if number in marked:
            draw.rectangle((2, y - 1, plate.width - 3, y + LINE_PX - 3), fill=MARKED)
            draw.rectangle((2, y - 1, 5, y + LINE_PX - 3), fill=KNOB)
        if len(one) > 1:
            draw.text((PAD_PX, y), one[0], fill=INK, font=font)
        is_strong = number == strong or number in marked
        draw.text((PAD_PX + (first_px if len(one) > 1 else 0), y - (2 if number == strong else 0)), one[-1],
                  fill=INK if is_strong else FAINT_INK, font=large if number == strong else font)
    return Plate(plate, left, top)


class Overlay:
    """The textured quads of one Visualizer, by name."""

    def __init__(self, open3d, visualizer) -> None:
        self._open3d, self._visualizer = open3d, visualizer
        self._quads: dict[str, object] = {}

    def put(self, name: str, image: Image.Image, corners_m: np.ndarray) -> None:
        """Show a picture between corners [4, 3], grid frame: upper left, then clockwise."""
        self.remove(name)
        o3d = self._open3d
        quad = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(_anticlockwise(corners_m)),
                                         o3d.utility.Vector3iVector([[0, 1, 2], [0, 2, 3]]))
        quad.triangle_uvs = o3d.utility.Vector2dVector(_UVS)
        quad.textures = [o3d.geometry.Image(np.ascontiguousarray(np.asarray(image.convert("RGB"))))]
        quad.triangle_material_ids = o3d.utility.IntVector([0, 0])
        self._visualizer.add_geometry(quad, reset_bounding_box=False)
        self._quads[name] = quad

    def move(self, name: str, corners_m: np.ndarray) -> None:
        """Put a picture that is there elsewhere."""
        self._quads[name].vertices = self._open3d.utility.Vector3dVector(_anticlockwise(corners_m))
        self._visualizer.update_geometry(self._quads[name])

    def remove(self, name: str) -> None:
        """Take a picture away, if it is there."""
        if name in self._quads:
            self._visualizer.remove_geometry(self._quads.pop(name), reset_bounding_box=False)

    def keep_only(self, names: set[str]) -> None:
        """Take all other pictures away."""
        for name in set(self._quads) - names:
            self.remove(name)


def plate_corners(camera: Camera, window_px: tuple[int, int], left: int, top: int, size_px: tuple[int, int]) \
        -> np.ndarray:
    """Corners [4, 3] before the camera that cover a rectangle of the window pixel by pixel."""
    right, bottom = left + size_px[0], top + size_px[1]
    pixels = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - 0.5
    rays = np.column_stack([pixels, np.ones(4)]) @ np.linalg.inv(camera.intrinsic(*window_px)).T
    return transform(invert(camera.extrinsic()), rays * PLATE_DEPTH_M)


def _anticlockwise(corners_m: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(corners_m, dtype=np.float64)[[0, 3, 2, 1]])
