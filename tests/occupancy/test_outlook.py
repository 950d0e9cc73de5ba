"""What is known beyond the grid, and of earlier: the area that sightings look at, frames that know more than their grid
holds, and sweeps that are remembered."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sightings import looking_ahead, random_returns

from occflow.geometry import invert, planar_pose, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.augmentation import mirrored
from occflow.occupancy.building.sightings import MEMORY_SPACING_S, Memory, outlook, sighted, thinned
from occflow.occupancy.frame import OccupancyFrame, WideFrame
from occflow.occupancy.motion import BodiesApart, advanced_bodies, without
from occflow.occupancy.sighting import CELLS, SPOTS, TICK_S, Sighting, cell_grid
from occflow.occupancy.warp import landing, landings, touched_voxels, warp
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-3.0, -2.0, -1.0), (7, 5, 3), 0.8)
DRIVE = VoxelGrid((-40.0, -40.0, -1.0), (100, 100, 8), 0.8)


def driving(velocity_m_per_s: float, yaw_rate_rad_per_s: float = 0.0, sweeps: int = 5) -> list:
    """Sweeps on an arc of 0.2 s each, the last one at 10 s."""
    found, pose = [], np.eye(4)
    for number in range(sweeps):
        returns = random_returns(np.random.default_rng(number), 10.0 - 0.2 * (sweeps - 1 - number))
        found.append(replace(returns, world_from_ego=pose))
        pose = pose @ planar_pose(velocity_m_per_s * 0.2, 0.0, yaw_rate_rad_per_s * 0.2)
    return found


@pytest.mark.parametrize("velocity, ahead, behind", [(10.0, 38, 0), (0.0, 0, 0), (-4.0, 0, 15), (40.0, 75, 0),
                                                     (0.01, 0, 0)])
def test_the_outlook_holds_the_grids_to_come_and_no_more(velocity, ahead, behind):
    """30 m ahead are 37.5 voxels; 60 m are the most; a vehicle that stands needs none."""
    seen = driving(velocity)
    area = outlook(DRIVE, seen[-1].world_from_ego, seen, 3.0, 60.0)
    if not ahead + behind:
        assert area is None
    else:
        assert area.shape == (100 + ahead + behind, 100, 8) and area.voxel_size_m == DRIVE.voxel_size_m
        assert area.origin_m == pytest.approx((-40.0 - 0.8 * behind, -40.0, -1.0))


def test_who_turns_looks_aside_and_a_single_sweep_or_no_time_sees_the_grid_alone():
    seen = driving(8.0, 0.4)
    area = outlook(DRIVE, seen[-1].world_from_ego, seen, 3.0, 60.0)
    below, above = -DRIVE.first_in(area)[1], area.shape[1] - DRIVE.shape[1] + DRIVE.first_in(area)[1]
    assert area.shape[1] > 110 and above > 10 > 0 >= below
    assert outlook(DRIVE, np.eye(4), seen[:1], 3.0, 60.0) is None and outlook(DRIVE, np.eye(4), seen, 0.0, 60.0) is None


@given(seed=st.integers(0, 2**32 - 1), rays=st.booleans())
def test_a_part_of_a_sighting_is_what_is_sighted_there(seed, rays):
    """Every part as large as any grid, the frame's own among them: cells, ages, voxels that were passed."""
    rng = np.random.default_rng(seed)
    seen = [replace(random_returns(rng, 10.0 + 0.2 * number),
                    world_from_ego=planar_pose(1.5 * number, 0.3 * number, 0.1 * number))
            for number in range(3)]
    pose = seen[-1].world_from_ego
    found = sighted(GRID, pose, 10.4, seen, "t", rays=rays, outlook_s=1.0, outlook_m=4.0)
    area = found.area
    assert area is not None and (found.passed is not None) == rays
    first = [int(rng.integers(length - own + 1)) for length, own in zip(area.shape, GRID.shape)]
    part = replace(GRID, origin_m=tuple(np.array(area.origin_m) + 0.8 * np.array(first)))
    # an area counts returns of any range
    everywhere = [replace(one, near=np.arange(one.ends.shape[1])) for one in seen]
    for place in (part, GRID):
        one, other = found.part(GRID, place), sighted(place, pose, 10.4, everywhere, "t", rays=rays)
        for name in ("flat", "cells", "counts", "youngest", "oldest"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert (one.observed_mask(place) != other.observed_mask(place)).mean() < 0.05  # rays that graze a corner
    own = found.part(GRID, GRID)
    assert np.array_equal(own.flat, found.flat) and np.array_equal(own.observed_mask(GRID), found.observed_mask(GRID))


def wide_frame(rng: np.random.Generator, grid: VoxelGrid = GRID) -> tuple[OccupancyFrame, VoxelGrid]:
    """A frame, and the larger grid of which it knows all, 2 and 3 voxels more ahead and behind and one to the left."""
    size_m = grid.voxel_size_m
    area = VoxelGrid((grid.origin_m[0] - 3 * size_m, grid.origin_m[1], grid.origin_m[2]),
                     (grid.shape[0] + 5, grid.shape[1] + 1, grid.shape[2]), size_m)
    flat = np.flatnonzero(rng.random(area.num_voxels) < 0.3)
    labels, pose = rng.integers(0, 17, len(flat)).astype(np.uint8), planar_pose(*rng.normal(size=3))
    wide = WideFrame(flat, labels, pose, 1.0, grid=area)
    own, inside = area.renumbered(flat, grid)
    return OccupancyFrame(own[inside], labels[inside], pose, 1.0, wide=wide), area


def same_voxels(one: OccupancyFrame, other: OccupancyFrame) -> bool:
    return np.array_equal(one.flat, other.flat) and np.array_equal(one.labels, other.labels)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_frame_that_knows_more_shows_it_in_other_grids(seed):
    """Against a large grid in which target and source have the same voxels: there warping needs nothing beyond."""
    rng = np.random.default_rng(seed)
    frame, area = wide_frame(rng)
    target = frame.world_from_grid @ planar_pose(*rng.normal(0, 2, 2), rng.normal(0, 0.3))
    large = VoxelGrid(tuple(np.array(GRID.origin_m) - 0.8 * 8), tuple(np.array(GRID.shape) + 16), 0.8)
    moved = replace(frame, flat=area.renumbered(frame.wide.flat, large)[0], labels=frame.wide.labels, wide=None)
    there = warp(moved, large, target)
    numbers, inside = large.renumbered(there.flat, GRID)
    found = warp(frame, GRID, target)
    assert found.wide is None and np.array_equal(found.flat, numbers[inside])
    assert np.array_equal(found.labels, there.labels[inside])
    assert np.isin(found.flat, touched_voxels(frame, GRID, target)).all()
    assert same_voxels(warp(frame, GRID, frame.world_from_grid), frame)


def with_places(frame: OccupancyFrame, rng: np.random.Generator) -> OccupancyFrame:
    """Of a third of the voxels that it knows some places, anywhere in them."""
    wide = frame.wide
    owners = np.sort(rng.choice(len(wide.flat), len(wide.flat) // 3))
    corners_m = wide.grid.centres(wide.grid.unflatten(wide.flat[owners]))
    places_m = (corners_m + rng.uniform(-0.39, 0.39, corners_m.shape)).T.astype(np.float32)
    return replace(frame, wide=replace(wide, places_m=places_m, owners=owners, lately=rng.random(len(owners)) < 0.5))


@given(seed=st.integers(0, 2**32 - 1))
def test_where_matter_was_met_is_moved_in_place_of_its_voxel(seed):
    """Against places one by one; voxels without any are moved as before, and give way."""
    rng = np.random.default_rng(seed)
    frame, area = wide_frame(rng)
    frame = with_places(frame, rng)
    wide, target = frame.wide, frame.world_from_grid @ planar_pose(*rng.normal(0, 2, 2), rng.normal(0, 0.3))
    finer = np.isin(np.arange(len(wide.flat)), wide.owners)
    whole = replace(frame, wide=replace(wide.kept(~finer), places_m=np.zeros((3, 0), np.float32),
                                        owners=np.zeros(0, np.int64), lately=np.zeros(0, bool)))
    before = warp(whole, GRID, target)
    wanted = dict(zip(before.flat.tolist(), before.labels.tolist()))
    moved_m = transform(invert(target) @ frame.world_from_grid, wide.places_m.T.astype(np.float64))
    index, inside = GRID.indices(moved_m)
    for voxel, label in zip(GRID.flatten(index[inside]).tolist(), wide.labels[wide.owners[inside]].tolist()):
        wanted[voxel] = label
    found = warp(frame, GRID, target)
    there = dict(zip(found.flat.tolist(), found.labels.tolist()))
    differ = {voxel for voxel in {*there, *wanted} if there.get(voxel) != wanted.get(voxel)}
    assert len(differ) <= 1  # a place within rounding of a voxel's side
    assert np.isin(found.flat, touched_voxels(frame, GRID, target)).all() and (np.diff(found.flat) > 0).all()


def test_places_go_with_their_voxels():
    """Taken out with a body, mirrored with a window."""
    rng = np.random.default_rng(5)
    frame, _ = wide_frame(rng)
    frame = with_places(frame, rng)
    rest = without(frame, GRID, [np.arange(6)])
    grid = rest.wide.grid
    for wide in (frame.wide, rest.wide, mirrored(Window.of(WindowKey("s", 0), (frame,), (
            replace(frame, wide=None, stamp_s=2.0),)), GRID).present.wide):
        index, inside = wide.grid.indices(wide.places_m.T.astype(np.float64))
        assert inside.all() and np.array_equal(wide.grid.flatten(index), wide.flat[wide.owners])
    assert grid == frame.wide.grid and len(rest.wide.owners) < len(frame.wide.owners)
    assert frame.num_bytes > replace(frame, wide=None).num_bytes + frame.wide.places_m.nbytes


def test_a_body_that_goes_is_missed_in_what_is_known_beyond_too():
    rng = np.random.default_rng(0)
    frame, area = wide_frame(rng)
    slots = [np.arange(5), np.arange(7, 9)]
    rest = without(frame, GRID, slots)
    gone = np.isin(frame.wide.flat, GRID.renumbered(frame.flat[np.concatenate(slots)], area)[0])
    assert np.array_equal(rest.wide.flat, frame.wide.flat[~gone]) and gone.sum() == 7
    target, motion = frame.world_from_grid @ planar_pose(1.0, 0.5, 0.2), np.stack([planar_pose(0.9, 0, 0)] * 2)
    moved = advanced_bodies(frame, GRID, slots, motion, target, 2.0)
    assert len(moved.flat) > len(advanced_bodies(replace(frame, wide=None), GRID, slots, motion, target, 2.0).flat)
    apart = BodiesApart(frame, GRID, slots, target[None], [2.0], [landing(frame, GRID, target)])
    assert same_voxels(apart.moved(motion[:, None])[0], moved)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_present_taken_apart_is_moved_as_it_is_in_one_go(seed):
    """Of bodies that stand, too: they are of the static world, moved by where their matter was met."""
    rng = np.random.default_rng(seed)
    frame, _ = wide_frame(rng)
    frame = [with_places(frame, rng), frame, replace(frame, wide=None)][seed % 3]
    slots = np.array_split(rng.permutation(len(frame.flat))[:90], 6)
    poses = np.stack([frame.world_from_grid @ planar_pose(*rng.normal(0, 2, 2), rng.normal(0, 0.3)) for _ in range(3)])
    if frame.wide is not None:  # one of the grids is known itself
        flat = np.flatnonzero(rng.random(GRID.num_voxels) < 0.3)
        view = OccupancyFrame(flat, rng.choice([4, 11], len(flat)).astype(np.uint8), poses[2], 1.0)
        frame = replace(frame, wide=replace(frame.wide, views=(view,)))
    apart = BodiesApart(frame, GRID, slots, poses, [2.0, 3.0, 4.0], landings(frame, GRID, poses))
    for share in (0.0, 0.5, 1.0):
        motions = np.tile(np.eye(4), (len(slots), len(poses), 1, 1))
        for body in np.flatnonzero(rng.random(len(slots)) < share):
            motions[body] = [planar_pose(*rng.normal(0, 2, 2), rng.normal()) for _ in poses]
        for index, moved in enumerate(apart.moved(motions)):
            wanted = advanced_bodies(frame, GRID, slots, motions[:, index], poses[index], 2.0 + index)
            assert same_voxels(moved, wanted) and moved.stamp_s == wanted.stamp_s


def test_mirrored_windows_know_the_mirrored_rest():
    grid = VoxelGrid((-3.0, -2.0, -1.0), (7, 5, 3), 0.8)
    rng = np.random.default_rng(1)
    frame, area = wide_frame(rng, grid)
    later = replace(frame, wide=None, stamp_s=2.0, world_from_grid=frame.world_from_grid @ planar_pose(1.6, 0, 0))
    window = Window.of(WindowKey("s", 0), (frame,), (later,))
    once = mirrored(window, grid)
    twice = mirrored(once, grid)
    assert same_voxels(twice.present.wide, frame.wide) and twice.present.wide.grid == area
    straight, flipped = (warp(one.present, grid, one.task.poses[0]) for one in (window, once))
    index = grid.unflatten(straight.flat)
    index[:, 1] = grid.shape[1] - 1 - index[:, 1]
    order = np.argsort(grid.flatten(index))
    assert np.array_equal(grid.flatten(index)[order], flipped.flat)
    assert np.array_equal(straight.labels[order], flipped.labels)


def test_memory_keeps_one_return_a_cell_of_sweeps_that_lie_apart():
    rng, memory = np.random.default_rng(3), Memory(DRIVE, 2.0)
    sweeps = [random_returns(rng, number / 10, 400, 0.5) for number in range(60)]
    for one in sweeps:
        memory.add(one)
    found = memory.before(5.9, 4.9)
    assert [round(one.stamp_s, 1) for one in found] == [4.0, 4.5]  # of 3.9 to 4.9
    assert MEMORY_SPACING_S == 0.5
    full, thin = sweeps[40], found[0]
    cells = np.floor(thin.ends / 0.2).astype(int)
    assert len(np.unique(cells, axis=1).T) == thin.ends.shape[1] < full.ends.shape[1]
    assert len(np.unique(np.floor(full.ends / 0.2).astype(int), axis=1).T) == thin.ends.shape[1]
    assert np.isin(thin.points()[:, 0], full.points()[:, 0]).all() and len(thin.labels) == len(thin.near)
    memory.clear()
    assert memory.before(5.9, 4.9) == []
    forgetful = Memory(DRIVE, 0.0)
    forgetful.add(sweeps[0])
    assert forgetful.before(1.0, 1.0) == []


def test_what_is_remembered_fills_cells_and_makes_no_voxel_occupied():
    rng = np.random.default_rng(4)
    old, now = random_returns(rng, 5.0), random_returns(rng, 10.0)
    remembered = [thinned(old, GRID.voxel_size_m / CELLS)]
    alone = sighted(GRID, np.eye(4), 10.0, [now])
    both = sighted(GRID, np.eye(4), 10.0, [now], remembered=remembered)
    assert np.array_equal(alone.flat, both.flat) and np.array_equal(alone.observed, both.observed)
    fresh = both.youngest == 0
    assert np.array_equal(both.cells[fresh], alone.cells) and (both.oldest[~fresh] == round(5.0 / TICK_S)).all()
    assert 0 < (~fresh).sum() <= remembered[0].ends.shape[1]


def test_an_area_without_rays_counts_as_passed_everywhere():
    cells = np.arange(5)
    known = dict(cells=cells, counts=np.ones(5, np.uint8), youngest=np.zeros(5, np.uint8), oldest=np.zeros(5, np.uint8))
    area = VoxelGrid(GRID.origin_m, (9, 5, 3), 0.8)
    one = Sighting(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), 0.0, area=area, **known)
    assert one.passed_mask(GRID).all() and one.passed_mask(GRID).shape == area.shape
    part = one.part(GRID, GRID)
    assert (part.labels == UNLABELLED).all() and len(part.cells) == 5 and part.area is None
    assert cell_grid(GRID).shape == (28, 20, 12) and (invert(part.world_from_grid) == np.eye(4)).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_a_moved_sighting_has_its_cells_where_they_lie_then(seed):
    """Cell by cell: counts are added, the youngest and the oldest of what falls together stay so."""
    rng = np.random.default_rng(seed)
    one = looking_ahead(rng, GRID, (2, 3, 1, 0))
    pose = one.world_from_grid @ planar_pose(*rng.normal(0, 1.5, 2), rng.normal(0, 0.3))
    found, cells, there = one.moved(GRID, pose), cell_grid(one.area), cell_grid(GRID)
    offsets = (np.stack(np.unravel_index(one.spots, (SPOTS,) * 3), axis=1) + 0.5) / SPOTS - 0.5
    places = cells.centres(cells.unflatten(one.cells)) + offsets * cells.voxel_size_m
    assert np.allclose(places, one.places(GRID).T, atol=1e-5)
    centres = transform(invert(pose) @ one.world_from_grid, one.places(GRID).T)
    wanted = {}
    for centre, *ages in zip(centres, one.counts.tolist(), one.youngest.tolist(), one.oldest.tolist()):
        index, inside = there.indices(centre[None])
        if inside[0]:
            count, young, old = wanted.get(int(there.flatten(index)[0]), (0, 255, 0))
            wanted[int(there.flatten(index)[0])] = (count + ages[0], min(young, ages[1]), max(old, ages[2]))
    assert found.cells.tolist() == sorted(wanted) and found.area is None and found.world_from_grid is pose
    assert list(zip(found.counts.tolist(), found.youngest.tolist(), found.oldest.tolist())) == [
        (min(255, wanted[cell][0]), *wanted[cell][1:]) for cell in sorted(wanted)]
    same = one.moved(GRID, one.world_from_grid)
    own = one.part(GRID, GRID)
    assert np.array_equal(same.observed_mask(GRID), own.observed_mask(GRID)) and np.array_equal(same.flat, own.flat)


def test_what_was_perceived_in_a_grid_is_what_the_frame_shows_there():
    """Without what a body touches that goes, and nowhere else."""
    rng = np.random.default_rng(6)
    frame, _ = wide_frame(rng)
    target, other = (frame.world_from_grid @ planar_pose(x, 0.2, 0.1) for x in (0.7, 1.1))
    flat = np.flatnonzero(rng.random(GRID.num_voxels) < 0.5)
    view = OccupancyFrame(flat, rng.choice([4, 11], len(flat)).astype(np.uint8), target, 1.0)
    knows = replace(frame, wide=replace(frame.wide, views=(view,)))
    assert same_voxels(warp(knows, GRID, target, 3.0), view) and warp(knows, GRID, target, 3.0).stamp_s == 3.0
    assert same_voxels(warp(knows, GRID, other), warp(frame, GRID, other))
    assert np.isin(flat, touched_voxels(knows, GRID, target)).all()
    slots = [np.arange(8)]
    left = warp(without(knows, GRID, slots), GRID, target)
    body = OccupancyFrame(frame.flat[:8], frame.labels[:8], frame.world_from_grid, 1.0)
    gone = np.isin(flat, touched_voxels(body, GRID, target)) & (view.labels == 4)
    assert gone.any() and np.array_equal(left.flat, flat[~gone]) and np.array_equal(left.labels, view.labels[~gone])
    assert knows.num_bytes == frame.num_bytes + view.num_bytes
