"""The lidarseg challenge's mapping, spelled out."""

from __future__ import annotations

import pytest

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, NUM_CLASSES
from occflow.logs.nuscenes_classes import CLASS_OF_CATEGORY, box_class, class_of_index, point_class
from occflow.logs.protocol import UNLABELLED


def test_every_class_but_others_has_a_category():
    assert set(CLASS_OF_CATEGORY.values()) == set(range(1, NUM_CLASSES))


@pytest.mark.parametrize("category, name", [
    ("human.pedestrian.police_officer", "pedestrian"), ("human.pedestrian.stroller", "others"),
    ("vehicle.bus.bendy", "bus"), ("vehicle.construction", "construction_vehicle"),
    ("vehicle.emergency.police", "others"), ("static_object.bicycle_rack", "others"), ("static.other", "others"),
    ("flat.other", "other_flat"), ("animal", "others"), ("a.category.of.tomorrow", "others"),
])
def test_categories(category, name):
    assert CLASS_NAMES[point_class(category)] == name == CLASS_NAMES[box_class(category)]


@pytest.mark.parametrize("category", ["noise", "vehicle.ego"])
def test_what_is_no_matter_has_no_label(category):
    assert point_class(category) == UNLABELLED


def test_lookup_tells_unknown_indices():
    lookup = class_of_index([{"name": "vehicle.car", "index": 17}, {"name": "noise", "index": 0}])
    assert (lookup[17], lookup[0], lookup[1]) == (4, UNLABELLED, -1)
    with pytest.raises(InputError, match="300"):
        class_of_index([{"name": "vehicle.car", "index": 300}])
