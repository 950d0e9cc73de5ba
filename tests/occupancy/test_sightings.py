"""Sightings against a reference that goes through the returns one by one; their cells as bytes."""

import zlib
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sightings import random_returns, random_sighting

from occflow.geometry import invert, planar_pose, transform
from occflow.grid import MAX_GRID_VOXELS, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.building.sightings import sighted
from occflow.occupancy.building.visibility import mark_rays
from occflow.occupancy.sighting import CELLS, MOST, SPACING_S, SPOTS, TICK_S, cell_grid, spaced, voxels_of_cells
from occflow.occupancy.storage.cell_block import COUNT, max_cell_bytes, read_cells, write_cells

GRID = VoxelGrid((-3.0, -2.0, -1.0), (7, 5, 3), 0.8)


def reference(pose: np.ndarray, stamp_s: float, seen: list[Returns], min_points: int) -> tuple[dict, list]:
    """Cells -> (returns, youngest, oldest age in ticks), and the occupied voxels, return by return."""
    met, voxels = defaultdict(list), defaultdict(int)
    for returns in seen:
        for point in transform(invert(pose), returns.ends.T[returns.near]):
            place = np.floor((point - GRID.origin_m) / GRID.voxel_size_m * CELLS).astype(int)
            if (place >= 0).all() and (place < np.array(GRID.shape) * CELLS).all():
                cell = (place[0] * GRID.shape[1] * CELLS + place[1]) * GRID.shape[2] * CELLS + place[2]
                met[int(cell)].append(min(255, round((stamp_s - returns.stamp_s) / TICK_S)))
                voxels[tuple(place // CELLS)] += 1
    cells = {cell: (min(255, len(ages)), min(ages), max(ages)) for cell, ages in met.items()}
    return cells, sorted(GRID.flatten([voxel])[0] for voxel, count in voxels.items() if count >= min_points)


@given(seed=st.integers(0, 2**32 - 1), sweeps=st.integers(0, 5), min_points=st.sampled_from([1, 1, 2, 4]),
       gap_s=st.sampled_from([0.2, 0.5, 2.0]))
def test_a_sighting_is_what_its_returns_are_one_by_one(seed, sweeps, min_points, gap_s):
    rng = np.random.default_rng(seed)
    seen = [random_returns(rng, 10.0 + gap_s * number) for number in range(sweeps)]
    stamp_s, pose = 10.0 + gap_s * max(0, sweeps - 1) + 0.03, planar_pose(*rng.normal(0, 0.5, 4))
    found = sighted(GRID, pose, stamp_s, seen, "token", min_points, rays=False)
    cells, flat = reference(pose, stamp_s, seen, min_points)
    assert found.cells.tolist() == sorted(cells) and found.flat.tolist() == flat
    assert list(zip(found.counts.tolist(), found.youngest.tolist(), found.oldest.tolist())) == [
        cells[cell] for cell in sorted(cells)]
    assert (found.stamp_s, found.token, found.observed) == (stamp_s, "token", None) and found.world_from_grid is pose
    assert (found.labels == UNLABELLED).all() and len(found.labels) == len(flat) and found.boxes == ()


def test_more_returns_than_a_byte_counts_are_as_many_as_it_can():
    point = np.repeat([[0.1], [0.1], [0.1]], 70_000, axis=1)
    crowd = Returns(0.0, np.eye(4), np.zeros(3), point, np.arange(70_000), np.zeros(70_000, np.uint8))
    found = sighted(GRID, np.eye(4), 0.0, [crowd], min_points=70_000)
    assert found.counts.tolist() == [MOST] and len(found.flat) == 1


@pytest.mark.parametrize("hertz, kept", [(20, [2, 5, 8, 11]), (10, [1, 3, 5, 7, 9, 11]), (4, list(range(12))),
                                         (6, list(range(12)))])
def test_sweeps_that_follow_too_fast_are_not_looked_at(hertz, kept):
    assert spaced([number / hertz for number in range(12)]) == kept


def test_the_last_sweep_is_always_looked_at_and_the_others_at_their_distance():
    rng = np.random.default_rng(0)
    for _ in range(50):
        stamps = np.cumsum(rng.uniform(0.001, 0.3, rng.integers(1, 30))).tolist()
        kept = spaced(stamps)
        gaps = np.diff([stamps[index] for index in kept])
        assert kept[-1] == len(stamps) - 1 and (gaps >= SPACING_S - 1e-5).all()
        for index in set(range(len(stamps))) - set(kept):  # each is too near to the next one that was kept
            assert min(stamps[later] for later in kept if later > index) - stamps[index] < SPACING_S
    assert spaced([]) == []


def test_a_sweep_too_near_to_the_next_leaves_no_cell():
    rng = np.random.default_rng(3)
    seen = [random_returns(rng, stamp_s) for stamp_s in (0.0, 0.4, 0.5)]
    found, without = (sighted(GRID, np.eye(4), 0.5, part, rays=False) for part in (seen, [seen[0], seen[2]]))
    assert np.array_equal(found.cells, without.cells) and np.array_equal(found.counts, without.counts)
    assert set(found.youngest.tolist()) == {0, 25}


def test_observed_is_what_the_last_sweep_s_rays_and_all_returns_tell():
    rng = np.random.default_rng(1)
    seen, pose = [random_returns(rng, stamp_s, 30) for stamp_s in (0.0, 0.5)], planar_pose(0.2, 0.1, 0.3)
    found, mask = sighted(GRID, pose, 0.5, seen), np.zeros(GRID.num_voxels, bool)
    last = seen[1]
    mark_rays(mask, GRID, transform(invert(pose), last.sensor_m[None])[0], transform(invert(pose), last.ends.T).T)
    by_ray = mask.copy()
    mask[found.flat] = True
    assert np.array_equal(found.observed_mask(GRID).reshape(-1), mask) and not by_ray[found.flat].all()
    only = sighted(GRID, pose, 0.5, seen[:1])
    assert only.observed_mask(GRID)[~found.observed_mask(GRID)].any()  # the first one looked elsewhere


def test_nothing_seen_is_an_empty_sighting():
    found = sighted(GRID, np.eye(4), 1.0, [])
    assert not len(found.flat) and not len(found.cells) and not found.observed_mask(GRID).any()
    kept = read_cells(write_cells(found), GRID, with_spots=True)
    assert all(len(part) == 0 for part in kept.values()) and kept["cells"].dtype == np.int64


@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*[st.integers(1, 9)] * 3))
def test_a_cell_lies_in_its_voxel(seed, shape):
    grid = VoxelGrid((-1.0, 2.0, 0.5), shape, 0.5)
    fine, rng = cell_grid(grid), np.random.default_rng(seed)
    cells = rng.integers(0, fine.num_voxels, 50)
    centres = fine.centres(fine.unflatten(cells))
    indices, inside = grid.indices(centres)
    voxels, places = voxels_of_cells(cells, grid)
    assert inside.all() and np.array_equal(voxels, grid.flatten(indices))
    assert places.min() >= 0 and places.max() < CELLS**3
    assert len(np.unique(voxels * CELLS**3 + places)) == len(np.unique(cells))


def test_a_grid_may_have_more_cells_than_a_grid_may_have_voxels():
    grid = VoxelGrid((0.0, 0.0, 0.0), (400, 400, 13), 0.5)
    corner = np.array([[199.99], [199.99], [6.49]])
    returns = Returns(0.0, np.eye(4), np.zeros(3), corner, np.arange(1), np.zeros(1, np.uint8))
    found = sighted(grid, np.eye(4), 0.0, [returns], rays=False)
    assert cell_grid(grid).num_voxels > MAX_GRID_VOXELS and found.flat.tolist() == [grid.num_voxels - 1]
    assert found.cells.tolist() == [grid.num_voxels * CELLS**3 - 1]
    assert read_cells(write_cells(found), grid, with_spots=True)["cells"].tolist() == found.cells.tolist()


@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*[st.integers(1, 8)] * 3), share=st.floats(0, 1))
def test_any_cells_are_read_as_they_were_written(seed, shape, share):
    grid = VoxelGrid((0.0, 0.0, 0.0), shape, 0.5)
    written = random_sighting(np.random.default_rng(seed), grid, share=share)
    block = write_cells(written)
    found = read_cells(block, grid, with_spots=True)
    assert len(block) <= max_cell_bytes(grid)
    assert "spots" not in read_cells(write_cells(replace(written, spots=None)), grid)
    for name, kind in (("cells", np.int64), ("counts", np.uint8), ("youngest", np.uint8), ("oldest", np.uint8),
                       ("spots", np.uint8)):
        assert np.array_equal(found[name], getattr(written, name)) and found[name].dtype == kind


def block_of(steps: list[int], counts: list[int], youngest: list[int], oldest: list[int], count: int | None = None
             ) -> bytes:
    planes = np.array(steps, "<u4").view(np.uint8).reshape(-1, 4).T.tobytes()
    data = planes + bytes(counts) + bytes(youngest) + bytes(oldest)
    return COUNT.pack(len(steps) if count is None else count) + zlib.compress(data)


MOST_CELLS = GRID.num_voxels * CELLS**3


@pytest.mark.parametrize("block, told", [
    (block_of([3, 5], [1, 1], [0, 0], [0, 0], count=MOST_CELLS + 1), "more than there can be"),
    (block_of([3, 5], [1, 1], [0, 0], [0, 0], count=3), "do not unpack"),
    (block_of([3, 5], [1, 1], [0, 0], [0, 0], count=1), "do not unpack"),
    (COUNT.pack(2) + zlib.compress(bytes(50_000_000)), "do not unpack"),
    (block_of([3, 5], [1, 1], [0, 0], [0, 0])[:-3], "do not unpack"),
    (block_of([3, 5], [1, 1], [0, 0], [0, 0]) + b"x", "do not unpack"),
    (block_of([3, 0], [1, 1], [0, 0], [0, 0]), "not in order"),
    (block_of([MOST_CELLS], [1], [0], [0]), "not in the grid"),
    (block_of([3, 2**32 - 1], [1, 1], [0, 0], [0, 0]), "not in the grid"),
    (block_of([3, 5], [1, 0], [0, 0], [0, 0]), "without a return"),
    (block_of([3, 5], [1, 1], [0, 9], [0, 8]), "older than the first")],
                         ids=lambda value: value if isinstance(value, str) else "")
def test_cells_that_cannot_be_are_refused(block, told):
    with pytest.raises(ValueError, match=told):
        read_cells(block, GRID)


def test_spots_beyond_their_cell_are_refused():
    rng = np.random.default_rng(0)
    one = random_sighting(rng, GRID, share=0.2)
    broken = write_cells(replace(one, spots=np.full(len(one.cells), SPOTS**3, np.uint8)))
    with pytest.raises(ValueError, match="spots beyond"):
        read_cells(broken, GRID, with_spots=True)


def test_a_block_of_the_right_form_is_read():
    assert read_cells(block_of([0, 5], [1, 255], [0, 9], [0, 9]), GRID)["cells"].tolist() == [0, 5]
