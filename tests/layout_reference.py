"""The layout of a window by NumPy and SciPy, site by site and frame by frame: what models.layout is held against."""

import numpy as np
from scipy.ndimage import distance_transform_edt

from occflow.geometry import invert, transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.models.coarse_cells import cell_grid
from occflow.models.support import SupportSettings
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.sparse.tables import FACE, CellGrid


def all_cells(cells: CellGrid) -> np.ndarray:
    """Every cell [X * Y * Z, 3] in the order of its flat key."""
    return np.stack(np.meshgrid(*[np.arange(n) for n in cells.shape], indexing="ij"), axis=-1).reshape(-1, 3)


def centres(cells: CellGrid, places: np.ndarray) -> np.ndarray:
    return cells.origin_m + (places + 0.5) * cells.cell_m


def keys(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ravel_multi_index(tuple(np.asarray(places).T), shape)


def held_keys(flat: np.ndarray, grid: VoxelGrid, stride: tuple[int, ...], cells: CellGrid) -> np.ndarray:
    """Unique coarse cells [M] that hold the voxels `flat` [N]."""
    return np.unique(keys(grid.unflatten(flat) // np.asarray(stride), cells.shape))


def outside(cells: CellGrid, poses: np.ndarray, history: Frames) -> np.ndarray:
    """[F, X * Y * Z] bool."""
    places = centres(cells, all_cells(cells))
    extent = (cells.cell_m * np.asarray(cells.shape))[:2]
    unseen = np.ones((len(poses), len(places)), dtype=bool)
    for target, pose in enumerate(poses):
        for frame in history:
            local = transform(invert(frame.world_from_grid) @ pose, places)[:, :2] - cells.origin_m[:2]
            unseen[target] &= ~((local >= 0) & (local < extent)).all(axis=1)
    return unseen


def reach(cells: CellGrid, grid: VoxelGrid, present: OccupancyFrame, world_from_target: np.ndarray,
          reach_m: float) -> np.ndarray:
    """[X * Y * Z] bool, by the distance to the nearest mover."""
    movable = present.flat[np.isin(present.labels, MOVABLE_CLASSES)]
    near = np.zeros(cells.shape, dtype=bool)
    places = transform(invert(world_from_target) @ present.world_from_grid, grid.centres(grid.unflatten(movable)))
    occupied = np.floor((places - cells.origin_m) / cells.cell_m).astype(np.int64)
    margin = int(np.ceil(min(reach_m / cells.cell_m[:2].min(), max(cells.shape[:2])))) + 1
    for level in range(cells.shape[2]):
        plane = np.ones((cells.shape[0] + 2 * margin, cells.shape[1] + 2 * margin), dtype=bool)
        here = occupied[occupied[:, 2] == level, :2] + margin
        here = here[((here >= 0) & (here < plane.shape)).all(axis=1)]
        if len(here):
            plane[here[:, 0], here[:, 1]] = False
            distance_m = distance_transform_edt(plane, sampling=cells.cell_m[:2])
            near[:, :, level] = distance_m[margin:-margin, margin:-margin] <= reach_m
    return near.reshape(-1)


def table(coords: np.ndarray, cells: CellGrid, own: np.ndarray, other: np.ndarray, others: np.ndarray
          ) -> tuple[np.ndarray, np.ndarray]:
    """Of sites [N, 4] in frames at poses own [F, 4, 4]: [N, K] rows of `others` [M, 4] at the same places in frames at
    other [K, 4, 4] (M: none), and how far these are from the middle of their cell, [N, K, 3] cells."""
    rows = {tuple(row): index for index, row in enumerate(others.tolist())}
    found = np.full((len(coords), len(other)), len(others))
    left = np.zeros((len(coords), len(other), 3))
    for frame, pose in enumerate(own):
        mine = np.flatnonzero(coords[:, 0] == frame)
        for index, there in enumerate(other):
            places = transform(np.linalg.solve(there, pose), centres(cells, coords[mine, 1:]))
            scaled = (places - cells.origin_m) / cells.cell_m + FACE
            cell = np.floor(scaled).astype(np.int64)
            inside = ((cell >= 0) & (cell < cells.shape)).all(axis=1)
            found[mine, index] = [rows.get((index, *one), len(others)) for one in cell.tolist()]
            left[mine[inside], index] = (scaled - cell - 0.5 - FACE)[inside]
    return found, left


def coarser(coords: np.ndarray, cells: CellGrid, stride: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Coarse sites [M, 4] of sites [N, 4], and of each its row among them and its place in it."""
    whole = np.concatenate([coords[:, :1], coords[:, 1:] // np.asarray(stride)], axis=1)
    unique, parent = np.unique(whole, axis=0, return_inverse=True)
    return unique, parent.reshape(-1), keys(coords[:, 1:] % np.asarray(stride), stride)


def layout(history: Frames, poses: np.ndarray, seconds: np.ndarray, touched: list[np.ndarray], grid: VoxelGrid,
           stride: tuple[int, ...], settings: SupportSettings) -> dict:
    """What a Layout holds, by name; `touched` are voxels of the targets."""
    cells = cell_grid(grid, stride)
    unseen = outside(cells, poses, history)
    proposed = unseen | settings.whole_grid
    for frame, voxels in enumerate(touched):
        proposed[frame] |= reach(cells, grid, history[-1], poses[frame], settings.reach_m_per_s * seconds[frame])
        proposed[frame, held_keys(voxels, grid, stride, cells)] = True
    frames, chosen = np.nonzero(proposed)
    coords = np.concatenate([frames[:, None], all_cells(cells)[chosen]], axis=1)
    observed = [all_cells(cells)[held_keys(frame.flat, grid, stride, cells)] for frame in history]
    observed = np.concatenate([np.insert(places, 0, index, axis=1) for index, places in enumerate(observed)])
    history_poses = np.stack([frame.world_from_grid for frame in history])
    if not settings.motion_compensation:
        history_poses, poses = (np.broadcast_to(np.eye(4), some.shape) for some in (history_poses, poses))
    history_table, remainder = table(coords, cells, poses, history_poses, observed)
    extent_m = np.asarray(grid.shape) * grid.voxel_size_m
    found = {"history": observed, "history_table": history_table, "remainder": remainder,
             "unseen": unseen[frames, chosen], "levels": [],
             "position": 2 * (centres(cells, coords[:, 1:]) - np.asarray(grid.origin_m)) / extent_m - 1}
    for step in (*settings.level_strides, None):
        level = {"coords": coords, "table": table(coords, cells, poses, poses, coords)[0]}
        found["levels"].append(level)
        if step is not None:
            coords, level["parent"], level["slot"] = coarser(coords, cells, step)
            cells = cells.pooled(step)
    return found
