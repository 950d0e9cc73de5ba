"""nuScenes categories (of boxes and of lidarseg points) -> occupancy classes.

The 16 classes of the nuScenes lidarseg challenge (nuscenes.org/lidar-segmentation, table "label mapping"), as in
Occ3D. What the challenge ignores but is matter (debris, strollers, ambulances, static.other) is "others" here, as in
Occ3D; what is no matter of the world (noise, returns of the own vehicle) stays unlabelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, OTHERS
from occflow.logs.protocol import UNLABELLED

NOT_MATTER = ("noise", "vehicle.ego")
CATEGORIES_OF_CLASS = {
    "barrier": ("movable_object.barrier",),
    "bicycle": ("vehicle.bicycle",),
    "bus": ("vehicle.bus.bendy", "vehicle.bus.rigid"),
    "car": ("vehicle.car",),
    "construction_vehicle": ("vehicle.construction",),
    "motorcycle": ("vehicle.motorcycle",),
    "pedestrian": ("human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
                   "human.pedestrian.police_officer"),
    "traffic_cone": ("movable_object.trafficcone",),
    "trailer": ("vehicle.trailer",),
    "truck": ("vehicle.truck",),
    "driveable_surface": ("flat.driveable_surface",),
    "other_flat": ("flat.other",),
    "sidewalk": ("flat.sidewalk",),
    "terrain": ("flat.terrain",),
    "manmade": ("static.manmade",),
    "vegetation": ("static.vegetation",),
}
CLASS_OF_CATEGORY = {category: CLASS_NAMES.index(name)
                     for name, categories in CATEGORIES_OF_CLASS.items() for category in categories}


def point_class(category: str) -> int:
    """Occupancy class of a lidarseg category; "others" where it has none of its own, UNLABELLED where no matter."""
    return UNLABELLED if category in NOT_MATTER else CLASS_OF_CATEGORY.get(category, OTHERS)


def box_class(category: str) -> int:
    """Occupancy class of an annotated object's category; always a class, since a box is matter."""
    return CLASS_OF_CATEGORY.get(category, OTHERS)


def class_of_index(categories: Iterable[Mapping], table: str = "category.json") -> np.ndarray:
    """Lookup [256] int16 from a lidarseg index to an occupancy class, -1 where the table has no such index.

    Args:
        categories: records of the category table, with `index` and `name`.
        table: its path, for the message.

    Raises:
        InputError: an index beyond 0..255.
    """
    lookup = np.full(256, -1, dtype=np.int16)
    for record in categories:
        index = record["index"]
        if not isinstance(index, int) or not 0 <= index < len(lookup):
            raise InputError(f"{table}: index {index!r} of '{record['name']}' is not a lidarseg index 0..255; "
                             "use the category table that comes with nuScenes-lidarseg")
        lookup[index] = point_class(record["name"])
    return lookup
