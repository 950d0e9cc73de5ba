"""From sweeps to occupancy: what stands stays, what moves is whole and leaves no trail, labels and noise."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.geometry import invert, planar_pose, points_in_box, transform
from occflow.grid import CLASS_NAMES, MOVABLE_CLASSES, VoxelGrid
from occflow.logs.boxes import interpolate_boxes
from occflow.logs.open import open_log
from occflow.logs.protocol import Box, Keyframe
from occflow.occupancy.building.accumulate import LoneMovers
from occflow.occupancy.building.scene_frames import Tracks, build_scene, build_scene_and_causal
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.warp import warp

CAR, ROAD, WALL = (CLASS_NAMES.index(name) for name in ("car", "driveable_surface", "manmade"))
SETTINGS = OccupancySettings()


def world_centres(frame, grid, label) -> np.ndarray:
    """Centres [N, 3] of the voxels of a class, world frame."""
    pose = frame.world_from_grid
    return grid.centres(grid.unflatten(frame.flat[frame.labels == label])) @ pose[:3, :3].T + pose[:3, 3]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return len(np.intersect1d(a, b)) / len(np.union1d(a, b))


def test_frames_are_the_keyframes(street, grid):
    frames = build_scene(street, "street-1", grid, SETTINGS)
    keyframes = street.keyframes("street-1")
    assert [frame.token for frame in frames] == [keyframe.token for keyframe in keyframes]
    for frame, keyframe in zip(frames, keyframes, strict=True):
        assert np.array_equal(frame.world_from_grid, keyframe.world_from_ego)
        assert frame.stamp_s == keyframe.stamp_s and frame.boxes[0].track == "car"
        assert (np.diff(frame.flat) > 0).all() and frame.labels.dtype == np.uint8


def test_a_mover_is_whole_at_its_box_and_nowhere_else(street, grid):
    for frame in build_scene(street, "street-1", grid, SETTINGS):
        centres, box = world_centres(frame, grid, CAR), frame.boxes[0]
        assert len(centres) >= 4 * 2 * 1  # 4.0 x 2.0 x 1.5 m, in voxels of 0.8 m
        assert points_in_box(centres, box.world_from_box, box.size_lwh_m, margin_m=0.8).all()
        above_road = frame.flat[grid.centres(grid.unflatten(frame.flat))[:, 2] > 0.8]
        above_road = np.setdiff1d(above_road, frame.flat[np.isin(frame.labels, (CAR, WALL))])
        assert len(above_road) == 0


def test_what_stands_stays_under_ego_motion(street, grid):
    frames = build_scene(street, "street-1", grid, SETTINGS)
    for k in (1, 2, 3):  # the ego vehicle moves by whole voxels: 1.6 m a keyframe
        moved = warp(frames[0], grid, frames[k].world_from_grid)
        seen = np.setdiff1d(frames[k].flat[frames[k].labels != CAR], moved.flat[moved.labels == CAR])
        inside = grid.unflatten(seen)[:, 0] < grid.shape[0] - 2 * k  # what the first frame's grid covers
        assert np.isin(seen[inside], moved.flat).mean() > 0.99


def test_unlabelled_voxels_take_the_nearest_label_or_others(street_with, grid):
    post = np.repeat([[5.0, 6.6, 2.0]], 5, axis=0)  # 0.7 m from the wall
    far = np.repeat([[5.0, -2.0, 2.6]], 5, axis=0)  # 2.5 m above the road
    street = street_with(extra_points=np.concatenate([post, far]))
    volume = build_scene(street, "street-1", grid, SETTINGS)[0].dense(grid)
    (near, high), _ = grid.indices(np.stack([post[0], far[0]]))
    assert volume[tuple(near)] == WALL
    assert volume[tuple(high)] == 0


def test_a_log_without_labels_is_geometry(street_with, grid):
    bare = build_scene(street_with(labelled=False, boxed=False), "street-1", grid, SETTINGS)
    assert all((frame.labels == 0).all() and len(frame.flat) for frame in bare)
    boxes_only = build_scene(street_with(labelled=False), "street-1", grid, SETTINGS)
    assert all(set(frame.labels.tolist()) == {0, CAR} for frame in boxes_only)


def test_a_mover_without_a_box_is_in_the_frame_of_its_own_sweep_alone(street_with, grid):
    street = street_with(boxed=False)
    with pytest.warns(UserWarning, match=r"street-1: \d+ points of movers lie in no box \(car \d+\): .* left out"):
        frames = build_scene(street, "street-1", grid, SETTINGS)
    for frame in frames:
        centres = world_centres(frame, grid, CAR)
        assert len(centres) >= 4 * 2 * 1
        assert points_in_box(centres, street.car_pose(frame.stamp_s), np.array([4.0, 2.0, 1.5]), margin_m=0.8).all()


def test_a_few_returns_outside_of_their_boxes_are_not_told():
    """The sensor's noise at the faces of boxes leaves some in no box, in every scene of every log."""
    lone = LoneMovers()
    lone.add("keyframe", np.zeros((10, 3)), np.full(10, CAR, dtype=np.uint8))
    lone.add_carried(990)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lone.warn("scene", 0)
    lone.add("keyframe", np.zeros((1, 3)), np.full(1, CAR, dtype=np.uint8))
    with pytest.warns(UserWarning, match="scene scene: 11 points of movers"):
        lone.warn("scene", 0)


def test_labelled_returns_of_a_mover_between_keyframes_are_left_out_and_counted(street_with, grid):
    street = street_with(boxed=False, num_keyframes=2)
    plain = street.sweeps
    labels = next(plain("street-1")).labels  # points are in one order in all sweeps
    street.sweeps = lambda scene: (replace(sweep, labels=labels) for sweep in plain(scene))
    num = int((labels == CAR).sum())
    with pytest.warns(UserWarning, match=rf"{3 * num} points of movers .* {num} of sweeps between keyframes"):
        frames = build_scene(street, "street-1", grid, SETTINGS)
    for frame in frames:
        assert points_in_box(world_centres(frame, grid, CAR), street.car_pose(frame.stamp_s), np.array([4.0, 2.0, 1.5]),
                             margin_m=0.8).all()


def test_what_sticks_out_of_a_moving_box_stays_nowhere(street_with, grid):
    """Behind the car as it is interpolated, at one sweep between keyframes: it brakes, and the box does not know."""
    street = street_with()
    tail = np.repeat(street.car_pose(0.25)[None, :3, 3] + [[2.5, 0.1, 0.4]], 6, axis=0)
    plain = street.sweeps

    def sweeps(scene):
        for sweep in plain(scene):
            if sweep.stamp_s == 0.25:
                points = transform(invert(sweep.world_from_sensor), tail).astype(np.float32)
                sweep = replace(sweep, points_sensor=np.concatenate([sweep.points_sensor, points]))
            yield sweep

    street.sweeps = sweeps
    voxel = tuple(grid.indices(transform(invert(street.ego_pose(1.0)), tail[:1]))[0][0])
    assert build_scene(street, "street-1", grid, SETTINGS)[2].dense(grid)[voxel] == 17
    loose = OccupancySettings(mover_margin_m=0.0)
    assert build_scene(street, "street-1", grid, loose)[2].dense(grid)[voxel] != 17


def test_own_returns_far_returns_and_single_returns_are_dropped(street_with, grid):
    far_grid = VoxelGrid((-80, -80, -0.8), (200, 200, 6), 0.8)
    extra = np.array([[1.0, 0.0, 1.7], [70.0, 30.0, 1.0]])  # own roof; beyond 60 m: both in all sweeps
    frame = build_scene(street_with(extra_points=extra), "street-1", far_grid, SETTINGS)[0]
    assert not np.isin(far_grid.flatten(far_grid.indices(extra)[0]), frame.flat).any()
    some = build_scene(street_with(extra_points=np.array([[5.0, -2.0, 2.6]])), "street-1", grid,
                       OccupancySettings(min_points=8))[0]  # seven sweeps, one return each
    assert not np.isin(grid.flatten(grid.indices(np.array([[5.0, -2.0, 2.6]]))[0]), some.flat).any()


def test_a_label_is_the_majority(street_with, grid):
    sign = np.repeat([[5.0, -2.0, 2.6]], 3, axis=0)
    frame = build_scene(street_with(extra_points=sign, extra_label=WALL), "street-1", grid, SETTINGS)[0]
    assert frame.dense(grid)[tuple(grid.indices(sign[:1])[0][0])] == WALL
    speck = np.array([[5.0, -2.0, 0.1]])  # one vote against the road's sixteen
    frame = build_scene(street_with(extra_points=speck, extra_label=WALL), "street-1", grid, SETTINGS)[0]
    assert frame.dense(grid)[tuple(grid.indices(speck)[0][0])] == ROAD


@pytest.mark.parametrize("values, message", [
    ({"min_points": 0}, "min_points"), ({"box_margin_m": float("nan")}, "box_margin_m"),
    ({"ego_box_m": [1, 2]}, "ego_box_m"), ({"voxel": 3}, "no such setting"), ({"max_range_m": "far"}, "not a number"),
    ({"visibility": 1}, "visibility"), ({"causal_window_s": 1e6}, "causal_window_s"),
])
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        OccupancySettings.from_dict(values)


@pytest.mark.parametrize("data", [
    {}, {"grid_pose": "world"}, {"grid_pose": "ego", "grid": 3}, {"grid_pose": "ego", "grid": {"shape": [1, 1, 1]}},
    {"grid_pose": "ego", "grid": {"origin_m": [0, 0, "up"], "shape": [1, 1, 1], "voxel_size_m": 1}},
])
def test_a_configuration_without_a_grid_is_refused(data):
    with pytest.raises(InputError, match=r"^data\.grid"):
        configured_grid(data)


def test_a_real_recording_agrees_with_itself_under_ego_motion(drive):
    log = open_log(drive)
    grid = VoxelGrid((-40, -40, -1), (100, 100, 8), 0.8)
    frames, known = build_scene_and_causal(log, "pandaset-002", grid, SETTINGS)
    for frame, causal in zip(frames, known, strict=True):
        assert 0.1 < frame.observed_mask(grid).mean() < 0.6
        assert np.isin(causal.flat, frame.flat).mean() > 0.85  # single returns are in one of them only
    for k, floor in ((1, 0.75), (6, 0.65)):  # the car drives at up to 5.5 m/s in the last seconds
        static = [frame.flat[~np.isin(frame.labels, MOVABLE_CLASSES)] for frame in frames]
        moved = [warp(frame, grid, later.world_from_grid) for frame, later in zip(frames, frames[k:], strict=False)]
        with_pose = np.mean([overlap(frame.flat[~np.isin(frame.labels, MOVABLE_CLASSES)], later)
                             for frame, later in zip(moved, static[k:], strict=True)])
        without = np.mean([overlap(frame, later) for frame, later in zip(static, static[k:], strict=False)])
        assert with_pose > floor and with_pose > without + 0.1


def box(track: str, x: float) -> Box:
    return Box(track, 4, planar_pose(x, 1.0, 0.3), np.array([4.0, 2.0, 1.5]))


def test_who_comes_or_goes_between_keyframes_goes_on_as_he_went():
    annotated = [(box("leaves", 0), box("stays", 8)), (box("leaves", 3), box("stays", 9), box("once", 5)),
                 (box("stays", 10), box("comes", -4)), (box("stays", 11), box("comes", -6))]
    keyframes = [Keyframe(str(k), k / 2, np.eye(4), boxes) for k, boxes in enumerate(annotated)]
    between = interpolate_boxes(annotated[1], annotated[2], 0.4)
    log = SimpleNamespace(boxes_at=lambda scene, stamp_s: between if stamp_s == 0.7 else list(annotated[1]))
    tracks = Tracks(log, "street", keyframes)
    found = {one.track: one.world_from_box[0, 3] for one in tracks.boxes_at(0.7)}
    assert found == pytest.approx({"stays": 9.4, "leaves": 3 + 0.4 * 3, "comes": -4 + 0.6 * 2})
    assert [one.track for one in tracks.boxes_at(0.5)] == ["leaves", "stays", "once"]  # as annotated


def trail(street, grid, settings) -> list[np.ndarray]:
    """World centres, of each frame, of voxels above the road and before the wall."""
    found = []
    for frame in build_scene(street, "street-1", grid, settings):
        centres = transform(frame.world_from_grid, grid.centres(grid.unflatten(frame.flat)))
        found.append(centres[(centres[:, 2] > 0.8) & (centres[:, 1] < 6.5)])
    return found


def test_without_boxes_rays_tell_what_moves(street_with, grid):
    bare = street_with(labelled=False, boxed=False)
    smeared, seen = trail(bare, grid, replace(SETTINGS, see_through_m=0.0)), trail(bare, grid, SETTINGS)
    for number, (before, after) in enumerate(zip(smeared, seen, strict=True)):
        within = [points_in_box(centres, bare.car_pose(number / 2), np.array([4.0, 2.0, 1.5]), margin_m=0.8)
                  for centres in (before, after)]
        assert np.ptp(before[:, 0]) > 12.0  # the car of 4 m, wherever it was
        assert within[1].sum() >= 0.9 * within[0].sum() > 0  # where it is, it is seen
        assert (~within[1]).sum() <= 0.4 * (~within[0]).sum()  # its shadow, and a quarter of a second before and after


def test_without_boxes_what_stands_stays_whatever_rays_graze(street_with, grid):
    boxed = build_scene(street_with(), "street-1", grid, SETTINGS)
    bare = build_scene(street_with(labelled=False, boxed=False), "street-1", grid, SETTINGS)
    for frame, other in zip(boxed, bare):
        stands = frame.flat[frame.labels != CAR]
        assert np.isin(stands, other.flat).mean() > 0.98


def test_labels_or_boxes_tell_what_moves_and_rays_are_not_asked(street_with, grid):
    for told in (street_with(labelled=False), street_with(boxed=False), street_with()):
        one, other = (build_scene(told, "street-1", grid, replace(SETTINGS, see_through_m=margin_m))
                      for margin_m in (0.0, 0.4))
        assert all(np.array_equal(a.flat, b.flat) for a, b in zip(one, other))


def test_stores_of_logs_with_boxes_stay_what_they_were():
    assert "see_through_m" not in OccupancySettings().to_dict()  # it would make another store of each
    assert OccupancySettings.from_dict(replace(SETTINGS, see_through_m=0.2).to_dict()).see_through_m == 0.2
