"""Everything in the world is a box: arrays of boxes, their triangles, and the categories they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The official nuScenes-lidarseg table; the index is the label of a point.
CATEGORIES = (
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack",
    "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction",
    "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer",
    "vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade",
    "static.other", "static.vegetation", "vehicle.ego",
)

_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_TRIANGLES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                       [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])
TRIANGLES_A_BOX = len(_TRIANGLES)


@dataclass(frozen=True)
class Boxes:
    """Upright boxes in the world.

    Args:
        centres: [N, 3] metres; sizes: [N, 3] length, width, height, metres; yaws: [N] radians.
        categories: [N] indices of CATEGORIES; owners: [N] index of the object a box is part of, -1 for none.
    """

    centres: np.ndarray
    sizes: np.ndarray
    yaws: np.ndarray
    categories: np.ndarray
    owners: np.ndarray

    def triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [8 N, 3] float32 and triangles [12 N, 3] uint32; triangle // 12 is the box."""
        local = _CORNERS * self.sizes[:, None, :]
        cos, sin = np.cos(self.yaws)[:, None], np.sin(self.yaws)[:, None]
        vertices = np.stack([cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1],
                             local[..., 2]], axis=-1) + self.centres[:, None, :]
        faces = _TRIANGLES + 8 * np.arange(len(self.centres))[:, None, None]
        return vertices.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.uint32)


class BoxList:
    """Collects boxes one by one."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(self, category: str, x: float, y: float, length: float, width: float, bottom: float, top: float,
            yaw: float = 0.0) -> None:
        """A box by its centre in the plane, its size, and its bottom and top, metres."""
        self.rows.append((x, y, (bottom + top) / 2, length, width, top - bottom, yaw, CATEGORIES.index(category)))

    def boxes(self) -> Boxes:
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 8)
        return Boxes(table[:, :3], table[:, 3:6], table[:, 6], table[:, 7].astype(np.int64),
                     np.full(len(table), -1))
