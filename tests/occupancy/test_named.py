"""Frames of a log without labels: forecasters see the classes that are perceived, scores do not."""

from dataclasses import replace

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, OTHERS
from occflow.occupancy.building.build import build_store
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.tasks import stored_frames
from occflow.occupancy.windows import WindowSource

CAR = CLASS_NAMES.index("car")


class Naming:
    """Names everything a car, and counts how often it was asked."""

    def __init__(self, error: str = "") -> None:
        self.asked, self.error = 0, error

    def __call__(self, sighting, grid):
        raise AssertionError("full frames are named, not perceived")

    def named(self, frame, sighting, grid):
        if self.error:
            raise InputError(self.error)
        self.asked += 1
        assert sighting.stamp_s == frame.stamp_s
        return replace(frame, labels=np.full_like(frame.labels, CAR))


class Unlabelled:
    """A log whose points nobody has named."""

    def __init__(self, log) -> None:
        self.log = log

    def __getattr__(self, name: str):
        return getattr(self.log, name)

    def sweeps(self, scene: str):
        return (replace(sweep, labels=None, moving=None) for sweep in self.log.sweeps(scene))

    def keyframes(self, scene: str):
        return [replace(keyframe, boxes=()) for keyframe in self.log.keyframes(scene)]

    def boxes_at(self, scene: str, stamp_s: float):
        return []


@pytest.fixture
def store(street, grid, tmp_path):
    return build_store(Unlabelled(street), grid, OccupancySettings(), tmp_path / "store")


def test_a_history_without_labels_is_named_and_the_truth_is_not(store):
    naming = Naming()
    source = WindowSource(store, 2, 1, perceive=naming)
    window = source.read(source.keys(None)[0])
    assert naming.asked == 2 and all((frame.labels == CAR).all() for frame in window.history)
    assert (window.truth[0].labels == OTHERS).all()
    learnt = replace(source, names_truth=True).read(source.keys(None)[0])
    assert (learnt.truth[0].labels == CAR).all()


def test_without_anything_that_perceives_frames_are_what_the_store_holds(store):
    assert all((frame.labels == OTHERS).all() for frame in stored_frames(store, store.scenes()[0], range(2)))


def test_a_network_that_cannot_name_them_is_told_of(store):
    with pytest.warns(UserWarning, match="without labels, and none are perceived .another grid"):
        frames = stored_frames(store, store.scenes()[0], range(2), perceive=Naming("another grid"))
    assert all((frame.labels == OTHERS).all() for frame in frames)


def test_labelled_frames_are_left_alone(street, grid, tmp_path):
    naming = Naming()
    labelled = build_store(street, grid, OccupancySettings(), tmp_path / "labelled")
    stored_frames(labelled, labelled.scenes()[0], range(2), perceive=naming)
    assert naming.asked == 0
