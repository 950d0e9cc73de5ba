"""Rendered panels of one forecast record, and what PIL draws around them: captions, tables, legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.viewing.cameras import preset
from occflow.viewing.film import marginal, without_class
from occflow.viewing.headless import renderer
from occflow.viewing.meshes import Mesh
from occflow.viewing.palette import (
    BACKGROUND,
    DIFFERENCE_COLOURS,
    DIFFERENCE_NAMES,
    EGO_BODY,
    FAINT_INK,
    HIGH_RGB,
    INK,
    LOW_RGB,
    OWN,
    RAMP,
    palette_named,
    probability_colours,
)
from occflow.viewing.scene import (
    Look,
    class_mesh,
    difference,
    difference_mesh,
    marginal_mesh,
    movers_iou,
    occupied_iou,
)

PANEL_LIMITS_PX = (60, 2000)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LegendEntry:
    """A name and the colour it explains."""

    name: str
    colour: Colour


class Panels:
    """Makes the panels of a record; the same frame is rendered once only.

    Args:
        record: what to show.
        camera: name of a camera preset.
        size_px: width and height of a panel.
        palette: whose colours the classes have, one of palette.PALETTES.
    """

    def __init__(self, record: ForecastRecord, camera: str, size_px: tuple[int, int], palette: str = OWN) -> None:
        self._record, self._size_px, self.palette = record, size_px, palette
        self._camera = preset(camera, record.grid)
        self._drawn: dict[tuple[int, ...], Image.Image] = {}
        self.text_px = max(10, self._size_px[1] // 17)
        self.labels: set[int] = set()  # classes drawn so far
        self.heights = False  # whether any voxel was coloured by its height
        self.kinds: set[int] = set()  # kinds of difference drawn so far
        self.shares = False  # whether any share of samples was drawn

    @classmethod
    def of_view(cls, record: ForecastRecord, view: Mapping, size: str) -> Panels:
        """As group `view` asks; `size` is the key that has theirs, panel_px or animation_px.

        Raises:
            InputError: a setting is missing or not usable.
        """
        return cls(record, view_value(view, "camera", "chase"), panel_size(view, size), view_palette(view))

    def frame(self, frame: OccupancyFrame, remark: str = "") -> Image.Image:
        """A frame coloured by class, its time and a remark in the corners."""
        by_height = without_class(frame)
        self.labels.update(np.unique(frame.labels[~by_height]).tolist())
        self.heights = self.heights or bool(by_height.any())
        panel = self._draw((id(frame),), lambda: class_mesh(self._record.grid, frame, Look(palette=self.palette)))
        return self._finish(panel, frame, remark)

    def difference(self, truth: OccupancyFrame, forecast: OccupancyFrame) -> Image.Image:
        """Agreement of a forecast with the truth; in the corners its time and the frame's IoU, of all and of movers."""
        _, kinds = difference(truth, forecast)
        self.kinds.update(np.unique(kinds).tolist())
        panel = self._draw((id(truth), id(forecast)), lambda: difference_mesh(self._record.grid, truth, forecast))
        figures = {"IoU": occupied_iou(truth, forecast), "movers": movers_iou(truth, forecast)}
        return self._finish(panel, truth, "  ".join(f"{k} {v:.2f}" for k, v in figures.items() if not np.isnan(v)))

    def probability(self, frames: Sequence[OccupancyFrame], around: OccupancyFrame) -> Image.Image:
        """The share of sampled frames of one instant that fill each voxel, with the objects of `around`."""
        self.shares = True
        panel = self._draw(tuple(map(id, (*frames, around))),
                           lambda: marginal_mesh(self._record.grid, marginal(frames), around))
        return self._finish(panel, around)

    def empty(self) -> Image.Image:
        return blank(*self._size_px)

    def class_legend(self) -> list[LegendEntry]:
        """The classes drawn so far, how voxels without one are coloured, and the ego vehicle."""
        return class_entries(self.labels, self.heights, self.palette)

    def difference_legend(self) -> list[LegendEntry]:
        """The kinds of difference drawn so far."""
        return [LegendEntry(DIFFERENCE_NAMES[kind], tuple(DIFFERENCE_COLOURS[kind].tolist()))
                for kind in sorted(self.kinds)]

    def probability_legend(self) -> list[LegendEntry]:
        """What the colours of shares of samples say."""
        return share_entries()

    def _draw(self, key: tuple[int, ...], mesh) -> Image.Image:
        if key not in self._drawn:
            drawn: Mesh = mesh()
            image = Image.fromarray(renderer().render(drawn, self._camera))
            self._drawn[key] = ImageOps.fit(image, self._size_px, Image.Resampling.LANCZOS)
        return self._drawn[key].copy()

    def _finish(self, panel: Image.Image, frame: OccupancyFrame, remark: str = "") -> Image.Image:
        caption(panel, time_text(self._record.seconds(frame)), self.text_px)
        caption(panel, remark, self.text_px, right=True)
        frame_panel(panel)
        return panel


def class_entries(labels: Iterable[int], heights: bool, palette: str) -> list[LegendEntry]:
    """The classes `labels`, where `heights` is true how voxels without one are coloured, and the ego vehicle."""
    entries = [LegendEntry(CLASS_NAMES[label].replace("_", " "), tuple(palette_named(palette)[label].tolist()))
               for label in sorted(labels)]
    if heights:
        entries += [LegendEntry(f"no class, {height}", tuple(colour.tolist()))
                    for height, colour in (("low", LOW_RGB), ("high", HIGH_RGB))]
    return [*entries, LegendEntry("ego vehicle (white roof)", EGO_BODY)]


def share_entries() -> list[LegendEntry]:
    """What the colours of shares of samples say."""
    return [LegendEntry(f"{100 * share:g} %", tuple(colour.tolist()))
            for share, colour in zip(RAMP, probability_colours(np.array(RAMP)))]


def blank(width_px: int, height_px: int) -> Image.Image:
    return Image.new("RGB", (width_px, height_px), BACKGROUND)


def write(image: Image.Image, at: tuple[int, int], text: str, size_px: int, colour: Colour = INK,
          anchor: str = "la") -> None:
    """Text in PIL's own font, so that every machine draws the same; characters are ASCII."""
    ImageDraw.Draw(image).text(at, text, fill=colour, font=ImageFont.load_default(size=size_px), anchor=anchor)


def caption(image: Image.Image, text: str, size_px: int, right: bool = False) -> None:
    """Text on a light plate in the upper left (or right) corner of a panel."""
    if not text:
        return
    draw, font, pad = ImageDraw.Draw(image), ImageFont.load_default(size=size_px), size_px // 3
    width = int(draw.textlength(text, font=font)) + 2 * pad
    left = image.width - width - pad if right else pad
    draw.rounded_rectangle((left, pad, left + width, pad + round(1.5 * size_px)), pad, fill=(255, 255, 255),
                           outline=(215, 215, 220))
    draw.text((left + pad, pad + round(0.75 * size_px)), text, fill=INK, font=font, anchor="lm")


def frame_panel(image: Image.Image) -> None:
    """A thin border around a panel."""
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=(205, 205, 212))


def legend(width_px: int, size_px: int, title: str, entries: Iterable[LegendEntry]) -> Image.Image:
    """A strip `width_px` wide: the title, then colour patches with names, wrapped into as many lines as needed."""
    font = ImageFont.load_default(size=size_px)
    line_px, gap = round(1.7 * size_px), size_px
    x, y, placed = int(font.getlength(title)) + gap, 0, []
    for entry in entries:
        entry_px = round(1.5 * size_px) + int(font.getlength(entry.name)) + gap
        if x + entry_px > width_px and placed:
            x, y = gap, y + line_px
        placed.append((x, y, entry))
        x += entry_px
    strip = blank(width_px, y + line_px)
    write(strip, (0, line_px // 2), title, size_px, FAINT_INK, "lm")
    draw = ImageDraw.Draw(strip)
    for x, y, entry in placed:
        top = y + (line_px - size_px) // 2
        draw.rectangle((x, top, x + size_px, top + size_px), fill=tuple(entry.colour), outline=FAINT_INK)
        write(strip, (x + round(1.4 * size_px), y + line_px // 2), entry.name, size_px, INK, "lm")
    return strip


def stack(images: list[Image.Image], gap_px: int, margin_px: int) -> Image.Image:
    """Images one below the other, flush left, with a margin around all of them."""
    height = sum(image.height for image in images) + gap_px * (len(images) - 1)
    canvas = blank(max(image.width for image in images) + 2 * margin_px, height + 2 * margin_px)
    y = margin_px
    for image in images:
        canvas.paste(image, (margin_px, y))
        y += image.height + gap_px
    return canvas


def panel_table(headings: Sequence[str], rows: Sequence[Sequence[Image.Image]], text_px: int,
                gap_px: int) -> Image.Image:
    """Panels of one size in rows, each column under its heading."""
    (width, height), head_px = rows[0][0].size, round(1.6 * text_px)
    table = blank(len(headings) * (width + gap_px) - gap_px, head_px + len(rows) * (height + gap_px) - gap_px)
    for column, heading in enumerate(headings):
        x = column * (width + gap_px)
        write(table, (x + width // 2, head_px // 2), heading, text_px, anchor="mm")
        for row, images in enumerate(rows):
            table.paste(images[column], (x, head_px + row * (height + gap_px)))
    return table


def time_text(seconds: float) -> str:
    """Time after the present as people write it."""
    return "now" if abs(seconds) < 0.05 else f"{seconds:+.1f} s"


def view_value(view: Mapping, key: str, example: str):
    """A value of the view configuration.

    Raises:
        InputError: the key is missing.
    """
    if view.get(key) is None:
        raise InputError(f"configs/view: view.{key} is missing; set it, such as view.{key}={example}")
    return view[key]


def view_numbers(view: Mapping, key: str, example: str, within: tuple[float, float], remedy: str,
                 count: int | None = None) -> list[float]:
    """Numbers of the view configuration: `count` of them, or any but none; also a single one.

    Raises:
        InputError: missing, or not such numbers; the message ends with the remedy.
    """
    value = view_value(view, key, example)
    try:
        numbers = [float(number) for number in ([value] if isinstance(value, (int, float)) else value)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != (count or len(numbers) or 1) or not all(within[0] <= one <= within[1] for one in numbers):
        raise InputError(f"view.{key}={value} is not usable; {remedy}")
    return numbers


def panel_size(view: Mapping, key: str) -> tuple[int, int]:
    """Width and height of a panel, pixels, within `PANEL_LIMITS_PX`."""
    low, high = PANEL_LIMITS_PX
    remedy = f"give width and height of {low} to {high} pixels"
    width_px, height_px = view_numbers(view, key, "[480,360]", PANEL_LIMITS_PX, remedy, count=2)
    return int(width_px), int(height_px)


def view_palette(view: Mapping) -> str:
    """Whose colours the classes have: view.palette.

    Raises:
        InputError: no such palette.
    """
    name = view.get("palette") or OWN
    palette_named(name)
    return name


def seconds_a_frame(view: Mapping) -> float:
    """How long a frame of an animation stays, seconds, of view.frames_per_second."""
    return 1 / view_numbers(view, "frames_per_second", "2", (0.1, 50), "2 is real time for keyframes", count=1)[0]


def require_something(record: ForecastRecord, path: Path) -> None:
    """Refuse a record with nothing to compare the history with.

    Raises:
        InputError: neither truth nor forecast.
    """
    if not record.truth and not record.forecasts:
        raise InputError(f"{path}: scene {record.scene} has neither truth nor forecast to show; evaluate a model first")
