"""Bodies as networks take them: where they go, what they look like from their own place, and batches of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bodies import CAR, GRID, ROAD, SIZE_M, body, disturbed, frame_of, motion_model

from occflow.geometry import planar_pose, transform
from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import Box
from occflow.models import motion as motion_module
from occflow.models.body_scene import (
    AHEAD_BEHIND_M,
    AHEAD_SHAPE,
    AHEAD_STEP_M,
    NEAR_SHAPE,
    NEAR_STEP_M,
    TENSORS,
    BodyScene,
    attribute_names,
    body_scene,
    join_scenes,
    mirrored_scene,
)
from occflow.models.motion import BodyMotions, motion_of
from occflow.occupancy.augmentation import MIRROR, mirrored
from occflow.occupancy.bodies import Body, arcs, motions_to, offsets_of, tracked_offsets
from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

FINE = VoxelGrid((-15.0, -15.0, -1.0), (150, 150, 3), 0.2)
SECONDS = np.array([0.5, 1.0, 1.5])
angles = st.floats(-3.1, 3.1)


def lifted(x: float, y: float, yaw: float) -> np.ndarray:
    """A pose at the height of what stands on the road of `FINE`."""
    return planar_pose(x, y, yaw, -0.6)


def view_places(shape: tuple[int, int], step_m: float, behind_m: float) -> np.ndarray:
    """Where a body's view looks, in its own frame, [L, W, 2]."""
    along, across = np.indices(shape) + 0.5
    return np.stack([along * step_m - behind_m, (across - shape[1] / 2) * step_m], axis=-1)


NEAR_PLACES = view_places(NEAR_SHAPE, NEAR_STEP_M, NEAR_SHAPE[0] * NEAR_STEP_M / 2)
AHEAD_PLACES = view_places(AHEAD_SHAPE, AHEAD_STEP_M, AHEAD_BEHIND_M)


@given(st.lists(st.tuples(angles, st.floats(-30, 30), st.floats(-30, 30), angles), min_size=1, max_size=4), angles)
def test_motions_to_and_offsets_are_inverse(cases, turn):
    bodies = [body(planar_pose(x, y, yaw, 0.7)) for yaw, x, y, _ in cases]
    offsets = np.array([[(x, -y, angle), (y, x, turn)] for _, x, y, angle in cases])
    motions = motions_to(bodies, offsets)
    assert np.allclose(offsets_of(bodies, motions), offsets, atol=1e-9)
    for one, motion, (along, across, angle) in zip(bodies, motions[:, 1], offsets[:, 1]):
        assert np.allclose(motion @ one.world_from_body, one.world_from_body @ planar_pose(along, across, angle))


def test_what_stands_has_exactly_the_identity_and_the_unknown_stays_so():
    bodies = [body(planar_pose(3.3, 100.1, 0.7))]
    motions = motions_to(bodies, np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]))
    assert np.array_equal(motions[0, 0], np.eye(4)) and not np.array_equal(motions[0, 1], np.eye(4))
    motions[0, 1] = np.nan
    assert np.isnan(offsets_of(bodies, motions)[0, 1]).all() and np.isfinite(offsets_of(bodies, motions)[0, 0]).all()


@given(st.floats(-20, 20), st.floats(-3, 3), st.floats(-2, 2), angles)
def test_a_track_goes_on_as_the_ego_does(speed, sideways, turn, yaw):
    """On the same arc, by another road: extrapolated from the poses that it had."""
    now = planar_pose(4.0, -7.0, yaw)
    past = now @ arcs(np.array([[speed, sideways]]), np.array([turn]), np.array([-0.5, 0.0]))[0]
    expected = extrapolated_poses(past, np.array([-0.5, 0.0]), SECONDS)
    one = body(now, (speed, sideways), turn)
    assert np.allclose(one.poses(SECONDS), expected, atol=1e-6)
    motions = motions_to([one], tracked_offsets([one], SECONDS))[0]
    assert np.allclose(motions @ now, expected, atol=1e-6)


@settings(max_examples=12)
@given(angles, st.floats(-3, 3), st.floats(-3, 3), angles, st.floats(-4, 6), st.floats(-0.6, 0.6))
def test_a_body_that_moves_as_tracked_is_seen_at_the_same_place_at_every_instant(yaw, x, y, ego_yaw, speed, turn):
    """Whatever its heading, and wherever the ego was: its own box, up to resampling."""
    stamps_s = (-1.0, -0.5, 0.0)
    one = body(lifted(x, y, yaw), (speed, 0.0), turn, num_history=3)
    egos = [lifted(0.5 * x + s, 0.2, ego_yaw + 0.3 * s) @ planar_pose(0, 0, 0, 0.6) for s in stamps_s]
    frames = tuple(frame_of([Box("a", CAR, pose, np.array(SIZE_M))], ego, s, FINE)
                   for pose, ego, s in zip(one.poses(np.array(stamps_s)), egos, stamps_s))
    slots = np.flatnonzero(frames[-1].labels == CAR)
    [near] = body_scene(frames, [replace(one, slots=slots)], FINE).near
    beyond_m = (np.abs(NEAR_PLACES) - np.array(SIZE_M[:2]) / 2).max(axis=-1)
    for seen in near.numpy():
        assert (seen[beyond_m < -0.3] > 0.99).all() and (seen[beyond_m > 0.3] < 0.01).all()


def whole(grid: VoxelGrid, label: int) -> OccupancyFrame:
    return OccupancyFrame.from_dense(np.full(grid.shape, label, dtype=np.uint8), np.eye(4))


@pytest.mark.parametrize("shape", [(20, 18, 2), (21, 17, 2)], ids=["even", "odd"])
@pytest.mark.parametrize("yaw", [0.0, 2.1])
def test_outside_of_the_grid_nothing_is_seen_and_inside_all(shape, yaw):
    grid = VoxelGrid((-8.0, -7.2, -1.0), shape, 0.8)
    pose = planar_pose(6.0, 5.5, yaw)
    for label, channel in ((CAR, 2), (ROAD, 0), (15, 3)):
        frame = whole(grid, label)
        scene = body_scene((frame, frame), [body(pose)], grid)
        views = [(scene.ahead[0, channel], AHEAD_PLACES, 1.6)]
        views += [(view, NEAR_PLACES, 0.8) for view in scene.near[0] if label == CAR]
        for view, places, cell_m in views:
            at = transform(pose, np.pad(places.reshape(-1, 2), ((0, 0), (0, 1))))[:, :2]
            first, last = np.array(grid.origin_m)[:2], np.array(grid.origin_m)[:2] + np.array(shape[:2]) * 0.8
            inside_m = np.minimum(at - first, last - at).min(axis=1).reshape(view.shape)
            assert (view.numpy()[inside_m < -cell_m] == 0).all() and (inside_m < -cell_m).any()
            assert np.allclose(view.numpy()[inside_m > cell_m], 1, atol=1e-5) and (inside_m > cell_m).any()
        assert channel == 2 or (scene.near == 0).all()
        assert (scene.ahead[0, [other for other in range(4) if other != channel]] == 0).all()


@pytest.mark.parametrize("shape", [(20, 18, 2), (21, 17, 2)], ids=["even", "odd"])
def test_what_is_seen_ahead_is_where_it_is(shape):
    """A pole of two columns by two in the grid's far corner."""
    grid, pose = VoxelGrid((-8.0, -7.2, -1.0), shape, 0.8), planar_pose(-3.0, 0.0, 0.3)
    volume = np.full(shape, FREE, dtype=np.uint8)
    volume[16:18, 14:16] = 15
    frame = OccupancyFrame.from_dense(volume, np.eye(4))
    seen = body_scene((frame, frame), [body(pose)], grid).ahead[0, 3].numpy()
    found = transform(pose, [*(AHEAD_PLACES * seen[..., None]).sum(axis=(0, 1)) / seen.sum(), 0.0])[:2]
    assert np.allclose(found, np.array(grid.origin_m)[:2] + np.array([17, 15]) * 0.8, atol=0.25)


def crossing(num_history: int = 2) -> tuple[tuple[OccupancyFrame, ...], list[Body]]:
    """Frames of an ego that drives a bend, with two bodies of which one turns and drifts."""
    poses = [planar_pose(1.0, 1.6, 0.4, 0.6), planar_pose(-3.0, -3.2, 2.0, 0.6)]
    bodies = [body(poses[0], (3.0, 0.3), 0.4, num_history=num_history), body(poses[1], num_history=num_history)]
    frames = []
    for index in range(num_history):
        seconds = 0.5 * (index + 1 - num_history)
        boxes = [Box(str(number), CAR, one.poses(np.array([seconds]))[0], np.array(SIZE_M))
                 for number, one in enumerate(bodies)]
        frames.append(frame_of(boxes, planar_pose(0.6 * seconds, 0.1, 0.1 * seconds), seconds))
    cars = np.flatnonzero(frames[-1].labels == CAR)
    centres = transform(frames[-1].world_from_grid, GRID.centres(GRID.unflatten(frames[-1].flat[cars])))
    first = np.linalg.norm(centres - poses[0][:3, 3], axis=1) < np.linalg.norm(centres - poses[1][:3, 3], axis=1)
    bodies = [replace(one, slots=cars[chosen], centres_m=one.centres_m + 0.1 * (number + 1))
              for number, (one, chosen) in enumerate(zip(bodies, (first, ~first)))]
    return tuple(frames), bodies


def mirrored_body(one: Body, slots: np.ndarray) -> Body:
    pose = MIRROR @ one.world_from_body @ MIRROR
    return replace(one, slots=slots, world_from_body=pose, velocity_m_per_s=one.velocity_m_per_s * (1, -1),
                   yaw_rate_rad_per_s=-one.yaw_rate_rad_per_s, centres_m=one.centres_m * (1, -1, 1))


def test_a_mirrored_scene_is_that_of_the_mirrored_window():
    frames, bodies = crossing()
    other = mirrored(Window.of(WindowKey("street", 0), frames, ()), GRID).history
    index = GRID.unflatten(frames[-1].flat)
    index[:, 1] = GRID.shape[1] - 1 - index[:, 1]
    place = np.argsort(np.argsort(GRID.flatten(index)))  # of each voxel of the present, in the mirrored one
    expected = body_scene(other, [mirrored_body(one, place[one.slots]) for one in bodies], GRID)
    scene = body_scene(frames, bodies, GRID)
    found = mirrored_scene(scene, torch.tensor([True]), 2)
    for name in TENSORS:
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5), name
    assert not torch.allclose(scene.ahead, found.ahead) and torch.equal(found.pairs()[..., 3], -scene.pairs()[..., 3])
    untouched = mirrored_scene(scene, torch.tensor([False]), 2)
    assert all(torch.equal(getattr(untouched, name), getattr(scene, name)) for name in TENSORS)


@pytest.mark.parametrize("num_history", [1, 2, 3])
def test_every_attribute_has_a_name(num_history):
    frames, bodies = crossing(num_history)
    scene, names = body_scene(frames, bodies, GRID), attribute_names(num_history)
    assert scene.attributes.shape == (2, len(names)) == (2, len(set(names)))
    value = dict(zip(names, scene.attributes[0].tolist()))
    assert value["class 4"] == 1 and value["seen 0"] == 1 and value["speed"] == pytest.approx(0.3)
    assert value["speed sideways"] == pytest.approx(0.03) and value["turn sideways"] == pytest.approx(0.4)
    off = [0.1 * np.sqrt(2) * np.cos(np.pi / 4 - 0.4), 0.1 * np.sqrt(2) * np.sin(np.pi / 4 - 0.4)]  # in its own frame
    last = num_history - 1
    assert [value[f"off {last}"], value[f"off {last} sideways"]] == pytest.approx(off, abs=1e-6)


def test_what_was_not_seen_has_no_remainder():
    frames, bodies = crossing()
    unseen = replace(bodies[0], centres_m=np.concatenate([np.full((1, 3), np.nan), bodies[0].centres_m[1:]]))
    value = dict(zip(attribute_names(2), body_scene(frames, [unseen], GRID).attributes[0].tolist()))
    assert (value["seen 0"], value["off 0"], value["off 0 sideways"], value["seen 1"]) == (0, 0, 0, 1)


def outputs(scene: BodyScene) -> list[torch.Tensor]:
    """All that the networks make of bodies, with noise that follows from each one's place."""
    model = disturbed(motion_model())
    with torch.no_grad():
        condition = model.condition(scene)
        x = torch.sin(torch.arange(9.0) + 10 * scene.place[:, :1])
        t = torch.full((scene.num_samples,), 0.6)
        velocity = model.velocity(x, t / 2, t, condition.forecast, scene)
    return [condition.forecast.mean, condition.forecast.scale, condition.forecast.features, velocity]


def test_bodies_of_other_windows_do_not_matter():
    frames, bodies = crossing()
    parts = [body_scene(frames, chosen, GRID) for chosen in (bodies, bodies[:1], [], bodies[::-1])]
    joined = join_scenes(parts)
    assert joined.num_samples == 4 and joined.sample.tolist() == [0, 0, 1, 3, 3] and len(joined) == 5
    for one, separate in zip(outputs(joined), zip(*map(outputs, parts))):
        assert torch.allclose(one, torch.cat(separate), atol=1e-5)
    both, alone = outputs(parts[0])[0], outputs(parts[1])[0]
    assert not torch.allclose(both[:1], alone, atol=1e-4)  # and those of the own window do


def test_windows_of_many_bodies_are_looked_at_one_after_the_other(monkeypatch):
    """Never a window in parts, and to the same numbers."""
    frames, bodies = crossing()
    scene = join_scenes([body_scene(frames, chosen, GRID) for chosen in (bodies, bodies[:1], [], bodies[::-1], bodies)])
    assert [part.sample.tolist() for part in scene.split(9)] == [[0, 0, 1], [3, 3], [4, 4]]
    assert [part.sample.tolist() for part in scene.split(1)] == [[0, 0], [1], [3, 3], [4, 4]]
    assert scene.split(len(scene) ** 2)[0] is scene and len(scene.split(0)) == 4
    expected = outputs(scene)
    for most in (16, 1):
        monkeypatch.setattr(motion_module, "PAIRS_AT_ONCE", most)
        for one, other in zip(outputs(scene), expected):
            assert torch.allclose(one, other, atol=1e-5)


def test_nothing_that_moves_is_no_special_case():
    frames, _ = crossing()
    scene, model = body_scene(frames, [], GRID), motion_model()
    condition = model.condition(scene)
    noise = torch.zeros(0, 9)
    assert condition.forecast.mean.shape == (0, 9) and model.one_step(noise, condition).shape == (0, 9)
    assert mirrored_scene(scene, torch.tensor([True]), 2).pairs().shape == (0, 0, 6)
    motions = BodyMotions((), SECONDS, condition)
    assert motions.world_motions(noise).shape == (0, 3, 4, 4)
    assert motions_to([], np.zeros((0, 3, 3))).shape == (0, 3, 4, 4)
    assert tracked_offsets([], SECONDS).shape == offsets_of([], np.zeros((0, 3, 4, 4))).shape == (0, 3, 3)
    assert motion_of((), np.zeros((0, 3, 3)), SECONDS).shape == (0, 9)
