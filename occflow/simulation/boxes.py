"""Solid boxes, the shapes that everything but the ground is made of, and their categories; the kinds of agents, their
sizes, and their shapes: a few boxes each.
"""

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

    def where(self, mask: np.ndarray) -> Boxes:
        """The boxes of a mask [N]."""
        return Boxes(*(getattr(self, field.name)[mask] for field in fields(self)))

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

    def extend(self, category: str, table: np.ndarray) -> None:
        """Many boxes: rows x, y, length, width, bottom, top, yaw [N, 7]."""
        x, y, length, width, bottom, top, yaw = table.T
        columns = (x, y, (bottom + top) / 2, length, width, top - bottom, yaw,
                   np.full(len(x), CATEGORIES.index(category)))
        self.rows += list(zip(*(column.tolist() for column in columns)))

    def boxes(self) -> Boxes:
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 8)
        return Boxes(table[:, :3], table[:, 3:6], turned(table[:, 6]), table[:, 7].astype(np.int64),
                     np.full(len(table), -1))


@dataclass(frozen=True)
class Kind:
    """A kind of agent: nuScenes category, length, width, height (metres), cruise speed from and to (m/s), shape."""

    category: str
    size_m: tuple[float, float, float]
    cruise_m_per_s: tuple[float, float]
    shape: str

    def scaled(self, rng: np.random.Generator, spread: float = 0.06) -> tuple[float, float, float]:
        """A size of its own, each measure off by `spread` at most."""
        return tuple(float(value * rng.uniform(1 - spread, 1 + spread)) for value in self.size_m)


KINDS = {
    "hatchback": Kind("vehicle.car", (3.9, 1.75, 1.5), (5.0, 11.0), "car"),
    "sedan": Kind("vehicle.car", (4.7, 1.85, 1.5), (5.0, 12.0), "car"),
    "offroader": Kind("vehicle.car", (4.8, 2.0, 1.85), (5.0, 11.0), "car"),
    "van": Kind("vehicle.car", (5.2, 2.0, 2.1), (5.0, 10.0), "van"),
    "pickup": Kind("vehicle.truck", (5.5, 2.0, 1.9), (5.0, 10.0), "pickup"),
    "truck": Kind("vehicle.truck", (8.0, 2.5, 3.2), (4.0, 8.5), "truck"),
    "bus": Kind("vehicle.bus.rigid", (11.0, 2.6, 3.2), (4.0, 8.5), "bus"),
    "trailer": Kind("vehicle.trailer", (5.0, 2.1, 2.2), (0.0, 0.0), "truck"),
    "digger": Kind("vehicle.construction", (5.2, 2.2, 2.8), (0.0, 0.0), "digger"),
    "motorcycle": Kind("vehicle.motorcycle", (2.1, 0.8, 1.6), (5.0, 11.0), "cycle"),
    "bicycle": Kind("vehicle.bicycle", (1.8, 0.65, 1.75), (2.5, 5.5), "cycle"),
    "saloon": Kind("vehicle.car", (4.7, 1.85, 1.47), (6.0, 32.0), "saloon"),
    "small_car": Kind("vehicle.car", (3.7, 1.68, 1.5), (6.0, 28.0), "hatch"),
    "estate": Kind("vehicle.car", (4.7, 1.85, 1.55), (6.0, 32.0), "estate"),
    "suv": Kind("vehicle.car", (4.75, 1.95, 1.75), (6.0, 32.0), "estate"),
    "minivan": Kind("vehicle.car", (4.9, 1.95, 1.85), (6.0, 30.0), "minivan"),
    "delivery_van": Kind("vehicle.car", (5.8, 2.05, 2.5), (6.0, 28.0), "minivan"),
    "crew_pickup": Kind("vehicle.truck", (5.7, 2.0, 1.9), (6.0, 30.0), "crew_pickup"),
    "box_truck": Kind("vehicle.truck", (7.2, 2.4, 3.1), (5.0, 24.0), "box_truck"),
    "flatbed": Kind("vehicle.truck", (8.0, 2.5, 2.7), (5.0, 23.0), "flatbed"),
    "tractor": Kind("vehicle.truck", (6.2, 2.5, 3.6), (5.0, 23.0), "tractor"),
    "semitrailer": Kind("vehicle.trailer", (11.0, 2.5, 3.8), (0.0, 0.0), "semitrailer"),
    "tanker": Kind("vehicle.trailer", (10.0, 2.5, 3.4), (0.0, 0.0), "tanker"),
    "small_trailer": Kind("vehicle.trailer", (3.2, 1.7, 1.2), (0.0, 0.0), "small_trailer"),
    "minibus": Kind("vehicle.bus.rigid", (7.2, 2.2, 2.7), (5.0, 26.0), "bus"),
    "city_bus": Kind("vehicle.bus.rigid", (12.0, 2.55, 3.1), (5.0, 22.0), "bus"),
    "motorbike": Kind("vehicle.motorcycle", (2.1, 0.8, 1.65), (6.0, 30.0), "motorbike"),
    "cyclist": Kind("vehicle.bicycle", (1.75, 0.6, 1.75), (2.5, 8.0), "cyclist"),
    "passer": Kind("human.pedestrian.adult", (0.8, 0.7, 1.75), (0.8, 2.2), "striding"),
    "adult": Kind("human.pedestrian.adult", (0.6, 0.65, 1.75), (0.9, 1.8), "person"),
    "child": Kind("human.pedestrian.child", (0.45, 0.45, 1.2), (0.8, 1.6), "person"),
    "worker": Kind("human.pedestrian.construction_worker", (0.6, 0.65, 1.75), (0.0, 0.0), "person"),
    "barrier": Kind("movable_object.barrier", (0.5, 2.0, 1.0), (0.0, 0.0), "block"),
    "cone": Kind("movable_object.trafficcone", (0.4, 0.4, 0.8), (0.0, 0.0), "cone"),
}
DRIVEN = {"hatchback": 0.2, "sedan": 0.28, "offroader": 0.14, "van": 0.08, "pickup": 0.04, "truck": 0.08, "bus": 0.05,
          "motorcycle": 0.06, "bicycle": 0.07}  # shares
PARKED = {"hatchback": 0.28, "sedan": 0.34, "offroader": 0.2, "van": 0.1, "pickup": 0.06, "trailer": 0.02}
VARIED_DRIVEN = {"saloon": 0.24, "small_car": 0.14, "estate": 0.1, "suv": 0.16, "minivan": 0.06, "delivery_van": 0.05,
                 "crew_pickup": 0.06, "box_truck": 0.04, "flatbed": 0.02, "tractor": 0.03, "minibus": 0.02,
                 "city_bus": 0.03, "motorbike": 0.04, "cyclist": 0.05}
VARIED_PARKED = {"saloon": 0.3, "small_car": 0.22, "estate": 0.1, "suv": 0.2, "minivan": 0.06, "delivery_van": 0.04,
                 "crew_pickup": 0.05, "small_trailer": 0.01, "motorbike": 0.02}
TRAILERS = {"tractor": (("semitrailer", 0.6), ("tanker", 0.3)), "crew_pickup": (("small_trailer", 0.15),),
            "estate": (("small_trailer", 0.05),)}  # what kinds may tow, and how often they do

# Boxes of a shape in shares of the size: x, y of the centre, length, width, bottom, top.
SHAPES = {
    "car": ((0, 0, 1.0, 1.0, 0.18, 0.58), (-0.06, 0, 0.55, 0.88, 0.58, 1.0),
            (0.3, 0, 0.14, 0.94, 0.0, 0.18), (-0.3, 0, 0.14, 0.94, 0.0, 0.18)),
    "saloon": ((0, 0, 1.0, 0.96, 0.14, 0.36), (0, 0, 0.99, 1.0, 0.36, 0.52), (0.3, 0, 0.36, 0.92, 0.52, 0.62),
               (-0.4, 0, 0.18, 0.92, 0.52, 0.68), (-0.05, 0, 0.52, 0.9, 0.52, 0.72),
               (-0.07, 0, 0.42, 0.84, 0.72, 0.88), (-0.09, 0, 0.3, 0.76, 0.88, 1.0),
               (0.3, 0, 0.13, 0.94, 0.0, 0.18), (-0.3, 0, 0.13, 0.94, 0.0, 0.18)),
    "hatch": ((0, 0, 1.0, 0.97, 0.14, 0.38), (0, 0, 0.98, 1.0, 0.38, 0.52), (0.34, 0, 0.3, 0.9, 0.52, 0.64),
              (-0.14, 0, 0.68, 0.9, 0.52, 0.74), (-0.16, 0, 0.58, 0.84, 0.74, 0.9), (-0.18, 0, 0.44, 0.76, 0.9, 1.0),
              (0.31, 0, 0.15, 0.94, 0.0, 0.18), (-0.32, 0, 0.15, 0.94, 0.0, 0.18)),
    "estate": ((0, 0, 1.0, 0.97, 0.15, 0.38), (0, 0, 0.98, 1.0, 0.38, 0.54), (0.33, 0, 0.3, 0.92, 0.54, 0.64),
               (-0.14, 0, 0.68, 0.9, 0.54, 0.78), (-0.18, 0, 0.58, 0.84, 0.78, 0.94), (-0.2, 0, 0.5, 0.78, 0.94, 1.0),
               (0.3, 0, 0.14, 0.94, 0.0, 0.18), (-0.3, 0, 0.14, 0.94, 0.0, 0.18)),
    "minivan": ((0, 0, 1.0, 1.0, 0.12, 0.46), (-0.04, 0, 0.92, 0.98, 0.46, 0.58), (-0.09, 0, 0.82, 0.95, 0.58, 0.8),
                (-0.12, 0, 0.75, 0.9, 0.8, 1.0), (0.32, 0, 0.13, 0.94, 0.0, 0.14), (-0.3, 0, 0.13, 0.94, 0.0, 0.14)),
    "crew_pickup": ((0, 0, 1.0, 0.96, 0.2, 0.42), (0.33, 0, 0.34, 1.0, 0.42, 0.62), (0.04, 0, 0.4, 1.0, 0.42, 0.7),
                    (0.03, 0, 0.3, 0.84, 0.7, 1.0), (-0.33, 0.47, 0.33, 0.05, 0.42, 0.64),
                    (-0.33, -0.47, 0.33, 0.05, 0.42, 0.64), (-0.485, 0, 0.03, 0.96, 0.42, 0.64),
                    (0.31, 0, 0.14, 0.94, 0.0, 0.22), (-0.3, 0, 0.14, 0.94, 0.0, 0.22)),
    "box_truck": ((0.39, 0, 0.22, 0.88, 0.18, 0.5), (0.35, 0, 0.14, 0.86, 0.5, 0.72), (-0.11, 0, 0.78, 1.0, 0.26, 1.0),
                  (0.34, 0, 0.12, 0.9, 0.0, 0.2), (-0.28, 0, 0.14, 0.9, 0.0, 0.28)),
    "flatbed": ((0.38, 0, 0.24, 0.95, 0.2, 1.0), (-0.13, 0, 0.74, 1.0, 0.36, 0.46), (-0.1, 0.05, 0.4, 0.7, 0.46, 0.75),
                (0.32, 0, 0.12, 0.9, 0.0, 0.22), (-0.3, 0, 0.25, 0.9, 0.0, 0.36)),
    "tractor": ((0.3, 0, 0.4, 1.0, 0.15, 0.9), (0.26, 0, 0.3, 0.94, 0.9, 1.0), (-0.2, 0, 0.6, 0.4, 0.22, 0.34),
                (0.3, 0, 0.17, 0.96, 0.0, 0.2), (-0.28, 0, 0.34, 1.0, 0.0, 0.28)),
    "semitrailer": ((0, 0, 1.0, 1.0, 0.3, 1.0), (-0.32, 0, 0.3, 0.95, 0.0, 0.3), (0.3, 0, 0.02, 0.6, 0.05, 0.3)),
    "tanker": ((0, 0, 1.0, 0.66, 0.32, 1.0), (0, 0, 0.98, 1.0, 0.46, 0.86), (-0.3, 0, 0.32, 0.95, 0.0, 0.33)),
    "small_trailer": ((-0.1, 0, 0.8, 1.0, 0.35, 1.0), (-0.1, 0, 0.2, 1.0, 0.0, 0.4), (0.38, 0, 0.24, 0.1, 0.3, 0.45)),
    "motorbike": ((0.33, 0, 0.3, 0.14, 0.0, 0.38), (-0.34, 0, 0.3, 0.18, 0.0, 0.38), (0, 0, 0.7, 0.4, 0.2, 0.55),
                  (0.2, 0, 0.1, 1.0, 0.5, 0.62), (-0.1, 0, 0.24, 0.6, 0.5, 0.84), (-0.06, 0, 0.14, 0.3, 0.84, 1.0)),
    "cyclist": ((0.32, 0, 0.36, 0.08, 0.0, 0.38), (-0.32, 0, 0.36, 0.08, 0.0, 0.38), (0, 0, 0.6, 0.12, 0.25, 0.5),
                (0.24, 0, 0.08, 1.0, 0.5, 0.58), (-0.06, 0, 0.26, 0.7, 0.35, 0.84), (0.02, 0, 0.14, 0.3, 0.84, 1.0)),
    "van": ((0, 0, 1.0, 1.0, 0.14, 0.5), (-0.1, 0, 0.8, 0.95, 0.5, 1.0),
            (0.3, 0, 0.14, 0.94, 0.0, 0.14), (-0.3, 0, 0.14, 0.94, 0.0, 0.14)),
    "pickup": ((0, 0, 1.0, 1.0, 0.22, 0.6), (0.06, 0, 0.34, 0.9, 0.6, 1.0),
               (0.3, 0, 0.14, 0.94, 0.0, 0.22), (-0.3, 0, 0.14, 0.94, 0.0, 0.22)),
    "truck": ((0.38, 0, 0.24, 0.95, 0.2, 0.85), (-0.13, 0, 0.74, 1.0, 0.28, 1.0),
              (0.32, 0, 0.12, 0.9, 0.0, 0.2), (-0.3, 0, 0.25, 0.9, 0.0, 0.28)),
    "bus": ((0, 0, 1.0, 1.0, 0.1, 1.0), (0.28, 0, 0.1, 0.95, 0.0, 0.1), (-0.25, 0, 0.1, 0.95, 0.0, 0.1)),
    "digger": ((-0.1, 0, 0.7, 1.0, 0.0, 0.3), (-0.2, 0, 0.6, 0.8, 0.3, 0.6), (-0.08, 0.15, 0.3, 0.4, 0.6, 1.0),
               (0.3, -0.1, 0.4, 0.15, 0.55, 0.75), (0.45, -0.1, 0.1, 0.35, 0.1, 0.75)),
    "cycle": ((0, 0, 1.0, 0.25, 0.0, 0.55), (-0.08, 0, 0.25, 0.8, 0.45, 0.85), (0.0, 0, 0.14, 0.3, 0.85, 1.0)),
    "striding": ((0.28, -0.18, 0.4, 0.24, 0.0, 0.25), (-0.28, 0.18, 0.4, 0.24, 0.0, 0.25), (0, 0, 0.6, 0.5, 0.25, 0.5),
                 (0, 0, 0.4, 0.7, 0.5, 0.84), (0.25, 0.42, 0.5, 0.16, 0.45, 0.75),
                 (-0.25, -0.42, 0.5, 0.16, 0.45, 0.75), (0.05, 0, 0.28, 0.3, 0.86, 1.0)),
    "person": ((0, 0, 0.5, 0.55, 0.0, 0.48), (0, 0, 0.5, 1.0, 0.48, 0.85), (0, 0, 0.4, 0.35, 0.85, 1.0)),
    "block": ((0, 0, 1.0, 1.0, 0.0, 0.3), (0, 0, 0.4, 1.0, 0.3, 1.0)),
    "cone": ((0, 0, 1.0, 1.0, 0.0, 0.12), (0, 0, 0.6, 0.6, 0.12, 0.55), (0, 0, 0.25, 0.25, 0.55, 1.0)),
}


class Bodies:
    """The shapes of agents, ready to be put at their poses.

    Args:
        kinds: names of KINDS; sizes_m: [N, 3] length, width, height; owners: [N] what the boxes are owned by.
    """

    def __init__(self, kinds: list[str], sizes_m: np.ndarray, owners: list[int]) -> None:
        parts = [np.array(SHAPES[KINDS[kind].shape], dtype=np.float64) for kind in kinds]
        self.agents = np.repeat(np.arange(len(kinds)), np.array([len(part) for part in parts], dtype=np.int64))
        shares = np.concatenate([*parts, np.zeros((0, 6))])
        sizes = np.asarray(sizes_m).reshape(-1, 3)[self.agents]
        bottom_top = shares[:, 4:6] * sizes[:, 2:]
        self.centres = np.column_stack([shares[:, :2] * sizes[:, :2], bottom_top.mean(axis=1)])
        self.sizes = np.column_stack([shares[:, 2:4] * sizes[:, :2], bottom_top[:, 1] - bottom_top[:, 0]])
        categories = np.array([CATEGORIES.index(KINDS[kind].category) for kind in kinds], dtype=np.int64)
        self.categories, self.owners = categories[self.agents], np.asarray(owners, dtype=np.int64)[self.agents]

    def __deepcopy__(self, memo: dict) -> Bodies:
        return self  # never changes

    def at(self, poses: np.ndarray) -> Boxes:
        """Boxes of all agents at their poses [N, 4, 4], world <- agent, origin on the ground."""
        placed = poses[self.agents]
        centres = np.einsum("nij,nj->ni", placed[:, :3, :3], self.centres) + placed[:, :3, 3]
        return Boxes(centres, self.sizes, placed[:, :3, :3], self.categories, self.owners)
