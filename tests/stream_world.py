"""A drive to stream, in memory, and a clock that tests move on."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert, planar_pose, transform
from occflow.grid import CLASS_NAMES
from occflow.logs.protocol import Box, Keyframe, Sweep

ROAD, WALL, CAR = (CLASS_NAMES.index(name) for name in ("driveable_surface", "manmade", "car"))


class FakeClock:
    """Time stands still but for waiting and `spend`."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def wait_until(self, at_s: float, stop) -> None:
        self.seconds = max(self.seconds, at_s)

    def spend(self, seconds: float) -> None:
        self.seconds += seconds


def plane(x: tuple, y: tuple, z: tuple) -> np.ndarray:
    """Points [N, 3], 0.4 m apart."""
    axes = [np.arange(low, high, 0.4) if high > low else np.array([low]) for low, high in (x, y, z)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass
class Drive:
    """A DrivingLog: a road with a wall and a standing car; the ego drives at 2 m/s and turns a little.

    A keyframe every half a second. `broken` sweeps cannot be read; the sweeps after them can.
    """

    num_sweeps: int = 11
    sweep_s: float = 0.25
    labelled: bool = True
    broken: tuple[int, ...] = ()
    name: str = "drive"
    names: list[str] = field(default_factory=lambda: ["drive-1", "drive-2"])

    def scenes(self) -> list[str]:
        return list(self.names)

    def splits(self) -> dict[str, list[str]]:
        return {"train": [], "val": list(self.names)}

    def ego_pose(self, stamp_s: float) -> np.ndarray:
        return planar_pose(2.0 * stamp_s, 0.1 * stamp_s, 0.05 * stamp_s)

    def keyframes(self, scene: str) -> list[Keyframe]:
        return [Keyframe(f"{scene}-{i}", 0.5 * i, self.ego_pose(0.5 * i), ())
                for i in range(int(self.num_sweeps * self.sweep_s * 2))]

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        return []

    def sweep(self, index: int) -> Sweep:
        stamp_s = index * self.sweep_s
        parts = (plane((-9, 20), (-6, 5), (0.1, 0.1)), plane((-9, 20), (5.3, 5.3), (0.3, 3)),
                 plane((6, 8), (-3, -2), (0.5, 1.5)))
        labels = np.repeat([ROAD, WALL, CAR], [len(part) for part in parts]).astype(np.uint8)
        world_from_ego = self.ego_pose(stamp_s)
        world_from_sensor = world_from_ego @ planar_pose(1.0, 0.0, 0.1, 1.8)
        points = transform(invert(world_from_sensor), np.concatenate(parts)).astype(np.float32)
        return Sweep(stamp_s, points, labels if self.labelled else None, world_from_sensor, world_from_ego, None,
                     Path(f"{index}.bin"))

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        return map(self._read, range(self.num_sweeps))

    def _read(self, index: int) -> Sweep:
        if index in self.broken:
            raise InputError(f"{index}.bin: truncated; copy the file again")
        return self.sweep(index)


def moved(sweep: Sweep, by_m: float) -> Sweep:
    """The sweep with its poses `by_m` metres farther along y, as after a jump of the localisation."""
    shift = planar_pose(0.0, by_m, 0.0)
    return replace(sweep, world_from_ego=shift @ sweep.world_from_ego,
                   world_from_sensor=shift @ sweep.world_from_sensor)
