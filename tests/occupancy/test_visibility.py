"""Rays: which voxels they went through; what a car knows at an instant; absurd points and boxes without a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.errors import InputError
from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Keyframe, Sweep
from occflow.occupancy.building.scene_frames import build_scene, build_scene_and_causal
from occflow.occupancy.building.visibility import mark_rays
from occflow.occupancy.settings import OccupancySettings, configured_shard

SETTINGS = OccupancySettings()


def by_walking(grid: VoxelGrid, start: np.ndarray, end: np.ndarray, steps: int = 4001) -> np.ndarray:
    """[V] bool: voxels met on the way in tiny steps."""
    mask = np.zeros(grid.num_voxels, dtype=bool)
    indices, inside = grid.indices(start + np.linspace(0, 1, steps)[:, None] * (end - start))
    mask[grid.flatten(indices[inside])] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1), shape=st.tuples(*[st.integers(1, 12)] * 3), reach_m=st.sampled_from([3, 20]))
def test_one_ray_marks_the_voxels_on_its_way(seed, shape, reach_m):
    rng, grid = np.random.default_rng(seed), VoxelGrid((-2.0, 1.0, -1.0), shape, 0.5)
    start, end = rng.uniform(-reach_m, reach_m, (2, 3))
    mask = np.zeros(grid.num_voxels, dtype=bool)
    mark_rays(mask, grid, start, end[:, None])
    walked = by_walking(grid, start, end)
    brushed = walked ^ mask  # a corner cut by less than a step, or by less than the rays are shortened at the border
    for voxel in grid.centres(grid.unflatten(np.flatnonzero(brushed))):
        low, high = voxel - 0.25, voxel + 0.25
        with np.errstate(divide="ignore"):
            first, second = (low - start) / (end - start), (high - start) / (end - start)
        inside = min(np.maximum(first, second).min(), 1) - max(np.minimum(first, second).max(), 0)
        assert inside * np.linalg.norm(end - start) < 0.02  # metres of the ray in that voxel


def test_rays_along_axes_out_of_the_grid_and_from_outside():
    grid = VoxelGrid((0, 0, 0), (5, 4, 3), 1.0)
    for start, end, expected in (
            ((0.5, 0.5, 0.5), (3.5, 0.5, 0.5), [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]),
            ((2.5, 1.5, 0.5), (2.5, 1.5, 1e9), [(2, 1, 0), (2, 1, 1), (2, 1, 2)]),
            ((-3.0, 1.5, 1.5), (1.5, 1.5, 1.5), [(0, 1, 1), (1, 1, 1)]),
            ((1.5, 9.0, 1.5), (1.5, -9.0, 1.5), [(1, 3, 1), (1, 2, 1), (1, 1, 1), (1, 0, 1)]),
            ((1.5, 1.5, 1.5), (1.5, 1.5, 1.5), [(1, 1, 1)]),
            ((-1.0, -1.0, -1.0), (-5.0, 2.0, 1.0), [])):
        mask = np.zeros(grid.num_voxels, dtype=bool)
        mark_rays(mask, grid, np.array(start), np.array(end)[:, None])
        assert {tuple(index) for index in grid.unflatten(np.flatnonzero(mask))} == set(expected)


def test_what_lies_behind_a_wall_is_not_observed(street, grid):
    for frame in build_scene(street, "street-1", grid, SETTINGS):
        mask, centres = frame.observed_mask(grid).reshape(-1), grid.centres(grid.unflatten(np.arange(grid.num_voxels)))
        beyond = centres[:, 1] > 7.9  # the wall stands at y = 7.3, with nothing behind it
        above_road = (np.abs(centres[:, 0]) < 6) & (np.abs(centres[:, 1]) < 3) & (centres[:, 2] > 0.8) & (
            centres[:, 2] < 1.6)
        assert not mask[beyond & (centres[:, 2] < 2)].any() and mask[above_road].mean() > 0.9
        assert not mask[centres[:, 2] < -0.1].any()  # below the road
        assert mask[frame.flat].mean() > 0.9  # this sensor sees all surfaces all the time


def test_causal_occupancy_knows_nothing_of_what_comes_later(street_with, grid):
    """Cut the log off after any keyframe: what was known until then stays the same."""
    _, known = build_scene_and_causal(street_with(), "street-1", grid, SETTINGS)
    for count in (2, 3):
        _, shorter = build_scene_and_causal(street_with(num_keyframes=count), "street-1", grid, SETTINGS)
        for early, late in zip(shorter, known):
            assert np.array_equal(early.flat, late.flat) and np.array_equal(early.observed, late.observed)
    assert all((frame.labels == UNLABELLED).all() and frame.boxes == () and len(frame.flat) for frame in known)


def test_causal_occupancy_holds_the_returns_of_its_window_where_they_lie(street, grid):
    frames, known = build_scene_and_causal(street, "street-1", grid, SETTINGS)
    sweeps = list(street.sweeps("street-1"))
    for frame, causal in zip(frames, known):
        seen = [transform(invert(frame.world_from_grid) @ sweep.world_from_sensor, sweep.points_sensor)
                for sweep in sweeps if frame.stamp_s - SETTINGS.causal_window_s <= sweep.stamp_s <= frame.stamp_s]
        indices, inside = grid.indices(np.concatenate(seen))
        expected = np.unique(grid.flatten(indices[inside]))
        assert len(np.setxor1d(expected, causal.flat)) <= 0.02 * len(expected)  # own returns; rounding at a face
        assert causal.observed_mask(grid).reshape(-1)[causal.flat].all()
        assert (causal.stamp_s, causal.token) == (frame.stamp_s, frame.token)
        assert np.array_equal(causal.world_from_grid, frame.world_from_grid)


def test_windows_of_any_length_and_none(street, grid):
    frames, known = build_scene_and_causal(street, "street-1", grid, replace(SETTINGS, visibility=False))
    assert all(frame.observed is None for frame in frames + known) and len(known) == 4
    short, long = (build_scene_and_causal(street, "street-1", grid, replace(SETTINGS, causal_window_s=window_s,
                                                                            visibility_window_s=window_s))
                   for window_s in (0.1, 60.0))
    for few, many in zip(short[0] + short[1], long[0] + long[1]):
        assert few.observed_mask(grid).sum() <= many.observed_mask(grid).sum()
    assert build_scene_and_causal(street, "street-1", grid, replace(SETTINGS, causal_window_s=0))[1] is None


def test_absurd_points_are_left_out_and_counted(street_with, grid):
    absurd = np.array([[1e9, 0, 0], [0, -1e9, 3.0], [3e3, 1, 1]])
    with pytest.warns(UserWarning, match=r"street-1: left out 21 points more than 500 m.*street-1-0.bin"):
        frames = build_scene(street_with(extra_points=absurd), "street-1", grid, SETTINGS)
    for frame, clean in zip(frames, build_scene(street_with(), "street-1", grid, SETTINGS)):
        assert np.array_equal(frame.flat, clean.flat) and np.array_equal(frame.observed, clean.observed)


def test_boxes_without_a_track_are_counted_and_their_points_left_out(street, grid, monkeypatch):
    named = street.boxes_at
    monkeypatch.setattr(type(street), "boxes_at", lambda self, scene, stamp_s: [
        replace(box, track="") for box in named(scene, stamp_s)])
    with pytest.warns(UserWarning, match="street-1: 4 boxes without a track"):
        frames = build_scene(street, "street-1", grid, SETTINGS)
    assert not any((frame.labels == 4).any() for frame in frames) and all(len(frame.flat) for frame in frames)


class EmptySweeps:
    """A log whose sweeps hold no usable point."""

    name = "empty"

    def keyframes(self, scene):
        return [Keyframe("a", 0.0, np.eye(4), ()), Keyframe("b", 0.5, np.eye(4), ())]

    def boxes_at(self, scene, stamp_s):
        return []

    def sweeps(self, scene):
        for stamp_s in (0.0, 0.5):
            yield Sweep(stamp_s, np.full((2, 3), 0.1, np.float32), None, np.eye(4), np.eye(4), None, Path("x.bin"))


def test_sweeps_of_own_returns_only_make_empty_frames(grid):
    frames, known = build_scene_and_causal(EmptySweeps(), "s", grid, SETTINGS)
    assert all(len(frame.flat) == 0 and not frame.observed_mask(grid).any() for frame in frames + known)


@pytest.mark.parametrize("text, shard", [("0/1", (0, 1)), ("3/16", (3, 16)), ("3", None), ("4/4", None), ("-1/4", None),
                                         ("a/b", None), ("1/2/3", None), (None, None)])
def test_shards_are_i_of_n(text, shard):
    if shard:
        assert configured_shard({"shard": text}) == shard
    else:
        with pytest.raises(InputError, match="data.shard"):
            configured_shard({"shard": text})

