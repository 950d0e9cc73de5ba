"""What is planned: the places of a vehicle at instants, and the ground that it covers there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from occflow.errors import InputError
from occflow.geometry import is_rigid, planar_poses
from occflow.occupancy.frame import OccupancyFrame

FARTHEST_M = 1e8  # of a place from the world's origin: beyond any map's
LARGEST_M = 100.0  # of a vehicle
POINTS_A_VOXEL = 8  # along x and y, at least: 0.1 m apart in voxels of 0.8 m
POINTS_A_SIDE = 3  # of the vehicle's shorter one, at least, or it would pass between them
MOST_POINTS = 32


@dataclass(frozen=True)
class Footprint:
    """The box about a vehicle's pose in which matter is a strike, and how much of a voxel must lie in it.

    Args:
        length_m, width_m: of the vehicle.
        rear_overhang_m: from its rear end to the origin of its pose; half the length where that is in the middle.
        band_m: heights above the origin of its pose, from and to, between which the centre of a voxel counts: what is
            lower passes below the vehicle, what is higher above it.
        margin_m: added on all four sides.
        least_share: of a voxel's area, seen from above, that must be covered (of what a narrower vehicle could cover at
            most). A voxel is filled where anything reaches into it, so its edge lies half a voxel beyond that thing's
            in the mean: 0.5 makes up for that, and 0 (whatever is touched) keeps it as a margin.

    Raises:
        InputError: a measure that no vehicle has.
    """

    length_m: float = 4.7
    width_m: float = 1.9
    rear_overhang_m: float = 1.0
    band_m: tuple[float, float] = (0.15, 1.9)
    margin_m: float = 0.0
    least_share: float = 0.5

    def __post_init__(self) -> None:
        values = np.array([value for one in fields(self) for value in np.atleast_1d(getattr(self, one.name))], float)
        low, high = self.band_m
        if not (np.isfinite(values).all() and 0 < self.length_m <= LARGEST_M and 0 < self.width_m <= LARGEST_M
                and 0 <= self.rear_overhang_m <= self.length_m and low < high and 0 <= self.margin_m <= LARGEST_M
                and 0 <= self.least_share <= 1):
            raise InputError(f"footprint: no vehicle is like {self}; lengths are metres above 0, the overhang is part "
                             "of the length, the band goes from low to high, least_share is from 0 to 1")

    @property
    def corners_m(self) -> np.ndarray:
        """Corners [4, 2] about the pose, the margin included, the front ones first."""
        front, back = self.length_m - self.rear_overhang_m + self.margin_m, -self.rear_overhang_m - self.margin_m
        side = self.width_m / 2 + self.margin_m
        return np.array([(front, side), (front, -side), (back, -side), (back, side)])

    def points_a_voxel(self, voxel_size_m: float) -> int:
        """Along x and y, of a voxel whose share is measured."""
        needed = int(np.ceil(POINTS_A_SIDE * voxel_size_m / min(self.length_m, self.width_m)))
        return min(max(POINTS_A_VOXEL, needed), MOST_POINTS)

    def most_of_a_voxel(self, voxel_size_m: float) -> float:
        """The largest share of a voxel's area that the vehicle can cover where it is narrower than that."""
        length_m, width_m = self.corners_m.max(axis=0) - self.corners_m.min(axis=0)
        return min(1.0, length_m / voxel_size_m) * min(1.0, width_m / voxel_size_m)


@dataclass(frozen=True)
class PlannedPath:
    """Where a vehicle is to be.

    Args:
        world_from_vehicle: poses [T, 4, 4]: x forward, y left, z up, origin on the road, as a grid's frame.
        stamps_s: [T] increasing times, in the clock of the history.
        start: pose [4, 4] of the vehicle at the present, where that is known.

    Raises:
        InputError: no pose, one that is not finite, not rigid or beyond any map, or times that do not increase.
    """

    world_from_vehicle: np.ndarray
    stamps_s: np.ndarray
    start: np.ndarray | None = None

    def __post_init__(self) -> None:
        poses, stamps_s = np.asarray(self.world_from_vehicle, dtype=np.float64), np.asarray(self.stamps_s, np.float64)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or stamps_s.shape != poses.shape[:1] or not len(poses):
            raise InputError(f"planned path: poses {list(poses.shape)} and times {list(stamps_s.shape)} are not of one "
                             "path; give [T, 4, 4] and [T]")
        start = None if self.start is None else np.asarray(self.start, dtype=np.float64)
        for name, pose in [*((f"pose {index}", pose) for index, pose in enumerate(poses)), ("start", start)]:
            if pose is not None and not (is_rigid(pose) and (np.abs(pose[:3, 3]) <= FARTHEST_M).all()):
                raise InputError(f"planned path: {name} is not finite, no rigid pose, or beyond any map; leave it out, "
                                 "or plan it again")
        if not np.isfinite(stamps_s).all() or not (np.diff(stamps_s) > 0).all():
            raise InputError("planned path: its times are not finite, or do not increase")
        for name, value in (("world_from_vehicle", poses), ("stamps_s", stamps_s), ("start", start)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_present(cls, present: OccupancyFrame, places: np.ndarray | Sequence, seconds: np.ndarray | Sequence
                     ) -> PlannedPath:
        """A path that was planned in the frame of the present: that of its grid, x forward and y left of the vehicle.

        Args:
            places: x, y (metres) and heading (radians) [T, 3], in the plane of the vehicle now; or poses [T, 4, 4].
            seconds: [T] after the present.
        """
        places = np.asarray(places, dtype=np.float64)
        poses = planar_poses(places) if places.ndim == 2 and places.shape[1:] == (3,) else places
        if poses.ndim != 3 or poses.shape[1:] != (4, 4):
            raise InputError(f"planned path: places {list(places.shape)}; give x, y and heading [T, 3], or poses "
                             "[T, 4, 4]")
        return cls(present.world_from_grid @ poses, present.stamp_s + np.asarray(seconds, dtype=np.float64),
                   present.world_from_grid)
