"""What the player shows now: source, instant, colours, filters. Knows nothing of windows; pictures use it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from occflow.grid import CLASS_NAMES, FLAT_CLASSES, MOVABLE_CLASSES
from occflow.viewing.cameras import Camera, preset
from occflow.viewing.film import HISTORY, TRUTH, Film, marginal
from occflow.viewing.meshes import Mesh
from occflow.viewing.panels import time_text
from occflow.viewing.scene import Look, class_mesh, difference_mesh, marginal_mesh, movers_iou, occupied_iou

CLASSES, DIFFERENCE, PROBABILITY = VIEWS = ("classes", "against the truth", "probability")
MOST_PANES = 4
PANE_GAP = 0.15  # between grids side by side, of their width
FARTHER = {2: 1.6, 3: 2.3, 4: 3.1}  # distance of the camera by the number of grids side by side
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
    """

    title: str
    place_m: tuple[float, float, float]
    key: tuple
    paint: Callable[[], Mesh]
    drawn: str


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
    def of(cls, film: Film) -> Stage:
        """A run at its present; a store at its first frame."""
        return cls(film, 0 if film.now == len(film.seconds) - 1 else film.now, next(iter(film.sources)))

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

    def panes(self) -> list[Pane]:
        """What is on stage, in rows that are read as a page is."""
        names = list(self.film.sources)[:MOST_PANES] if self.beside else [self.source]
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
                        lambda: difference_mesh(film.grid, truth, frame, look), DIFFERENCE)
        if self.view == PROBABILITY and name in film.samples and self.index > film.now:
            futures = [future[self.index - film.now - 1] for future in film.samples[name]]
            around = film.sources.get(TRUTH, film.sources[name])[self.index]
            title = f"{film.samplers.get(name, name)}  {time}"
            return Pane(f"{title}  share of {len(futures)} samples", place_m, (*key, PROBABILITY),
                        lambda: marginal_mesh(film.grid, marginal(futures), around, look), PROBABILITY)
        return Pane(title, place_m, key, lambda: class_mesh(film.grid, frame, look), CLASSES)


def stage_camera(name: str, stage: Stage) -> Camera:
    """The camera of a preset, as far off as the grids side by side need.

    Raises:
        InputError: unknown preset.
    """
    camera, number = preset(name, stage.film.grid), len(stage.places(len(stage.panes())))
    if number == 1:
        return camera
    middle_m = np.zeros(3)
    away_m = (camera.eye_m - camera.target_m) * FARTHER[number]
    return Camera(middle_m + away_m, middle_m, camera.opening_deg)
