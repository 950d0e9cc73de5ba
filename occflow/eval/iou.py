"""Intersection over union from mergeable 64-bit counters, on sparse frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.grid import FREE, MOVABLE_CLASSES, NUM_CLASSES, OTHERS
from occflow.occupancy.frame import OccupancyFrame

BINARY, MOVABLE = NUM_CLASSES, NUM_CLASSES + 1  # columns after the classes: any occupied, any movable (GMO)
NUM_COLUMNS = NUM_CLASSES + 2
NUM_LABELS = NUM_CLASSES + 1  # with FREE
POSE_TOLERANCE_M = 1e-3


@dataclass
class IoUCounts:
    """Voxels by forecast and true class, `confusion` [F, 18, 18] int64, for F horizon frames; free on free is 0.

    Counts are summed over windows, as the benchmark does, so that shards add up exactly.
    """

    num_horizon: int
    confusion: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.num_horizon, NUM_LABELS, NUM_LABELS), dtype=np.int64)

    def add(self, horizon_index: int, prediction: OccupancyFrame, truth: OccupancyFrame) -> None:
        """Count one frame.

        Raises:
            ValueError: the prediction lives in another grid than the truth.
        """
        self.add_pairs(horizon_index, LabelPairs.of(prediction, truth))

    def add_pairs(self, horizon_index: int, pairs: LabelPairs, mask: np.ndarray | None = None) -> None:
        """Count one frame whose voxels are paired already; only those in a mask [V] bool where one is given."""
        self.confusion[horizon_index] += pairs.confusion(mask)

    def merge(self, other: IoUCounts) -> None:
        """Add the counts of another shard.

        Raises:
            ValueError: the shard has another number of horizon frames.
        """
        if other.num_horizon != self.num_horizon:
            raise ValueError(f"counters of {other.num_horizon} horizon frames do not add to {self.num_horizon}")
        self.confusion += other.confusion

    def accumulated(self) -> IoUCounts:
        """The counts of all horizon frames together, as those of one."""
        total = IoUCounts(1)
        total.confusion[0] = self.confusion.sum(axis=0)
        return total

    @property
    def intersections(self) -> np.ndarray:
        """[F, NUM_COLUMNS] int64: the 17 classes, occupied against free, movable against the rest."""
        occupied, movable = self.confusion[:, :FREE, :FREE], list(MOVABLE_CLASSES)
        both = [occupied.sum((1, 2)), self.confusion[:, movable][:, :, movable].sum((1, 2))]
        return np.concatenate([np.diagonal(occupied, axis1=1, axis2=2), np.stack(both, axis=1)], axis=1)

    @property
    def unions(self) -> np.ndarray:
        """[F, NUM_COLUMNS] int64, columns as those of the intersections."""
        return _totals(self.confusion.sum(2)) + _totals(self.confusion.sum(1)) - self.intersections

    @property
    def labelled(self) -> bool:
        """Whether the truth names classes: that of a log without labels is "others" throughout, so that a mean over
        classes would be the IoU of a baseline that says "others", too, and next to nothing of a network."""
        truth = self.confusion.sum((0, 1))[:FREE]
        return bool(truth[OTHERS] == 0 or truth.sum() > truth[OTHERS])

    def _ratio(self) -> np.ndarray:
        """[F, NUM_COLUMNS] IoU; nan where nothing was occupied, and in the columns of classes without labels."""
        ratios = ratio(self.intersections, self.unions)
        if not self.labelled:
            ratios[:, [*range(NUM_CLASSES), MOVABLE]] = np.nan
        return ratios

    def iou(self) -> np.ndarray:
        """[F] IoU of occupied against free; nan where nothing was occupied."""
        return self._ratio()[:, BINARY]

    def class_iou(self) -> np.ndarray:
        """[F, 17] IoU a class; nan where the class is absent from prediction and truth, or the truth has no labels."""
        return self._ratio()[:, :NUM_CLASSES]

    def miou(self, released_rule: bool) -> np.ndarray:
        """[F] mean over the classes; nan where the truth has no labels.

        Args:
            released_rule: a class that the truth lacks counts as 1, even where it was forecast (OccWorld,
                utils/metric_util.py: total_seen == 0). Otherwise only a class that both lack is left out, and one
                that only the forecast has counts as 0.
        """
        classes = self.class_iou()
        if released_rule and self.labelled:
            classes = np.where(self.confusion.sum(1)[:, :FREE] == 0, 1.0, classes)
        return nan_mean(classes)

    def movable_iou(self) -> np.ndarray:
        """[F] IoU of movable against the rest (GMO of Cam4DOcc)."""
        return self._ratio()[:, MOVABLE]

    def movable_miou(self) -> np.ndarray:
        """[F] mean over the movable classes that occur."""
        return nan_mean(self.class_iou()[:, list(MOVABLE_CLASSES)])


@dataclass(frozen=True)
class LabelPairs:
    """The voxels that a forecast or the truth fills, each once.

    Args:
        flat: [U] int64 flat voxel indices, in no order.
        codes: [U] int64, forecast class * 18 + true class.
    """

    flat: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, prediction: OccupancyFrame, truth: OccupancyFrame) -> LabelPairs:
        """Pair the voxels of two frames.

        Raises:
            ValueError: the prediction lives in another grid than the truth.
        """
        refuse_other_grid_pose(prediction, truth)
        last = max((int(frame.flat[-1]) for frame in (prediction, truth) if len(frame.flat)), default=-1)
        volume = np.full(last + 1, FREE, dtype=np.uint8)  # a byte a voxel, for a moment: ten times faster than merging
        volume[truth.flat] = truth.labels
        met = volume[prediction.flat]
        volume[prediction.flat] = FREE
        missed = volume[truth.flat] != FREE
        codes = np.concatenate([prediction.labels.astype(np.int64) * NUM_LABELS + met,
                                FREE * NUM_LABELS + truth.labels[missed].astype(np.int64)])
        return cls(np.concatenate([prediction.flat, truth.flat[missed]]), codes)

    def confusion(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Voxels [18, 18] by forecast and true class, of those in a mask [V] bool."""
        codes = self.codes if mask is None else self.codes[mask[self.flat]]
        return np.bincount(codes, minlength=NUM_LABELS ** 2).reshape(NUM_LABELS, NUM_LABELS)


def refuse_other_grid_pose(one: OccupancyFrame, other: OccupancyFrame) -> None:
    """Voxels are comparable in one and the same grid only.

    Raises:
        ValueError: the grid poses differ, or one of them is not finite.
    """
    difference = np.abs(one.world_from_grid - other.world_from_grid).max()
    if not difference <= POSE_TOLERANCE_M:  # so written, a nan is refused too
        raise ValueError("prediction and truth have different grid poses; forecast into the target's grid")


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; nan where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without nans; nan where there is nothing else. [F, K] -> [F]."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


def _totals(voxels: np.ndarray) -> np.ndarray:
    """Voxels by class [F, 18] -> by column [F, NUM_COLUMNS]."""
    occupied = voxels[:, :FREE]
    sums = [occupied.sum(1), occupied[:, list(MOVABLE_CLASSES)].sum(1)]
    return np.concatenate([occupied, np.stack(sums, axis=1)], axis=1)
