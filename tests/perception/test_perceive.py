"""Perceiving: logits to a frame, and frames that are perceived once."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from small_forecaster import GRID
from small_perception import SightedStreet, small_perception
from small_sightings import looking_ahead, random_sighting

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import FREE, NUM_CLASSES
from occflow.occupancy import tasks
from occflow.occupancy.sighting import cell_grid, voxels_of_cells
from occflow.perception import perceive
from occflow.perception.perceive import PerceivedFrames, Perceiver, as_input


@pytest.fixture(scope="module")
def sighting():
    return random_sighting(np.random.default_rng(0), GRID, 3.5, "keyframe")


def test_a_frame_has_the_probable_voxels_and_their_most_probable_classes(sighting):
    network = small_perception()
    with torch.no_grad():
        logits = network(as_input([sighting], GRID))[0].numpy()
    probability = 1 / (1 + np.exp(-logits[..., FREE]))
    network.threshold.fill_(float(np.median(probability)))
    found, threshold = Perceiver(network).perceive(sighting), network.threshold.numpy()
    assert found.probability.shape == GRID.shape and np.allclose(found.probability, probability, atol=1e-6)
    frame = found.frame
    assert np.array_equal(frame.flat, np.flatnonzero(found.probability.reshape(-1) > threshold))
    assert 0.4 < len(frame.flat) / GRID.num_voxels < 0.6 and frame.flat.dtype == np.int64
    assert frame.labels.dtype == np.uint8
    assert np.array_equal(frame.labels, logits.reshape(-1, NUM_CLASSES + 1)[frame.flat, :NUM_CLASSES].argmax(axis=1))
    assert np.array_equal(found.confidence, found.probability.reshape(-1)[frame.flat])
    assert (found.confidence > threshold).all() and frame.boxes == ()
    assert (frame.stamp_s, frame.token) == (3.5, "keyframe") and frame.world_from_grid is sighting.world_from_grid
    assert np.array_equal(frame.observed, sighting.observed)


def test_a_frame_is_perceived_once_and_the_network_read_when_it_is_needed(sighting, monkeypatch):
    loaded, made = [], []
    perceived = Perceiver.frame
    monkeypatch.setattr(Perceiver, "frame", lambda self, one: made.append(one) or perceived(self, one))
    frames = PerceivedFrames(lambda: loaded.append(1) or small_perception())
    assert not loaded
    first = frames(sighting, GRID)
    assert frames(dataclasses.replace(sighting), GRID) is first and (len(loaded), len(made)) == (1, 1)


@pytest.mark.parametrize("part", ["cells", "counts", "youngest", "observed"])
def test_drives_that_share_name_stamp_and_pose_are_not_taken_for_one_another(sighting, part):
    """The first frames of two sequences of a log often do."""
    frames = PerceivedFrames(small_perception)
    changed = {"cells": sighting.cells + 1, "counts": sighting.counts // 2 + 1, "youngest": sighting.youngest // 2,
               "observed": ~sighting.observed}
    one, other = frames(sighting, GRID), frames(dataclasses.replace(sighting, **{part: changed[part]}), GRID)
    assert one is not other


def test_frames_in_memory_stay_within_their_budget(monkeypatch):
    rng, made, perceived = np.random.default_rng(1), [], Perceiver.frame
    monkeypatch.setattr(Perceiver, "frame", lambda self, one: made.append(one.token) or perceived(self, one))
    a, b, c = (random_sighting(rng, GRID, token=name) for name in "abc")
    frames = PerceivedFrames(small_perception)
    size = max(frames(one, GRID).num_bytes for one in (a, b, c))
    monkeypatch.setattr(perceive, "KEPT_BYTES", int(2.5 * size))
    made.clear()
    frames = PerceivedFrames(small_perception)
    for one in (a, b, a, c, a, b):  # b was used longest ago when c came
        frames(one, GRID)
    assert made == ["a", "b", "c", "b"]


def test_a_sighting_of_another_grid_is_refused(sighting):
    other = dataclasses.replace(GRID, voxel_size_m=0.4)
    with pytest.raises(InputError, match="perceives on grid .*0.8.*the sighting is on .*0.4.*one grid$"):
        PerceivedFrames(small_perception)(sighting, other)


def test_input_lidar_needs_what_perceives():
    with pytest.raises(InputError, match="input 'lidar' is what a network perceives; give one"):
        tasks.stored_frames(None, "scene", range(1), "lidar")


def test_another_process_is_given_what_was_perceived_and_loads_the_network_itself():
    sightings = [SightedStreet().sighting("street", index) for index in (0, 1)]
    frames = PerceivedFrames(small_perception)
    frames(sightings[0], GRID)
    there = pickle.loads(pickle.dumps(frames))
    for sighting in sightings:
        assert np.array_equal(there(sighting, GRID).flat, frames(sighting, GRID).flat)


def test_an_area_is_perceived_at_once_and_its_grid_is_a_part_of_it():
    """The whole area is known beyond the grid, at the same threshold; what lies in the grid is the frame."""
    sighting = looking_ahead(np.random.default_rng(2), GRID, (3, 8, 0, 2), 3.5, "keyframe")
    network = small_perception()
    with torch.no_grad():
        logits = network(as_input([sighting], GRID))[0].numpy()
    assert logits.shape[:3] == sighting.area.shape
    network.threshold.fill_(float(np.median(1 / (1 + np.exp(-logits[..., FREE])))))
    found = Perceiver(network).perceive(sighting)
    wide = found.frame.wide
    assert wide.grid == sighting.area and found.probability.shape == found.classes.shape == GRID.shape
    assert np.array_equal(wide.labels, logits.reshape(-1, NUM_CLASSES + 1)[wide.flat, :NUM_CLASSES].argmax(axis=1))
    numbers, inside = wide.grid.renumbered(wide.flat, GRID)
    assert np.array_equal(found.frame.flat, numbers[inside]) and np.array_equal(found.frame.labels, wide.labels[inside])
    assert np.array_equal(found.confidence, found.probability.reshape(-1)[found.frame.flat])
    assert 0 < inside.sum() < len(inside) and found.frame.wide.wide is None


@pytest.mark.parametrize("areas", [(0, 0, 0, 0), (3, 8, 0, 2)])
def test_a_frame_alone_is_that_of_all_that_is_perceived(areas):
    """Columns that hold nothing are not asked for classes; places in voxels are where in its cells returns fell."""
    sighting = looking_ahead(np.random.default_rng(4), GRID, areas, 3.5, "keyframe")
    network = small_perception()
    network.threshold.fill_(float(np.median(Perceiver(network).perceive(sighting).probability)) + 0.01)
    perceiver = Perceiver(network)
    frame, whole = perceiver.frame(sighting), perceiver.perceive(sighting).frame
    for one, other in ((frame, whole), (frame.wide, whole.wide)):
        assert np.array_equal(one.flat, other.flat) and np.array_equal(one.labels, other.labels) and len(one.flat)
        assert one.labels.dtype == np.uint8 and (one.stamp_s, one.token) == (3.5, "keyframe")
    wide, cells = frame.wide, cell_grid(frame.wide.grid)
    voxels = voxels_of_cells(sighting.cells, wide.grid)[0]
    within = np.isin(voxels, wide.flat)
    assert np.array_equal(wide.flat[wide.owners], voxels[within])
    assert np.array_equal(wide.places_m, sighting.places(GRID)[:, within]) and wide.places_m.dtype == np.float32
    centres = cells.centres(cells.unflatten(sighting.cells[within])).astype(np.float32)
    assert np.allclose(wide.places_m, centres.T, atol=cells.voxel_size_m / 2)


@pytest.mark.parametrize("part", ["area", "passed"])
def test_areas_are_told_from_one_another(part):
    sighting = looking_ahead(np.random.default_rng(2), GRID, (3, 8, 0, 2))
    moved = dataclasses.replace(sighting.area, origin_m=tuple(np.array(sighting.area.origin_m) + [0.8, 0, 0]))
    other = dataclasses.replace(sighting, **{part: {"area": moved, "passed": ~sighting.passed}[part]})
    frames = PerceivedFrames(small_perception)
    assert frames(sighting, GRID) is not frames(other, GRID)


def test_a_present_is_perceived_in_the_grids_of_a_forecast_where_that_is_wanted():
    sighting = looking_ahead(np.random.default_rng(3), GRID, (0, 6, 0, 0))
    poses = [sighting.world_from_grid @ planar_pose(x, 0.1, 0.0) for x in (0.5, 1.0)]
    network, plain = small_perception(), PerceivedFrames(small_perception)
    frames = PerceivedFrames(lambda: network, anew=True)
    found = frames.towards(sighting, GRID, poses)
    assert frames.towards(sighting, GRID, poses) is found and np.array_equal(found.flat, frames(sighting, GRID).flat)
    for view, pose in zip(found.wide.views, poses):
        seen = Perceiver(network).perceive(sighting.moved(GRID, pose))
        assert np.array_equal(view.flat, seen.frame.flat) and np.array_equal(view.labels, seen.frame.labels)
        assert view.world_from_grid is pose and view.wide is None
        assert np.array_equal(view.classes, seen.classes.reshape(-1)) and view.odds.dtype == np.float16
        threshold = float(network.threshold)
        assert np.allclose(1 / (1 + np.exp(-view.odds.astype(float)) * (1 - threshold) / threshold),
                           seen.probability.reshape(-1), atol=2e-3)
    assert plain.towards(sighting, GRID, poses).wide.views == ()
    history = (frames(sighting, GRID),) * 2
    assert tasks.seen_towards(plain, lambda: sighting, GRID, history, poses) is history
    assert tasks.seen_towards(frames, lambda: sighting, GRID, history, poses)[-1] is found
