"""Voxel grids and the semantic classes of their voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError

# Occ3D-nuScenes classes (docs/scores.md, "Windows"); the index is the label, 17 is free space.
CLASS_NAMES = (
    "others", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian",
    "traffic_cone", "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain",
    "manmade", "vegetation",
)
FREE = 17
NUM_CLASSES = len(CLASS_NAMES)  # occupied classes; FREE is not among them
OTHERS = 0
MOVABLE_CLASSES = (2, 3, 4, 5, 6, 7, 9, 10)  # general movable objects (GMO) of Cam4DOcc
FLAT_CLASSES = (11, 12, 13, 14)
IS_MOVABLE = np.isin(np.arange(256), MOVABLE_CLASSES)  # by label

MAX_GRID_VOXELS = 64_000_000  # 400 x 400 x 400; beyond it a grid is a mistake, not a wish
VOXEL_SIZES_M = (0.01, 100.0)  # a LiDAR's noise, and more than it sees in a street
MAX_REACH_M = 100_000.0  # of a grid from the origin of its frame


@dataclass(frozen=True)
class VoxelGrid:
    """A box of cubic voxels in the frame of its own pose (x forward, y left, z up for an ego grid).

    Args:
        origin_m: lower corner of voxel (0, 0, 0), metres, grid frame.
        shape: number of voxels along x, y, z.
        voxel_size_m: edge of a voxel, metres.

    Raises:
        InputError: a grid that is empty, not finite, absurdly large or far, or of absurd voxels.
    """

    origin_m: tuple[float, float, float]
    shape: tuple[int, int, int]
    voxel_size_m: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin_m", tuple(float(v) for v in self.origin_m))
        if any(int(v) != v for v in self.shape):
            raise InputError(f"grid of {tuple(self.shape)} voxels: give whole numbers; check data.grid")
        object.__setattr__(self, "shape", tuple(int(v) for v in self.shape))
        object.__setattr__(self, "voxel_size_m", float(self.voxel_size_m))
        finite = np.isfinite([*self.origin_m, self.voxel_size_m]).all()
        if len(self.shape) != 3 or len(self.origin_m) != 3 or not finite:
            raise InputError(f"grid needs three finite origins and three sizes, got {self.origin_m}, {self.shape}")
        smallest_m, largest_m = VOXEL_SIZES_M
        if min(self.shape) < 1 or self.num_voxels > MAX_GRID_VOXELS or not (
                smallest_m <= self.voxel_size_m <= largest_m):
            raise InputError(f"grid of {self.shape} voxels of {self.voxel_size_m} m is not usable; check data.grid")
        if max(np.abs(self.origin_m) + np.array(self.shape) * self.voxel_size_m) > MAX_REACH_M:
            raise InputError(f"grid from {self.origin_m} m of {self.shape} voxels of {self.voxel_size_m} m reaches "
                             f"farther than {MAX_REACH_M:.0f} m; check data.grid")

    @property
    def num_voxels(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    def indices(self, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Voxel indices of points [N, 3] in the grid frame, metres.

        Returns:
            indices [N, 3] int64 (meaningless outside) and inside [N] bool; non-finite points are outside.
        """
        scaled = (np.asarray(points_m, dtype=np.float64) - self.origin_m) / self.voxel_size_m
        with np.errstate(invalid="ignore"):
            inside = ((scaled >= 0) & (scaled < self.shape)).all(axis=1)
        indices = np.zeros(scaled.shape, dtype=np.int64)
        indices[inside] = np.floor(scaled[inside]).astype(np.int64)
        return indices, inside

    def centres(self, indices: np.ndarray) -> np.ndarray:
        """Centres [N, 3] float64, metres, grid frame, of voxel indices [N, 3]."""
        return np.asarray(self.origin_m) + (np.asarray(indices) + 0.5) * self.voxel_size_m

    def flatten(self, indices: np.ndarray) -> np.ndarray:
        """Indices [N, 3] inside the grid -> flat indices [N] int64, z running fastest."""
        indices = np.asarray(indices, dtype=np.int64)
        return (indices[:, 0] * self.shape[1] + indices[:, 1]) * self.shape[2] + indices[:, 2]

    def unflatten(self, flat: np.ndarray) -> np.ndarray:
        """Flat indices [N] -> indices [N, 3] int64."""
        flat = np.asarray(flat, dtype=np.int64)
        return np.stack([flat // (self.shape[1] * self.shape[2]), flat // self.shape[2] % self.shape[1],
                         flat % self.shape[2]], axis=1)

    def renumbered(self, flat: np.ndarray, other: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
        """Flat voxels [N] of this grid by their numbers [N] int64 in another one at the same pose, of the same voxels
        (corners a whole number of voxels apart), in the same order, and which of them lie in it [N] bool; the
        numbers of others mean nothing."""
        index = self.unflatten(flat) + self.first_in(other)
        return other.flatten(index), ((index >= 0) & (index < other.shape)).all(axis=1)

    def first_in(self, other: VoxelGrid) -> np.ndarray:
        """Index [3] int64 of this grid's first voxel in another one of the same voxels at the same pose."""
        return np.round((np.array(self.origin_m) - other.origin_m) / self.voxel_size_m).astype(np.int64)

    def slices_in(self, other: VoxelGrid) -> tuple[slice, slice, slice]:
        """Where a volume of this grid lies in one of a larger grid that holds it."""
        return tuple(slice(first, first + length) for first, length in zip(self.first_in(other).tolist(), self.shape))

    def to_dict(self) -> dict:
        return {"origin_m": list(self.origin_m), "shape": list(self.shape), "voxel_size_m": self.voxel_size_m}

    @classmethod
    def from_dict(cls, values: dict) -> VoxelGrid:
        return cls(tuple(values["origin_m"]), tuple(values["shape"]), values["voxel_size_m"])


OCC3D_GRID = VoxelGrid((-40.0, -40.0, -1.0), (200, 200, 16), 0.4)  # the benchmark's (configs/data/occ3d.yaml); UniOcc's
