"""One instant of an occupancy sequence, sparse."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from occflow.geometry import transform
from occflow.grid import FREE, OTHERS, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box


@dataclass(frozen=True)
class OccupancyFrame:
    """The occupied voxels of one instant.

    Args:
        flat: [N] int64 flat voxel indices (VoxelGrid.flatten), strictly increasing.
        labels: [N] uint8 classes 0..16 (occflow.grid.CLASS_NAMES); UNLABELLED where a log names none.
        world_from_grid: pose [4, 4] of the grid at this instant (the grid pose).
        stamp_s: time, seconds.
        token: name of the keyframe in its log.
        boxes: annotated objects of the instant, world frame; empty where the log has none.
        observed: which voxels a sensor could judge, [ceil(V / 8)] uint8, np.packbits of the mask in flat order;
            None where that is not known. An occupied voxel may be unobserved (it is known from other instants).
        wide: the same instant at the same pose, where more is known than the voxels of the grid: what lies beyond it,
            and where in voxels matter was met. Only moving the frame into other grids looks at it (occupancy.warp).
    """

    flat: np.ndarray
    labels: np.ndarray
    world_from_grid: np.ndarray
    stamp_s: float
    token: str = ""
    boxes: tuple[Box, ...] = field(default=())
    observed: np.ndarray | None = None
    wide: WideFrame | None = None

    @property
    def num_bytes(self) -> int:
        """What the frame takes in memory, boxes aside."""
        return (self.flat.nbytes + self.labels.nbytes + (0 if self.observed is None else self.observed.nbytes)
                + (0 if self.wide is None else self.wide.num_bytes))

    def observed_mask(self, grid: VoxelGrid) -> np.ndarray:
        """Observed voxels [X, Y, Z] bool; all of them where it is not known which."""
        if self.observed is None:
            return np.ones(grid.shape, dtype=bool)
        return np.unpackbits(self.observed, count=grid.num_voxels).astype(bool).reshape(grid.shape)

    def dense(self, grid: VoxelGrid) -> np.ndarray:
        """Class volume [X, Y, Z] uint8, FREE where not occupied (the Occ3D layout)."""
        volume = np.full(grid.num_voxels, FREE, dtype=np.uint8)
        volume[self.flat] = self.labels
        return volume.reshape(grid.shape)

    def within(self, mask: np.ndarray) -> OccupancyFrame:
        """The voxels that lie in a mask [V] bool, and nothing beyond the grid."""
        kept = mask[self.flat]
        return replace(self, flat=self.flat[kept], labels=self.labels[kept], wide=None)

    def with_classes(self) -> OccupancyFrame:
        """The frame as it is shown and scored: what has no label is of class "others". Networks take it as it is."""
        return replace(self, labels=np.where(self.labels == UNLABELLED, np.uint8(OTHERS), self.labels),
                       wide=self.wide and self.wide.with_classes())

    @classmethod
    def from_dense(cls, volume: np.ndarray, world_from_grid: np.ndarray, stamp_s: float = 0.0,
                   token: str = "", boxes: tuple[Box, ...] = ()) -> OccupancyFrame:
        """The inverse of `dense`, for a class volume [X, Y, Z] uint8."""
        flat = np.flatnonzero(volume.reshape(-1) != FREE)
        return cls(flat, volume.reshape(-1)[flat].astype(np.uint8), np.asarray(world_from_grid, dtype=np.float64),
                   stamp_s, token, boxes)


Frames = tuple[OccupancyFrame, ...]  # of one sequence, in the order of time


@dataclass(frozen=True)
class FrameInGrid(OccupancyFrame):
    """A frame that knows its grid.

    Args:
        grid: what `flat` counts the voxels of.
    """

    grid: VoxelGrid = field(kw_only=True)

    @classmethod
    def of(cls, frame: OccupancyFrame, grid: VoxelGrid) -> FrameInGrid:
        """The same frame, arrays shared."""
        return cls(**{one.name: getattr(frame, one.name) for one in fields(OccupancyFrame)}, grid=grid)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres [N, 3] float64 of the occupied voxels, metres, in the grid's frame at this instant (x forward, y
        left, z up), and their classes [N] uint8."""
        return self.grid.centres(self.grid.unflatten(self.flat)), self.labels

    def world_points(self) -> tuple[np.ndarray, np.ndarray]:
        """As `points`, in the world frame of the log."""
        centres, labels = self.points()
        return transform(self.world_from_grid, centres), labels


@dataclass(frozen=True)
class View(OccupancyFrame):
    """What is perceived of an instant in a grid at another pose than that of the frame which holds it.

    Args:
        odds: [V] float16, logarithm of every voxel's odds of being occupied, beyond that from which on it is one of the
            frame's.
        classes: [V] uint8, what every voxel most probably is if it is occupied.
    """

    odds: np.ndarray = field(kw_only=True)
    classes: np.ndarray = field(kw_only=True)

    @property
    def num_bytes(self) -> int:
        return super().num_bytes + self.odds.nbytes + self.classes.nbytes


@dataclass(frozen=True)
class WideFrame(FrameInGrid):
    """A frame on a grid that may be larger than another one's, of the same voxels at the same pose.

    Args:
        places_m: [3, M] float32, metres in the grid's frame, where in voxels matter was met; a voxel of which some are
            known is moved by them, any other as a whole.
        owners: [M] int64 places in the frame's arrays of the voxels that they lie in.
        lately: [M] bool, whether the last sweep met it: matter that moves is there, and may have left the others.
        views: what is perceived of the instant in grids at other poses: by rules, moving the frame to one of them gives
            it.
    """

    views: tuple[View, ...] = field(default=(), kw_only=True)
    places_m: np.ndarray = field(default_factory=lambda: np.zeros((3, 0), np.float32), kw_only=True)
    owners: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), kw_only=True)
    lately: np.ndarray = field(default_factory=lambda: np.zeros(0, bool), kw_only=True)

    @property
    def num_bytes(self) -> int:
        places = sum(part.nbytes for part in (self.places_m, self.owners, self.lately))
        return super().num_bytes + places + sum(one.num_bytes for one in self.views)

    def view_at(self, world_from_grid: np.ndarray) -> View | None:
        """What is perceived in a grid at just this pose [4, 4]."""
        return next((one for one in self.views if np.array_equal(one.world_from_grid, world_from_grid)), None)

    def kept(self, stays: np.ndarray) -> WideFrame:
        """Of its voxels those of a mask [N] bool; views are left as they are."""
        places = stays[self.owners]
        return replace(self, flat=self.flat[stays], labels=self.labels[stays], places_m=self.places_m[:, places],
                       owners=(np.cumsum(stays) - 1)[self.owners[places]], lately=self.lately[places])
