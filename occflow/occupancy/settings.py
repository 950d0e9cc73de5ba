"""How sweeps become occupancy: the numbers of configuration group `data.occupancy`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from occflow.errors import InputError
from occflow.grid import VoxelGrid

MAX_WINDOW_S = 60.0  # masks of all keyframes within reach of a sweep are in memory at once

INPUT_KINDS = ("occupancy", "lidar", "causal")  # made in hindsight; perceived of sweeps until then; their raw voxels
DEMO_GRID = VoxelGrid((-40.0, -40.0, -1.0), (100, 100, 8), 0.8)  # group data=demo, and of the networks in pretrained/
DEMO_HISTORY, DEMO_HORIZON, DEMO_INTERVAL_S = 3, 6, 0.5  # frames seen and forecast, seconds between them
SWITCHES = ("visibility", "voxel_parts")  # of OccupancySettings, true or false
GRID_POSES = ("ego", "anchored")  # grids ride with the vehicle, or stay where the present's is


def refuse_unknown(setting: str, value: object, known: tuple[str, ...]) -> None:
    """Raises InputError for a value that is not among the known ones."""
    if value not in known:
        raise InputError(f"{setting}: {value!r} is not known; known: {', '.join(known)}")


@dataclass(frozen=True)
class OccupancySettings:
    """Settings of accumulation and labelling; the defaults are those of the demo.

    Args:
        cells_per_voxel: points are kept as cells of a lattice this many times finer than a voxel, each at the mean of
            its points.
        min_points: returns that make a voxel occupied; fewer are noise.
        max_range_m: returns farther from the sensor are dropped: they are sparse and badly registered.
        ego_box_m: x and y from, x and y to, ego frame; returns inside are of the own vehicle and dropped.
        box_margin_m: annotated boxes are enlarged by this much on all sides, so that movers leave no trails.
        mover_margin_m: unlabelled returns so near beyond the margin of a moving box are dropped: boxes are interpolated
            between keyframes, and who brakes by 6 m/s^2 is 0.2 m beside his box half-way, who turns is farther off.
        box_floor_m: unlabelled returns less than this above a box's bottom are road, not object: dropped.
        label_radius_m: an unlabelled voxel takes the label of the nearest labelled place within this distance.
        ground_gap_m: ground of a flat class goes on between returns that are not farther apart than this, where rays
            passed over it and none below; a spinning sensor meets the road in rings. 0: only where returns are.
        see_through_m: in a log without boxes and labels, where nobody says what moves, a place that rays went past by
            more than this is not of what stands (occupancy.building.passing). 0: movers leave trails there.
        revolution_s: how long a revolution takes whose points nobody has corrected for the vehicle's motion (sensor as
            in nuScenes: clockwise from behind, stamped at its end); 0: the points of a sweep are of one instant.
        visibility: also find out, by following rays, which voxels were observed.
        visibility_window_s: with the rays of the sweeps at most this long before or after the keyframe.
        causal_window_s: also build what a car knows at the keyframe, from the sweeps of this long before it; 0: do not.
        causal_min_points: returns that make a voxel occupied there.
        memory_s: perception also sees what the sweeps of this long before it had met, thinned; 0: only those of
            `causal_window_s`.
        outlook_s: it also knows what it saw beyond its grid, where its grids of so many seconds ahead will lie if it
            goes on as it went; 0: only its grid.
        outlook_m: beyond the grid's borders at most so far.
        voxel_parts: also keep in which parts of every voxel matter is (occupancy.parts), for the training of what moves
            a present into later grids; forecasters are never shown it.

    Raises:
        InputError: a value out of its range.
    """

    cells_per_voxel: int = 4
    min_points: int = 2
    max_range_m: float = 60.0
    ego_box_m: tuple[float, float, float, float] = (-2.0, -1.2, 3.8, 1.2)
    box_margin_m: float = 0.2
    mover_margin_m: float = 0.4
    box_floor_m: float = 0.15
    label_radius_m: float = 1.5
    ground_gap_m: float = 14.0
    see_through_m: float = 0.4
    revolution_s: float = 0.0
    visibility: bool = True
    visibility_window_s: float = 0.25
    causal_window_s: float = 1.0
    causal_min_points: int = 1
    memory_s: float = 8.0
    outlook_s: float = 3.0
    outlook_m: float = 60.0
    voxel_parts: bool = False

    def __post_init__(self) -> None:
        for name in ("cells_per_voxel", "min_points", "causal_min_points"):
            if not 1 <= getattr(self, name) <= 100 or getattr(self, name) != int(getattr(self, name)):
                raise InputError(f"data.occupancy.{name}: {getattr(self, name)!r} is not a whole number from 1 to 100")
        for name in ("max_range_m", "box_margin_m", "mover_margin_m", "box_floor_m", "label_radius_m", "ground_gap_m",
                     "see_through_m", "outlook_m"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"data.occupancy.{name}: {getattr(self, name)!r} is not a distance in metres")
        for name in ("revolution_s", "visibility_window_s", "causal_window_s", "memory_s", "outlook_s"):
            if not 0 <= getattr(self, name) <= MAX_WINDOW_S:
                raise InputError(f"data.occupancy.{name}: {getattr(self, name)!r} is not a time from 0 to "
                                 f"{MAX_WINDOW_S:.0f} seconds")
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"data.occupancy.{name}: {getattr(self, name)!r} is not true or false")
        if len(self.ego_box_m) != 4 or not all(math.isfinite(value) for value in self.ego_box_m):
            raise InputError(f"data.occupancy.ego_box_m: {list(self.ego_box_m)} is not [x from, y from, x to, y to]")

    @classmethod
    def from_dict(cls, values: Mapping) -> OccupancySettings:
        """From a configuration group; keys left out take their defaults."""
        if not isinstance(values, Mapping):
            raise InputError(f"data.occupancy: {values!r} is not a group of settings; see configs/data/demo.yaml")
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise InputError(f"data.occupancy.{unknown[0]}: no such setting; known: "
                             + ", ".join(field.name for field in fields(cls)))
        try:
            plain = {name: value if name in SWITCHES else value + 0 for name, value in values.items()
                     if name != "ego_box_m"}
            if "ego_box_m" in values:
                plain["ego_box_m"] = tuple(float(value) for value in values["ego_box_m"])
            return cls(**plain)
        except (TypeError, ValueError) as error:
            raise InputError(f"data.occupancy: a value is not a number ({error})") from None

    def to_dict(self) -> dict:
        """Plain values, for JSON and for comparison.

        The default of `see_through_m` is left out: it has no bearing on logs with boxes, whose stores stay the same; so
        is that of `voxel_parts`, which stores of before do not have.
        """
        values = {**asdict(self), "ego_box_m": list(self.ego_box_m)}
        for name in ("see_through_m", "voxel_parts"):
            if getattr(self, name) == getattr(type(self), name):
                del values[name]
        return values


def configured_grid(data: Mapping) -> VoxelGrid:
    """The grid of configuration group `data`; stores keep it riding with the vehicle, windows may anchor it.

    Raises:
        InputError: another `grid_pose`, or values that make no grid.
    """
    refuse_unknown("data.grid_pose", data.get("grid_pose"), GRID_POSES)
    try:
        return VoxelGrid.from_dict(data["grid"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"data.grid: needs origin_m, shape and voxel_size_m ({type(error).__name__}: {error}); "
                         "see configs/data/demo.yaml") from None


def configured_shard(data: Mapping) -> tuple[int, int]:
    """Which shard of how many to build, from `data.shard` such as 3/16.

    Raises:
        InputError: not i/n with 0 <= i < n.
    """
    parts = str(data.get("shard", "0/1")).split("/")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or int(parts[0]) >= int(parts[1]):
        raise InputError(f"data.shard: {data.get('shard')!r} is not i/n with i from 0 to n - 1, such as 3/16")
    return int(parts[0]), int(parts[1])
