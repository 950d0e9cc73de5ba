"""What the player shows now: source, instant, colours, filters. Knows nothing of windows; pictures use it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from occflow.grid import CLASS_NAMES, FLAT_CLASSES, MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.cameras import Camera, fitted, over_several, preset
from occflow.viewing.film import HISTORY, TRUTH, Film, marginal
from occflow.viewing.meshes import Mesh
from occflow.viewing.palette import OWN
from occflow.viewing.panels import time_text
from occflow.viewing.scene import Look, class_mesh, difference_mesh, marginal_mesh, movers_iou, occupied_iou

CLASSES, DIFFERENCE, PROBABILITY = VIEWS = ("classes", "against the truth", "probability")
MOST_PANES = 4
PANE_GAP = 0.15  # between grids side by side, of their width
WINDOW_PX = (1280, 800)
LABEL_SHARE, LABEL_ABOVE_M = 0.09, 5.0  # height of a name in depths of a grid; its lower edge above the road
WIDEST_LABEL = 8.0  # of a name, in heights
TALL_M = 6.0  # of what stands in a street, as far as a camera over several grids cares
FILTERS = {  # what the filter key goes through: name -> hidden classes
    "all classes": frozenset(),
    "without the ground": frozenset(FLAT_CLASSES),
    "movable objects": frozenset(range(len(CLASS_NAMES))) - frozenset(MOVABLE_CLASSES),
    "what stands still": frozenset(MOVABLE_CLASSES),
}


@dataclass(frozen=True)
class Pane:
    """One grid on stage.

    Args:
        title: source, time and what the colours say.
        place_m: where its origin is drawn [3], metres.
        key: the same for panes that look the same.
        paint: makes its mesh, in the grid frame.
        drawn: what its colours say, one of VIEWS.
        frame: what it shows; of a share of samples, where they are.
    """

    title: str
    place_m: tuple[float, float, float]
    key: tuple
    paint: Callable[[], Mesh]
    drawn: str
    frame: OccupancyFrame


@dataclass
class Stage:
    """The state of a player.

    Args:
        film: what there is to see.
        index: the instant shown.
        source: the source shown, one of film.sources.
        view: one of VIEWS; where a source has nothing of the kind its classes are shown.
        beside: all sources (at most four) side by side instead of one.
        look: filters and outlines.
    """

    film: Film
    index: int
    source: str
    view: str = CLASSES
    beside: bool = False
    look: Look = Look()

    @classmethod
    def of(cls, film: Film, palette: str = OWN) -> Stage:
        """A run at its present; a store at its first frame."""
        start = 0 if film.now == len(film.seconds) - 1 else film.now
        return cls(film, start, next(iter(film.sources)), look=Look(palette=palette))

    def move(self, steps: int) -> None:
        """Go on in time, not beyond either end."""
        self.go(self.index + steps)

    def go(self, index: int) -> None:
        self.index = int(np.clip(index, 0, len(self.film.seconds) - 1))

    def step_or_restart(self) -> None:
        """A step of playing: after the end comes the beginning."""
        self.index = (self.index + 1) % len(self.film.seconds)

    def choose(self, source: str) -> None:
        """Show one source; a forecast at the first instant of the horizon if need be."""
        self.source, self.beside = source, False
        if source != HISTORY and self.film.now + 1 < len(self.film.seconds):
            self.index = max(self.index, self.film.now + 1)

    def next_view(self) -> None:
        """The next of VIEWS that the film has anything of."""
        possible = [CLASSES, *([DIFFERENCE] if TRUTH in self.film.sources and len(self.film.sources) > 2 else []),
                    *([PROBABILITY] if self.film.samples else [])]
        self.view = possible[(possible.index(self.view) + 1) % len(possible)]

    def next_filter(self) -> None:
        names = list(FILTERS)
        here = next((n for n, name in enumerate(names) if FILTERS[name] == self.look.hidden), -1)
        self.look = replace(self.look, hidden=FILTERS[names[(here + 1) % len(names)]])

    def toggle_class(self, label: int) -> None:
        self.look = replace(self.look, hidden=self.look.hidden ^ {label})

    def on_stage(self) -> list[str]:
        """The sources that are shown."""
        return list(self.film.sources)[:MOST_PANES] if self.beside else [self.source]

    def panes(self) -> list[Pane]:
        """What is on stage, in rows that are read as a page is."""
        names = self.on_stage()
        return [self._pane(name, place) for name, place in zip(names, self.places(len(names)))]

    def places(self, number: int) -> list[tuple[float, float, float]]:
        """Where the origins of `number` grids are drawn, metres: columns to the right, rows towards the driver."""
        columns = number if number <= 3 else 2
        extent_m = np.array(self.film.grid.shape[:2]) * self.film.grid.voxel_size_m * (1 + PANE_GAP)
        row, column = np.divmod(np.arange(number), columns)
        x, y = ((row.max() / 2 - row) * extent_m[0], ((columns - 1) / 2 - column) * extent_m[1])
        return [(float(a), float(b), 0.0) for a, b in zip(x, y)]

    def text(self) -> str:
        """One line that says what is on stage."""
        if self.beside:
            return f"side by side  {time_text(self.film.seconds[self.index])}"
        return self.panes()[0].title

    def figures(self) -> str:
        """How well the forecast on stage agrees with the truth at this instant; empty where there is none."""
        if self.beside or not self.film.has_truth(self.source, self.index):
            return ""
        frames = [self.film.sources[name][self.index] for name in (TRUTH, self.source)]
        values = {"IoU": occupied_iou(*frames), "movers": movers_iou(*frames)}
        return "   ".join(f"{name} {value:.2f}" for name, value in values.items() if not np.isnan(value))

    def _pane(self, name: str, place_m: tuple[float, float, float]) -> Pane:
        film, frame, look = self.film, self.film.sources[name][self.index], self.look
        # A history stands still after the present.
        time = "now" if name == HISTORY and self.index >= film.now else time_text(film.seconds[self.index])
        title = f"{name}  {time}" if self.index > film.now or name == HISTORY or film.now + 1 == len(film.seconds) \
            else f"{HISTORY}  {time}"
        key = (name, self.index, look, place_m)
        if self.view == DIFFERENCE and film.has_truth(name, self.index):
            truth = film.sources[TRUTH][self.index]
            return Pane(f"{title}  {DIFFERENCE}", place_m, (*key, DIFFERENCE),
                        lambda: difference_mesh(film.grid, truth, frame, look), DIFFERENCE, frame)
        if self.view == PROBABILITY and name in film.samples and self.index > film.now:
            futures = [future[self.index - film.now - 1] for future in film.samples[name]]
            around = film.sources.get(TRUTH, film.sources[name])[self.index]
            title = f"{film.samplers.get(name, name)}  {time}"
            return Pane(f"{title}  share of {len(futures)} samples", place_m, (*key, PROBABILITY),
                        lambda: marginal_mesh(film.grid, marginal(futures), around, look), PROBABILITY, frame)
        return Pane(title, place_m, key, lambda: class_mesh(film.grid, frame, look), CLASSES, frame)


def stage_camera(name: str, stage: Stage, window_px: tuple[int, int] = WINDOW_PX,
                 free_px: tuple[float, float, float, float] | None = None) -> Camera:
    """The camera of a preset; over several grids, so that all of them and their names lie in a rectangle of the window.

    Args:
        free_px: left, top, right, bottom; None: the whole window.

    Raises:
        InputError: unknown preset.
    """
    camera, grid = preset(name, stage.film.grid), stage.film.grid
    places = np.array(stage.places(len(stage.panes())))
    if len(places) == 1:
        return camera
    lower = np.array([*grid.origin_m[:2], 0.0])
    extent = np.array([*np.array(grid.shape[:2]) * grid.voxel_size_m, TALL_M])
    corners = lower + extent * np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3)
    corners = np.concatenate([corners, label_corners(grid, (0.0, 0.0, 0.0), WIDEST_LABEL)])
    points_m = (places[:, None] + corners).reshape(-1, 3)
    return fitted(over_several(camera), points_m, window_px, free_px or (0.0, 0.0, *map(float, window_px)))


def label_corners(grid: VoxelGrid, place_m: tuple[float, float, float], aspect: float) -> np.ndarray:
    """Corners [4, 3] of a sign before a grid that is drawn at `place_m`, leaning back so that all cameras read it."""
    depth_m, width_m = np.array(grid.shape[:2]) * grid.voxel_size_m
    height_m = min(LABEL_SHARE * depth_m, width_m / aspect)
    lower = np.array([grid.origin_m[0] - height_m, grid.origin_m[1] + width_m / 2, LABEL_ABOVE_M]) + place_m
    left, upper = np.array([0, height_m * aspect / 2, 0]), np.array([height_m, 0, height_m]) * np.sqrt(0.5)
    return np.array([lower + upper + left, lower + upper - left, lower - left, lower + left])
