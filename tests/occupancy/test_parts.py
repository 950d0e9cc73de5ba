"""Parts of voxels: where earlier frames and returns say that matter is in them, and where they fall in later grids."""

from dataclasses import fields, replace

import numpy as np
import pytest
from sloping_street import GRID, frame_at, sloping_window, street

from occflow.errors import InputError
from occflow.geometry import invert, planar_pose, transform
from occflow.occupancy.frame import OccupancyFrame, WideFrame
from occflow.occupancy.parts import (
    DIVIDED,
    FILLED_THERE,
    FREE_THERE,
    MOVABLE,
    NOT_KNOWN,
    OFFSETS,
    PARTS,
    DividedFrame,
    part_places,
    parts_fallen,
    parts_of_voxels,
    parts_seen,
    seen_of_bodies,
)
from occflow.occupancy.storage.scene_file import SceneFile, copy_scene, write_scene
from occflow.occupancy.storage.store import StoreLayout, start_store
from occflow.occupancy.warp import landing

HERE = np.eye(4)


def frame_of(voxels: list[tuple[int, int, int]], pose: np.ndarray = HERE, label: int = 11) -> OccupancyFrame:
    flat = np.sort(GRID.flatten(np.array(voxels)))
    return OccupancyFrame(flat, np.full(len(flat), label, np.uint8), pose, 0.0)


def centres_m(frame: OccupancyFrame) -> np.ndarray:
    """Middles of the parts of a frame's voxels, [N, PARTS, 3] metres in its grid."""
    return GRID.centres(GRID.unflatten(frame.flat))[:, None] + OFFSETS.T * GRID.voxel_size_m


def test_parts_divide_a_voxel():
    places = part_places(np.array([0]), GRID, HERE, GRID)[:, 0]
    assert places.shape == (3, PARTS) and np.allclose(places.mean(axis=1), 0.5)
    assert [len(np.unique(row)) for row in places] == list(DIVIDED)
    assert len(np.unique(places.T, axis=0)) == PARTS


def test_an_earlier_grid_half_a_voxel_off_tells_the_halves_apart():
    present = frame_of([(10, 10, 3)])
    shifted = planar_pose(0.4, 0.0, 0.0)  # its voxels begin in the middle of the present's
    seen = parts_seen((frame_of([(9, 10, 3)], shifted), present), GRID)
    behind = np.tile(OFFSETS[0] < 0, (1, 1))
    assert np.array_equal(seen.earlier[:, 0] == FILLED_THERE, behind)
    assert np.array_equal(seen.earlier[:, 0] == FREE_THERE, ~behind)
    assert (seen.earlier[:, 1] == NOT_KNOWN).all() and not seen.by_returns and not seen.met.any()


def test_what_lies_outside_of_an_earlier_grid_is_not_known_there():
    present = frame_of([(19, 10, 3), (0, 10, 3)])
    seen = parts_seen((frame_of([(5, 5, 3)], planar_pose(-1.6, 0.0, 0.0)), present), GRID)
    of_border = seen.flat == GRID.flatten(np.array([[19, 10, 3]]))[0]
    assert (seen.earlier[of_border, 0] == NOT_KNOWN).all() and (seen.earlier[~of_border, 0] == FREE_THERE).all()


def test_the_matter_of_a_static_world_lies_in_parts_that_no_earlier_frame_calls_free():
    """Whatever the poses: a part that points lie in is never free, and many others are."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        points, labels = street(rng)
        poses = [planar_pose(0.7 * index, 0.1, 0.04 * index, 0.13 * index) for index in range(3)]
        history = tuple(frame_at(points, labels, pose, 0.5 * index) for index, pose in enumerate(poses))
        seen = parts_seen(history, GRID)
        inside = transform(invert(poses[-1]), points)
        index, held = GRID.indices(inside)
        scaled = (inside[held] - GRID.origin_m) / GRID.voxel_size_m
        part = np.ravel_multi_index(np.floor(scaled % 1 * DIVIDED).astype(int).T, DIVIDED)
        flat = GRID.flatten(index[held])
        rows = np.searchsorted(seen.flat, flat)
        middle_near = np.abs(scaled % 1 - (OFFSETS.T + 0.5)[part]).max(axis=1) < 0.02  # the middle stands for the part
        assert (seen.earlier[rows[middle_near], :, part[middle_near]] != FREE_THERE).all()
        assert (seen.earlier == FREE_THERE).mean() > 0.1


def test_returns_are_met_in_their_parts():
    present = frame_of([(10, 10, 3), (11, 10, 3)], label=4)
    middles = centres_m(present)
    wide = WideFrame(present.flat, present.labels, HERE, 0.0, grid=GRID, owners=np.array([0, 1]),
                     places_m=middles[[0, 1], [3, 9]].T.astype(np.float32), lately=np.ones(2, bool))
    seen = parts_seen((replace(present, wide=wide),), GRID)
    assert seen.by_returns and np.argwhere(seen.met).tolist() == [[0, 3], [1, 9]] and (seen.kinds == MOVABLE).all()


def test_parts_fall_where_their_middles_lie():
    window = sloping_window(1)
    seen, pose = parts_seen(window.history, GRID), window.truth[1].world_from_grid
    landed = landing(window.present, GRID, pose)
    chosen = np.random.default_rng(0).choice(len(seen.flat) * PARTS, 3000, replace=False)
    target_from_source = invert(pose) @ window.present.world_from_grid
    fallen = parts_fallen(seen, chosen, GRID, target_from_source, landed)
    middles = centres_m(window.present).reshape(-1, 3)[chosen]
    index, inside = GRID.indices(transform(target_from_source, middles))
    known = fallen.rows < len(fallen.voxels)
    assert np.array_equal(fallen.voxels[fallen.rows[known]], GRID.flatten(index[known])) and inside[known].all()
    assert known[inside].mean() > 0.999  # all but some corners of turned voxels
    nearest = np.zeros(GRID.num_voxels, bool)
    nearest[landed.voxels] = True
    assert np.array_equal(fallen.nearest, nearest[fallen.voxels]) and fallen.nearest.any()


def test_neighbours_above_and_below_are_those_of_the_column():
    window = sloping_window(2)
    seen, pose = parts_seen(window.history, GRID), window.truth[0].world_from_grid
    none = np.zeros(0, np.int64)
    fallen = parts_fallen(seen, none, GRID, invert(pose) @ window.present.world_from_grid,
                          landing(window.present, GRID, pose))
    voxels, height, number = GRID.unflatten(fallen.voxels), GRID.shape[2], len(fallen.voxels)
    held = {tuple(voxel): row for row, voxel in enumerate(voxels.tolist())}
    for row, (x, y, z) in enumerate(voxels.tolist()):
        assert fallen.above[row] == (held.get((x, y, z + 1), number) if z + 1 < height else number)
        assert fallen.below[row] == (held.get((x, y, z - 1), number) if z > 0 else number)


def test_returns_that_fall_somewhere_are_counted_and_name_their_voxel():
    present = frame_of([(10, 10, 3), (11, 10, 3)])
    places = np.repeat(GRID.centres(np.array([[10, 10, 3]])), 3, axis=0).T.astype(np.float32)
    wide = WideFrame(present.flat, present.labels, HERE, 0.0, grid=GRID, places_m=places, owners=np.zeros(3, np.int64),
                     lately=np.ones(3, bool))
    present, pose = replace(present, wide=wide), planar_pose(0.8, 0.0, 0.0)
    seen = parts_seen((present,), GRID)
    fallen = parts_fallen(seen, np.zeros(0, np.int64), GRID, invert(pose), landing(present, GRID, pose))
    there = fallen.voxels == GRID.flatten(np.array([[9, 10, 3]]))[0]
    assert fallen.returns[there] == 3 and fallen.returns.sum() == 3
    assert fallen.last_owner[there] == 0 and (fallen.last_owner[~there] == -1).all()


def test_a_built_frame_knows_the_parts_that_its_places_lie_in():
    rng = np.random.default_rng(4)
    places = rng.uniform(-7.9, 7.9, (400, 3)) * (1, 1, 0.1)
    poses = [planar_pose(0.3, -0.2, 0.4, 0.1), HERE]
    inside = np.concatenate([transform(pose, part) for pose, part in zip(poses, (places[:200], places[200:]))])
    index, held = GRID.indices(inside)
    flat = np.unique(GRID.flatten(index[held]))
    parts = parts_of_voxels(GRID, poses, (places[:200], places[200:]), flat)
    scaled = (inside[held] - GRID.origin_m) / GRID.voxel_size_m
    part = np.ravel_multi_index(np.floor(scaled % 1 * DIVIDED).astype(int).T, DIVIDED)
    expected = np.zeros((len(flat), PARTS), bool)
    expected[np.searchsorted(flat, GRID.flatten(index[held])), part] = True
    assert np.array_equal(parts, expected) and parts.any(axis=1).all()


def test_what_is_stored_of_parts_is_what_was_built(tmp_path):
    rng, frames = np.random.default_rng(5), []
    for index, window in enumerate((sloping_window(6), sloping_window(7))):
        known = {one.name: getattr(window.present, one.name) for one in fields(OccupancyFrame)}
        parts = rng.random((len(window.present.flat), PARTS)) < 0.3
        frames.append(DividedFrame(**{**known, "stamp_s": float(index)}, parts=parts))
    layout = StoreLayout(GRID, None, "log", {"train": ["a", "b"]})
    start_store(tmp_path, layout, ["a", "b"])
    write_scene(tmp_path, "a", frames)
    write_scene(tmp_path, "b", [replace(sloping_window(8).present, stamp_s=0.0)])
    divided, plain = (SceneFile(tmp_path, scene, GRID) for scene in ("a", "b"))
    for index, frame in enumerate(frames):
        assert np.array_equal(divided.voxel_parts(index), frame.parts)
        assert np.array_equal(divided.frame(index).flat, frame.flat)
    assert plain.voxel_parts(0) is None and not divided.causal
    assert sum(divided.frame_bytes()) < (tmp_path / "a.occ").stat().st_size
    copy_scene(divided, tmp_path, "c")
    assert np.array_equal(SceneFile(tmp_path, "c", GRID).voxel_parts(1), frames[1].parts)
    path = tmp_path / "a.occ"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="parts of frame 1: broken scene file"):
        SceneFile(tmp_path, "a", GRID).voxel_parts(1)


def test_a_body_that_moves_as_told_has_no_part_of_its_matter_free_in_any_frame():
    """Asked where it is now, earlier frames call most of it free: it was elsewhere."""
    rng = np.random.default_rng(11)
    matter, away = rng.uniform([-2.0, -1.0, 0.0], [2.0, 1.0, 1.5], (20_000, 3)), planar_pose(-1.7, 0.3, 0.1)
    poses = [planar_pose(0.4 * index, 0.1, 0.05 * index, 0.2 * index) for index in range(3)]
    back = [np.eye(4), away, away @ away]  # to the present, to the frame before it, and to that before that
    history = tuple(frame_at(transform(back[2 - index], matter), np.full(len(matter), 4, np.uint8), pose, 0.5 * index)
                    for index, pose in enumerate(poses))
    present = history[-1]
    wide = WideFrame(present.flat, present.labels, present.world_from_grid, present.stamp_s, grid=GRID,
                     places_m=GRID.centres(GRID.unflatten(present.flat[:4])).T.astype(np.float32) + 0.1,
                     owners=np.arange(4), lately=np.array([True, False, True, False]))
    history = (*history[:-1], replace(present, wide=wide))
    seen = parts_seen(history, GRID)
    moved = seen_of_bodies(seen, history, GRID, [np.arange(len(present.flat))], np.stack(back[1:])[None])
    index, held = GRID.indices(transform(invert(present.world_from_grid), matter))
    scaled = (transform(invert(present.world_from_grid), matter)[held] - GRID.origin_m) / GRID.voxel_size_m
    part = np.ravel_multi_index(np.floor(scaled % 1 * DIVIDED).astype(int).T, DIVIDED)
    rows = np.searchsorted(seen.flat, GRID.flatten(index[held]))
    near = np.abs(scaled % 1 - (OFFSETS.T + 0.5)[part]).max(axis=1) < 0.02  # the middle stands for the part
    assert near.sum() > 20 and (moved.earlier[rows[near], :, part[near]] != FREE_THERE).all()
    assert (seen.earlier[rows[near], :, part[near]] == FREE_THERE).mean() > 0.1
    assert seen.met.sum() == 4 and np.array_equal(moved.met.any(axis=1).nonzero()[0], [0, 2])
