"""The layout of a window: what is proposed and how it hangs together, held against NumPy and SciPy."""

import tracemalloc
from dataclasses import replace

import layout_reference as reference
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.geometry import planar_pose
from occflow.grid import FREE, VoxelGrid
from occflow.models.coarse_cells import cell_grid, cells_of
from occflow.models.layout import Layout, build_layout, join_layouts
from occflow.models.support import Outline, SupportSettings, outline_of, outside_history, reachable
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.warp import touched_voxels
from occflow.sparse.sites import Sites, cells_held, pool_shape, sites_from_keys

GRID, STRIDE = VoxelGrid((-16, -16, 0), (32, 32, 4), 1.0), (4, 4, 4)
DEMO = VoxelGrid((-9.6, -8.0, -1.0), (24, 20, 8), 0.8), (2, 2, 4), ((2, 2, 1), (2, 2, 2))  # as data=demo model=demo
FULL = VoxelGrid((-6.4, -5.2, -1.0), (32, 26, 16), 0.4), (2, 2, 2), ((2, 2, 2), (2, 2, 1), (2, 2, 2))  # as occ3d, full
ODD = VoxelGrid((-4.0, -3.0, -1.0), (13, 11, 5), 0.7), (2, 3, 2), ((2, 2, 2),)  # no cell is whole at the far ends
CAR = 4


def cells_about(reach_m: float, x: int = 16, pose: np.ndarray | None = None) -> int:
    """Number of cells within reach of a car at voxel (x, 16, 0)."""
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[x, 16, 0] = CAR
    present = OccupancyFrame.from_dense(volume, np.eye(4))
    outline = outline_of((present,), np.eye(4)[None] if pose is None else pose[None], np.array([1.0]),
                         torch.zeros(64, dtype=torch.bool), GRID, STRIDE, SupportSettings(reach_m, ()))
    return int(reachable(outline, GRID, cell_grid(GRID, STRIDE)).sum())


def test_a_mover_reaches_the_cells_about_it_also_from_just_outside():
    assert cells_about(3.0) == 1 and cells_about(4.0) == 5
    beside = planar_pose(-4.0, 0, 0)  # whose grid ends a cell before the car
    assert cells_about(4.0, x=31, pose=beside) == 1 and cells_about(3.0, x=31, pose=beside) == 0


def test_a_gap_of_years_takes_no_memory():
    tracemalloc.start()
    assert cells_about(10.0 * 1e9) == 64
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6 and cells_about(10.0 * 1e300) == 64


def pose(rng: np.random.Generator, far_m: float) -> np.ndarray:
    """A place within some metres, turned about z and, a little, otherwise."""
    made = planar_pose(*rng.uniform(-far_m, far_m, 2), rng.uniform(-3, 3), rng.uniform(-0.3, 0.3))
    tilt, made_tilted = rng.uniform(-0.05, 0.05), made.copy()
    made_tilted[:3, 1] = np.cos(tilt) * made[:3, 1] + np.sin(tilt) * made[:3, 2]
    made_tilted[:3, 2] = np.cos(tilt) * made[:3, 2] - np.sin(tilt) * made[:3, 1]
    return made_tilted


def random_window(seed: int, grid: VoxelGrid, voxels: str, still: bool) -> tuple[Frames, np.ndarray, np.ndarray]:
    """Observed frames, poses of targets and their seconds."""
    rng = np.random.default_rng(seed)
    past, future = rng.integers(1, 4), rng.integers(1, 4)
    counts = {"none": 0, "one": 1, "few": 12, "many": grid.num_voxels // 3}[voxels]
    frames = []
    for index in range(past):
        flat = np.sort(rng.choice(grid.num_voxels, counts, replace=False))
        frames.append(OccupancyFrame(flat, rng.choice([2, CAR, 11, 15, 255], counts).astype(np.uint8),
                                     np.eye(4) if still else pose(rng, 6.0), 0.5 * index))
    if voxels == "many":
        frames[0] = replace(frames[0], flat=frames[0].flat[:0], labels=frames[0].labels[:0])
    poses = np.stack([np.eye(4) if still else pose(rng, 6.0) for _ in range(future)])
    return tuple(frames), poses, np.cumsum(rng.uniform(0.0, 0.7, future))


def observed_sites(history: Frames, grid: VoxelGrid, stride: tuple) -> Sites:
    keys = np.concatenate([frame.flat + index * grid.num_voxels for index, frame in enumerate(history)])
    held = cells_held(torch.from_numpy(keys), grid.shape, stride, len(history))
    return sites_from_keys(held.nonzero()[:, 0], pool_shape(grid.shape, stride), len(history))


def outlined(history: Frames, poses: np.ndarray, seconds: np.ndarray, touched: list, grid: VoxelGrid, stride: tuple,
             support: SupportSettings) -> Outline:
    cells = torch.from_numpy(np.concatenate([cells_of([voxels], grid, stride) for voxels in touched]))
    return outline_of(history, poses, seconds, cells, grid, stride, support)


def laid_out(history: Frames, *arguments) -> Layout:
    *_, grid, stride, support = arguments
    return build_layout(outlined(history, *arguments), observed_sites(history, grid, stride), grid, stride, support)


def assert_same(found: Layout, expected: dict) -> None:
    def equal(one: torch.Tensor, other: np.ndarray) -> bool:
        return one.shape == other.shape and bool((one.numpy() == other).all())

    assert equal(found.history.coords, expected["history"]) and equal(found.unseen, expected["unseen"])
    assert equal(found.history_table, expected["history_table"])
    assert np.allclose(found.history_remainder.numpy(), expected["remainder"], rtol=0, atol=1e-6)
    assert np.allclose(found.position.numpy(), expected["position"], rtol=0, atol=1e-6)
    assert len(found.levels) == len(expected["levels"])
    for level, other in zip(found.levels, expected["levels"]):
        assert equal(level.sites.coords, other["coords"]) and equal(level.table, other["table"])
        if level.pooling is not None:
            assert equal(level.pooling.parent, other["parent"]) and equal(level.pooling.slot, other["slot"])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from([DEMO, FULL, ODD]), still=st.booleans(),
       voxels=st.sampled_from(["none", "one", "few", "many"]), whole=st.sampled_from([False, False, False, True]),
       compensated=st.sampled_from([True, True, False]))
def test_a_layout_is_that_of_numpy_and_scipy(seed, kind, still, voxels, whole, compensated):
    grid, stride, strides = kind
    history, poses, seconds = random_window(seed, grid, voxels, still)
    touched = [touched_voxels(history[-1], grid, one) for one in poses]
    support = SupportSettings(3.7, strides, whole, compensated)
    arguments = (history, poses, seconds, touched, grid, stride, support)
    assert_same(laid_out(*arguments), reference.layout(*arguments))


def test_what_lies_in_no_grid_is_unseen():
    history, poses, seconds = random_window(0, GRID, "few", still=True)
    away = [planar_pose(1000.0, 0, 0), planar_pose(16.0, 0, 0), np.eye(4)]
    outline = outlined(history, np.stack(away), np.arange(3.0), [history[-1].flat] * 3, GRID, STRIDE,
                       SupportSettings(1.0, ()))
    unseen = outside_history(outline, cell_grid(GRID, STRIDE)).view(3, 8, 8)
    assert unseen[0].all() and not unseen[2].any() and unseen[1].all(dim=1).tolist() == [False] * 4 + [True] * 4


def test_regions_hold_what_is_together_in_space_and_what_is_one_place_through_time():
    """Against the sites' own coordinates; through time in grids that stand still, where a place keeps its coordinates,
    and in grids that move, where a place that the middle frame does not show is by itself."""
    for still in (True, False):
        history, poses, seconds = random_window(3, DEMO[0], "many", still=still)
        touched = [touched_voxels(history[-1], DEMO[0], one) for one in poses]
        layout = laid_out(history, poses, seconds, touched, DEMO[0], DEMO[1], SupportSettings(3.7, DEMO[2]))
        if still:
            layout = join_layouts([layout, layout])
        *cells, lasting = (region.numpy() for region in layout.regions)
        coords, stride = layout.support.coords.numpy(), np.ones(3, dtype=int)
        for region, step in zip(cells, DEMO[2]):
            stride *= step
            assert same_partition(region, np.c_[coords[:, 0], coords[:, 1:] // stride])
        middle, samples = layout.num_horizon // 2, coords[:, 0] // layout.num_horizon
        if still:
            shown = np.isin(lasting, cells[0][coords[:, 0] % layout.num_horizon == middle])
            coarse = coords[:, 1:] // np.array(DEMO[2][0])
            assert shown.any() and same_partition(lasting[shown], np.c_[samples, coarse][shown])
        assert all(len(set(samples[lasting == region])) == 1 for region in np.unique(lasting))


def same_partition(region: np.ndarray, names: np.ndarray) -> bool:
    """Whether rows are in one region where their names [N, K] are the same, and only there."""
    _, named = np.unique(names, axis=0, return_inverse=True)
    pairs = len(np.unique(np.c_[region, named.ravel()], axis=0))
    return pairs == len(np.unique(region)) == len(np.unique(named))
