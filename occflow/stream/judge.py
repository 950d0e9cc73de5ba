"""A stream judges itself: forecasts whose time has come are held against what is perceived then, the network's against
persistence, and the network is believed while it does not lose.

Who has proved nothing is not believed: until enough could be scored the judge speaks for persistence, which by
definition is no worse than the measure that the network is held against, on any sensor and in any place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from occflow.eval.iou import IoUCounts, LabelPairs
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report_record import SCORES
from occflow.eval.sections import percent
from occflow.forecasting.rules import PERSISTENCE
from occflow.geometry import invert
from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import SAME_STAMP_S
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Target
from occflow.occupancy.warp import moved_centres, voxels_at, warp
from occflow.stream.settings import AUTO, StreamSettings

SAME_INSTANT_S = 0.1  # of two stamps at most: a frame this near to the time of a forecast shows what came true
PROTOCOL = PROTOCOLS["occworld-strict"]


@dataclass
class Foreseen:
    """What was foreseen at one instant, while its times come.

    Args:
        stamp_s: of the instant.
        present: what was perceived then, which persistence keeps.
        targets: by horizon index, those whose time has not come.
        frames: of each forecast of the network by name, the frames of these horizons.
    """

    stamp_s: float
    present: OccupancyFrame
    targets: dict[int, Target]
    frames: dict[str, dict[int, OccupancyFrame]]


class Judge:
    """Takes what was foreseen and what was seen, instant by instant in the order of time.

    Args:
        horizon: indices of the forecast frames that are scored.
        judged: name of the forecast that speaks for the network: the one that is delivered.
    """

    def __init__(self, grid: VoxelGrid, horizon: Sequence[int], judged: str, settings: StreamSettings) -> None:
        self._grid, self._horizon, self._judged, self._settings = grid, list(horizon), judged, settings
        self._tolerance_s = min(SAME_INSTANT_S, 0.5 / settings.rate_hz)
        self._waiting: deque[Foreseen] = deque()
        self._advantages: deque[float] = deque(maxlen=settings.fallback_instants)
        self._scored: deque[tuple[float, int, dict[str, np.ndarray]]] = deque()  # when, which horizon, counts by name
        self._totals: dict[str, IoUCounts] = {}
        self._driven_s, self._last_s = 0.0, None  # time that counts on over the drives, and the last stamp of this one
        self.believed = settings.fallback != AUTO
        self.instants = 0  # that could be scored
        self.line = ""  # how it stands, for whoever watches, from any thread

    @property
    def advantage(self) -> float:
        """Mean IoU of the network above persistence, over the horizons and the last `fallback_instants`; nan before
        there is any."""
        return float(np.mean(self._advantages)) if self._advantages else np.nan

    def forget(self) -> None:
        """What comes next is another drive, or another world: nothing that waits will come true. What is known of the
        network stays."""
        self._waiting.clear()
        self._last_s = None

    def foresee(self, present: OccupancyFrame, targets: Sequence[Target],
                frames: Mapping[str, Sequence[OccupancyFrame]]) -> None:
        """Keep what was foreseen at an instant until its times come: the network's forecasts by name, F frames each."""
        waiting = {index: targets[index] for index in self._horizon}
        kept = {name: {index: each[index] for index in self._horizon} for name, each in frames.items()}
        self._waiting.append(Foreseen(present.stamp_s, present, waiting, kept))

    def see(self, seen: OccupancyFrame) -> None:
        """Score what was foreseen for this instant, by what is perceived at it; then decide whom to believe."""
        if self._last_s is not None:
            self._driven_s += max(0.0, seen.stamp_s - self._last_s)
        self._last_s, advantages = seen.stamp_s, []
        for foreseen in self._waiting:
            for index, target in list(foreseen.targets.items()):
                if abs(target.stamp_s - seen.stamp_s) <= self._tolerance_s + SAME_STAMP_S:
                    del foreseen.targets[index]
                    advantages.append(self._score(foreseen, index, target, seen))
        while self._waiting and not self._may_come(self._waiting[0], seen.stamp_s):
            self._waiting.popleft()
        self._drop_old()
        advantages = [one for one in advantages if np.isfinite(one)]
        if advantages:
            self.instants += 1
            self._advantages.append(float(np.mean(advantages)))
            self._decide()
        self.line = self._line()

    def figures(self) -> dict:
        """The running scores by name at the scored times, those of the last `running_s`; None where nothing was."""
        return {name: {score: [_number(value) for value in PROTOCOL.scores(counts)[score]] for score in SCORES}
                for name, counts in self._totals.items()}

    def _decide(self) -> None:
        if self._settings.fallback != AUTO or len(self._advantages) < self._settings.fallback_instants:
            return
        self.believed = self.advantage >= (-self._settings.fallback_margin if self.believed else 0.0)

    def _may_come(self, foreseen: Foreseen, now_s: float) -> bool:
        return any(target.stamp_s > now_s - self._tolerance_s for target in foreseen.targets.values())

    def _score(self, foreseen: Foreseen, index: int, target: Target, seen: OccupancyFrame) -> float:
        """Count one horizon of an instant; the IoU of the judged forecast above that of persistence."""
        frames = {name: each.pop(index) for name, each in foreseen.frames.items()}
        frames[PERSISTENCE] = warp(foreseen.present, self._grid, target.world_from_grid, target.stamp_s)
        counts = dict(zip(frames, held_against(list(frames.values()), seen, self._grid, observed_only=True)))
        self._scored.append((self._driven_s, self._horizon.index(index), counts))
        for name, confusion in counts.items():
            total = self._totals.setdefault(name, IoUCounts(len(self._horizon)))
            total.confusion[self._horizon.index(index)] += confusion
        return iou(counts[self._judged]) - iou(counts[PERSISTENCE])

    def _drop_old(self) -> None:
        while self._scored and self._scored[0][0] < self._driven_s - self._settings.running_s:
            _, place, counts = self._scored.popleft()
            for name, confusion in counts.items():
                self._totals[name].confusion[place] -= confusion

    def _line(self) -> str:
        shown = {name: self._totals[name].iou() for name in (self._judged, PERSISTENCE) if name in self._totals}
        return ", ".join(f"{name} {percent([_number(value) for value in values])}" for name, values in shown.items())


def held_against(forecasts: Sequence[OccupancyFrame], seen: OccupancyFrame, grid: VoxelGrid,
                 observed_only: bool) -> list[np.ndarray]:
    """Voxels [18, 18] by forecast and seen class, of forecasts that share one grid pose.

    What was seen is moved into their grid, in the world: the ego did not drive quite as it was guessed to. Counted are
    the voxels whose centre lies in the grid of what was seen.

    Args:
        observed_only: of these, only those that a ray reached, where that is known.
    """
    pose = forecasts[0].world_from_grid
    truth, observed = warp(seen, grid, pose), None
    if observed_only and seen.observed is not None:
        observed = seen.observed_mask(grid).reshape(-1)
    confusions = []
    for forecast in forecasts:
        pairs = LabelPairs.of(forecast, truth)
        sources, counted = voxels_at(moved_centres(pairs.flat, grid, invert(seen.world_from_grid) @ pose), grid)
        if observed is not None:
            counted[counted] = observed[sources[counted]]
        confusions.append(replace(pairs, flat=pairs.flat[counted], codes=pairs.codes[counted]).confusion())
    return confusions


def iou(confusion: np.ndarray) -> float:
    """Of occupied against free, from voxels [18, 18] by forecast and true class; nan where nothing is occupied."""
    union = int(confusion.sum() - confusion[FREE, FREE])
    return confusion[:FREE, :FREE].sum() / union if union else np.nan


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
