"""Does a forecast agree with itself over time, and with the present? Label-free measures: no truth is read (after
UniOcc, 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from occflow.eval.counts import MeanCounts, SceneCounts, merge_rows
from occflow.eval.intervals import mean_row
from occflow.eval.sections import COHERENCE
from occflow.forecasting.forecast import Forecast
from occflow.geometry import invert, transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import Cluster, clusters, match
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import Window, WindowKey

LEAST_VOXELS = 4  # a smaller object comes and goes with the rounding of voxels
MARGIN_M = 4.0  # an object this near the border of the next grid may have left it
SCORES = tuple(COHERENCE)
TRUTH = "truth"  # row of what really happened: the floor of the measures


class CoherenceScores:
    """Static background, sizes and presence of objects from each forecast frame to the next, and from the present on.

    A row that draws samples is measured on each of them, one future at a time: marginals, which no object is in, are
    no future.
    """

    def __init__(self, grid: VoxelGrid, seed: int = 0) -> None:
        self.grid, self.seed = grid, seed
        self.counts: dict[str, SceneCounts[MeanCounts]] = {}
        self._watched: set[WindowKey] = set()

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        self._watched.add(window.key)
        for name, frames in [(TRUTH, window.truth), *((name, one.frames) for name, one in forecasts.items())]:
            self._count(name, window, frames)

    def watch_samples(self, window: Window, futures: Mapping[str, Sequence[Frames]]) -> None:
        """Further futures of rows in a window that was watched, by name; the first of each is what was watched."""
        if window.key not in self._watched:
            return
        for name, (first, *others) in futures.items():
            for frames in others:
                if frames is not first:  # a centre is always the same
                    self._count(name, window, frames)

    def merge(self, other: CoherenceScores) -> None:
        """Add what was counted of other windows."""
        merge_rows(self.counts, other.counts)

    def _count(self, name: str, window: Window, frames: Frames) -> None:
        counts = self.counts.setdefault(name, SceneCounts(MeanCounts)).of(window.key.scene)
        now, earlier = followable(window.present, self.grid), window.present
        track = PresentObjects(now)
        for frame in frames:
            then = followable(frame, self.grid)
            pairs = match(now, then, frame.stamp_s - earlier.stamp_s)
            staying = stays(now, frame, self.grid)
            if earlier is not window.present:
                common, union = background_overlap(earlier, frame, self.grid).tolist()
                counts.add("background_iou", 1.0, common)
                counts.add("background_iou", 0.0, union - common)
                count_objects(counts, now, then, pairs, staying)
            track.step(counts, then, pairs, staying)
            count_specks(counts, frame, then)
            now, earlier = then, frame
        track.end(counts)

    def report(self) -> list[dict]:
        """[{"name", one figure for each of SCORES, "intervals"}], see docs/scores.md."""
        return [mean_row(name, counts, SCORES, self.seed) for name, counts in self.counts.items()]


def background_overlap(frame: OccupancyFrame, later: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    """[intersection, union] int64 of what is not movable: a frame moved by the ego motion, and the next frame.

    Only where both grids reach, so that what comes into view does not count.
    """
    still, then = (one.flat[~np.isin(one.labels, MOVABLE_CLASSES)]
                   for one in (warp(frame, grid, later.world_from_grid), later))
    earlier_from_later = invert(frame.world_from_grid) @ later.world_from_grid
    then = then[grid.indices(transform(earlier_from_later, grid.centres(grid.unflatten(then))))[1]]
    common = np.isin(still, then, assume_unique=True).sum()
    return np.array([common, len(still) + len(then) - common], dtype=np.int64)


def followable(frame: OccupancyFrame, grid: VoxelGrid) -> list[Cluster]:
    return [one for one in clusters(frame, grid) if len(one.slots) >= LEAST_VOXELS]


def stays(now: list[Cluster], later: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    """[N] bool: whether an object cannot have left the grid of the next frame."""
    places = np.array([one.centre_m for one in now]).reshape(-1, 3)
    places = transform(invert(later.world_from_grid), places) - grid.origin_m
    length = np.array(grid.shape[:2]) * grid.voxel_size_m
    return ((places[:, :2] > MARGIN_M) & (places[:, :2] < length - MARGIN_M)).all(axis=1)


def count_objects(counts: MeanCounts, now: list[Cluster], then: list[Cluster], pairs: Mapping[int, int],
                  staying: np.ndarray) -> None:
    """Size change (octaves: 1 is twice or half as large) of objects that go on; flicker, those that do not.

    An object flickers where the next frame has none of its class near, though it cannot have left the grid.
    """
    for index, place in pairs.items():
        counts.add("size_change", octaves(now[index], then[place]))
    for index in np.flatnonzero(staying):
        counts.add("flicker", float(int(index) not in pairs))


def count_specks(counts: MeanCounts, frame: OccupancyFrame, objects: list[Cluster]) -> None:
    """The share of a frame's movable voxels that are of no object: those of one that has dissolved."""
    movable, whole = int(np.isin(frame.labels, MOVABLE_CLASSES).sum()), sum(len(one.slots) for one in objects)
    counts.add("specks", 1.0, movable - whole)
    counts.add("specks", 0.0, whole)


class PresentObjects:
    """Follows the objects of the present through the frames of one future.

    An object that is followed is compared in size with what it was in the present, at every frame. It is lost where a
    frame has none of its class near though it cannot have left the grid; one that may have left counts no more.
    """

    def __init__(self, objects: list[Cluster]) -> None:
        self.objects, self.places = objects, {index: index for index in range(len(objects))}

    def step(self, counts: MeanCounts, then: list[Cluster], pairs: Mapping[int, int], staying: np.ndarray) -> None:
        """To the next frame, whose objects are `then`: `pairs` of places in the frame before and in it."""
        for index, place in list(self.places.items()):
            if place in pairs:
                self.places[index] = pairs[place]
                counts.add("present_size_change", octaves(self.objects[index], then[pairs[place]]))
                continue
            del self.places[index]
            if staying[place]:
                counts.add("lost", 1.0)

    def end(self, counts: MeanCounts) -> None:
        """The future is over: what is still followed was not lost."""
        counts.add("lost", 0.0, len(self.places))


def octaves(one: Cluster, other: Cluster) -> float:
    """How far apart two objects are in size: 1 is twice or half as many voxels."""
    return abs(float(np.log2(len(other.slots) / len(one.slots))))
