"""A street in memory: ground, a wall, and a car that drives by while the ego vehicle drives too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from occflow.geometry import invert, planar_pose, transform
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box, Keyframe, Sweep

CAR, ROAD, WALL = (CLASS_NAMES.index(name) for name in ("car", "driveable_surface", "manmade"))
CAR_SIZE_M = np.array([4.0, 2.0, 1.5])


def surface(x: tuple, y: tuple, z: tuple, step_m: float = 0.2) -> np.ndarray:
    """Points [N, 3] of an axis-aligned box or rectangle, metres."""
    axes = [np.arange(low, high, step_m) if high > low else np.array([low]) for low, high in (x, y, z)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass
class Street:
    """A DrivingLog: keyframes at 2 Hz with a sweep between; ego at 3.2 m/s along x, a car at -8 m/s, at y = 4.

    The sensor sees everything all the time. `labelled`: keyframes carry labels. `boxed`: the car is annotated.
    """

    labelled: bool = True
    boxed: bool = True
    num_keyframes: int = 4
    extra_points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    extra_label: int = UNLABELLED
    name: str = "street"

    def scenes(self) -> list[str]:
        return ["street-1", "street-2"]

    def splits(self) -> dict[str, list[str]]:
        return {"train": ["street-1"], "val": ["street-2"]}

    def car_pose(self, stamp_s: float) -> np.ndarray:
        return planar_pose(10.0 - 8.0 * stamp_s, 4.0, np.pi, 0.75)

    def ego_pose(self, stamp_s: float) -> np.ndarray:
        return planar_pose(3.2 * stamp_s, 0.0, 0.0)

    def keyframes(self, scene: str) -> list[Keyframe]:
        return [Keyframe(f"{scene}-{i}", i / 2, self.ego_pose(i / 2), tuple(self.boxes_at(scene, i / 2)))
                for i in range(self.num_keyframes)]

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        return [Box("car", CAR, self.car_pose(stamp_s), CAR_SIZE_M)] if self.boxed else []

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        ground = surface((-30, 30), (-6, 7), (0.1, 0.1))
        wall = surface((-30, 30), (7.3, 7.3), (0.1, 3))
        for i in range(2 * self.num_keyframes - 1):
            stamp_s, keyframe = i / 4, i % 2 == 0
            shell = transform(self.car_pose(stamp_s), surface((-1.9, 1.9), (-0.9, 0.9), (-0.4, 0.7)))
            parts = (ground, wall, shell, self.extra_points)
            labels = np.repeat([ROAD, WALL, CAR, self.extra_label], [len(part) for part in parts]).astype(np.uint8)
            world_from_ego = self.ego_pose(stamp_s)
            world_from_sensor = world_from_ego @ planar_pose(1.0, 0.0, 0.1, 1.8)
            points = transform(invert(world_from_sensor), np.concatenate(parts)).astype(np.float32)
            yield Sweep(stamp_s, points, labels if keyframe and self.labelled else None, world_from_sensor,
                        world_from_ego, f"{scene}-{i // 2}" if keyframe else None, Path(f"{scene}-{i}.bin"))


@pytest.fixture
def street() -> Street:
    return Street()


@pytest.fixture
def street_with(street: Street):
    """The street, with some of its fields changed."""
    return lambda **fields: replace(street, **fields)


@pytest.fixture
def grid() -> VoxelGrid:
    return VoxelGrid((-16.0, -8.0, -0.8), (40, 20, 6), 0.8)
