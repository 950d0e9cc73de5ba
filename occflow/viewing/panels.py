"""Rendered panels of one forecast record, and the legends that explain them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, NUM_CLASSES
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.viewing.cameras import preset
from occflow.viewing.headless import renderer
from occflow.viewing.meshes import Mesh
from occflow.viewing.palette import CLASS_COLOURS, DIFFERENCE_COLOURS, DIFFERENCE_NAMES, EGO_BODY, HIGH_RGB, LOW_RGB
from occflow.viewing.picture import LegendEntry, blank, caption, frame_panel
from occflow.viewing.scene import class_mesh, difference, difference_mesh, movers_iou, occupied_iou

PANEL_LIMITS_PX = (60, 2000)


class Panels:
    """Makes the panels of a record; the same frame is rendered once only.

    Args:
        record: what to show.
        camera: name of a camera preset.
        size_px: width and height of a panel.
    """

    def __init__(self, record: ForecastRecord, camera: str, size_px: tuple[int, int]) -> None:
        self._record, self._size_px = record, size_px
        self._camera = preset(camera, record.grid)
        self._drawn: dict[tuple[int, ...], Image.Image] = {}
        self.text_px = max(10, self._size_px[1] // 17)
        self.labels: set[int] = set()  # classes drawn so far
        self.kinds: set[int] = set()  # kinds of difference drawn so far

    def frame(self, frame: OccupancyFrame, remark: str = "") -> Image.Image:
        """A frame coloured by class, its time and a remark in the corners."""
        self.labels.update(np.unique(frame.labels).tolist())
        panel = self._draw((id(frame),), lambda: class_mesh(self._record.grid, frame))
        return self._finish(panel, frame, remark)

    def difference(self, truth: OccupancyFrame, forecast: OccupancyFrame) -> Image.Image:
        """Agreement of a forecast with the truth; in the corners its time and the frame's IoU, of all and of movers."""
        _, kinds = difference(truth, forecast)
        self.kinds.update(np.unique(kinds).tolist())
        panel = self._draw((id(truth), id(forecast)), lambda: difference_mesh(self._record.grid, truth, forecast))
        figures = {"IoU": occupied_iou(truth, forecast), "movers": movers_iou(truth, forecast)}
        return self._finish(panel, truth, "  ".join(f"{k} {v:.2f}" for k, v in figures.items() if not np.isnan(v)))

    def empty(self) -> Image.Image:
        return blank(*self._size_px)

    def class_legend(self) -> list[LegendEntry]:
        """The classes drawn so far, how voxels without one are coloured, and the ego vehicle."""
        entries = [LegendEntry(CLASS_NAMES[label].replace("_", " "), tuple(CLASS_COLOURS[label].tolist()))
                   for label in sorted(self.labels) if label < NUM_CLASSES]
        if any(label >= NUM_CLASSES for label in self.labels):
            entries += [LegendEntry(f"no class, {height}", tuple(colour.tolist()))
                        for height, colour in (("low", LOW_RGB), ("high", HIGH_RGB))]
        return [*entries, LegendEntry("ego vehicle (white roof)", EGO_BODY)]

    def difference_legend(self) -> list[LegendEntry]:
        """The kinds of difference drawn so far."""
        return [LegendEntry(DIFFERENCE_NAMES[kind], tuple(DIFFERENCE_COLOURS[kind].tolist()))
                for kind in sorted(self.kinds)]

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


def panel_size(view: Mapping, key: str) -> tuple[int, int]:
    """Width and height of a panel, pixels.

    Raises:
        InputError: missing, or not two sizes within `PANEL_LIMITS_PX`.
    """
    value = view_value(view, key, "[480,360]")
    low, high = PANEL_LIMITS_PX
    try:
        width_px, height_px = (int(size) for size in value)
    except (TypeError, ValueError):
        width_px = height_px = 0
    if not (low <= width_px <= high and low <= height_px <= high):
        raise InputError(f"view.{key}={value} is not usable; give width and height of {low} to {high} pixels")
    return width_px, height_px


def seconds_a_frame(view: Mapping) -> float:
    """How long a frame of an animation stays, seconds.

    Raises:
        InputError: view.frames_per_second is missing or absurd.
    """
    value = view_value(view, "frames_per_second", "2")
    try:
        frames_per_second = float(value)
    except (TypeError, ValueError):
        frames_per_second = 0.0
    if not 0.1 <= frames_per_second <= 50:
        raise InputError(f"view.frames_per_second={value} is not usable; 2 is real time for keyframes")
    return 1 / frames_per_second


def require_something(record: ForecastRecord, path: Path) -> None:
    """Refuse a record with nothing to compare the history with.

    Raises:
        InputError: neither truth nor forecast.
    """
    if not record.truth and not record.forecasts:
        raise InputError(f"{path}: scene {record.scene} has neither truth nor forecast to show; evaluate a model first")
