"""Solid boxes, the shapes that everything but the ground is made of, and the categories they belong to."""

from __future__ import annotations

from dataclasses import dataclass, fields

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


@dataclass(frozen=True)
class Triangles:
    """Vertices [V, 3] float32, metres, world; faces [F, 3] uint32; category and owner (-1: none) of a face [F]."""

    vertices: np.ndarray
    faces: np.ndarray
    categories: np.ndarray
    owners: np.ndarray

    @classmethod
    def joined(cls, parts: list[Triangles]) -> Triangles:
        """One set of triangles of several."""
        first = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        faces = [part.faces + np.uint32(start) for part, start in zip(parts, first)]
        return cls(np.concatenate([part.vertices for part in parts]), np.concatenate(faces),
                   *(np.concatenate([getattr(part, name) for part in parts]) for name in ("categories", "owners")))


@dataclass(frozen=True)
class Boxes:
    """Solid boxes in the world.

    Args:
        centres: [N, 3] metres; sizes: [N, 3] length, width, height, metres; rotations: [N, 3, 3] world <- box.
        categories: [N] indices of CATEGORIES; owners: [N] index of the agent a box is part of, -1 for none.
    """

    centres: np.ndarray
    sizes: np.ndarray
    rotations: np.ndarray
    categories: np.ndarray
    owners: np.ndarray

    @classmethod
    def joined(cls, parts: list[Boxes]) -> Boxes:
        """One set of boxes of several."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def triangles(self) -> Triangles:
        """Twelve triangles a box."""
        corners = np.einsum("nij,nkj->nki", self.rotations, _CORNERS * self.sizes[:, None, :])
        faces = _TRIANGLES + 8 * np.arange(len(self.centres))[:, None, None]
        return Triangles((corners + self.centres[:, None, :]).reshape(-1, 3).astype(np.float32),
                         faces.reshape(-1, 3).astype(np.uint32),
                         np.repeat(self.categories, len(_TRIANGLES)), np.repeat(self.owners, len(_TRIANGLES)))


def turned(yaws: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] about z."""
    cos, sin, zero, one = np.cos(yaws), np.sin(yaws), np.zeros(len(yaws)), np.ones(len(yaws))
    return np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)


class BoxList:
    """Collects upright boxes one by one."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(self, category: str, x: float, y: float, length: float, width: float, bottom: float, top: float,
            yaw: float = 0.0) -> None:
        """A box by its centre in the plane, its size, and its bottom and top, metres."""
        self.rows.append((x, y, (bottom + top) / 2, length, width, top - bottom, yaw, CATEGORIES.index(category)))

    def boxes(self) -> Boxes:
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 8)
        return Boxes(table[:, :3], table[:, 3:6], turned(table[:, 6]), table[:, 7].astype(np.int64),
                     np.full(len(table), -1))
