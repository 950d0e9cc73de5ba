"""Objects that may move: found in an occupancy frame, matched with those of another, and moved on.

How they are followed through a history is in `tracks`, how they go on in `bodies`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from occflow.geometry import invert, transform
from occflow.grid import FREE, IS_MOVABLE, MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame, View
from occflow.occupancy.warp import Landing, landing, touched_voxels, touching_offsets, voxels_at, warp

MAX_SPEED_M_PER_S = 18.0  # faster is a wrong match
MAX_OBJECTS = 1000  # of a frame: matching takes memory with their square and time with their cube; no street has more
SIZE_WEIGHT_M = 2.0  # metres of distance that doubling in size counts for, when objects are matched
Lay = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]  # class volume [X, Y, Z] to write into; which of
# the bodies [B]; their motions [B, 4, 4] in the world; pose [4, 4] of the volume's grid
NEIGHBOURS = np.array([step for step in np.ndindex(3, 3, 3) if step > (1, 1, 1)]) - 1  # one of each opposite pair


@dataclass(frozen=True)
class Cluster:
    """Connected movable voxels of one class: their places [N] in the frame's arrays, and their centre in the world."""

    slots: np.ndarray
    label: int
    centre_m: np.ndarray


def clusters(frame: OccupancyFrame, grid: VoxelGrid) -> list[Cluster]:
    """The movable objects of a frame, as connected voxels of one class: class by class, by their first voxels.

    Of more than MAX_OBJECTS, as specks of noise can be, only the largest.
    """
    chosen = np.flatnonzero(np.isin(frame.labels, MOVABLE_CLASSES))
    chosen = chosen[np.argsort(frame.labels[chosen], kind="stable")]
    if not len(chosen):
        return []
    voxels, labels = grid.unflatten(frame.flat[chosen]), frame.labels[chosen]
    numbers = _connected(voxels, labels, grid)
    order = np.argsort(numbers, kind="stable")
    first = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    centres = transform(frame.world_from_grid, grid.centres(voxels))[order]
    sizes = np.diff(first, append=len(order))
    centres = np.add.reduceat(centres, first) / sizes[:, None]
    kept = np.sort(np.argsort(-sizes, kind="stable")[:MAX_OBJECTS])
    parts = [order[first[number]:first[number] + sizes[number]] for number in kept]
    return [Cluster(chosen[part], int(labels[part[0]]), centre) for part, centre in zip(parts, centres[kept])]


def _connected(voxels: np.ndarray, labels: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Number [N] of the connected set of each voxel [N, 3], sorted by class and place, among those of its class [N]."""
    x, y, z = (length + 2 for length in grid.shape)  # a free margin: no neighbour across the edge of the grid
    keys = ((labels.astype(np.int64) * x + voxels[:, 0] + 1) * y + voxels[:, 1] + 1) * z + voxels[:, 2] + 1
    wanted = keys + (NEIGHBOURS @ (y * z, z, 1))[:, None]  # [13, N]
    other = np.searchsorted(keys, wanted)
    other[other == len(keys)] = 0
    _, one = pairs = np.nonzero(keys[other] == wanted)
    joined = coo_matrix((np.ones(len(one), dtype=bool), (one, other[pairs])), shape=(len(keys), len(keys)))
    return connected_components(joined, directed=False)[1]


def match(now: list[Cluster], before: list[Cluster], seconds: float) -> dict[int, int]:
    """Pairs (index now -> index before) of one object, each used once: same class, near, of like size."""
    if not now or not before:
        return {}
    distance = np.linalg.norm(np.array([a.centre_m for a in now])[:, None]
                              - np.array([b.centre_m for b in before])[None], axis=2)
    sizes = np.log2(np.array([len(a.slots) for a in now])[:, None] / [len(b.slots) for b in before])
    alike = np.array([a.label for a in now])[:, None] == [b.label for b in before]
    possible = alike & (distance < MAX_SPEED_M_PER_S * seconds)
    cost = np.where(possible, distance + SIZE_WEIGHT_M * np.abs(sizes), 1e6)
    return {int(i): int(j) for i, j in zip(*linear_sum_assignment(cost)) if possible[i, j]}


def advanced_bodies(frame: OccupancyFrame, grid: VoxelGrid, slots: list[np.ndarray], world_motions: np.ndarray,
                    world_from_target: np.ndarray, stamp_s: float, landed: Landing | None = None,
                    lay: Lay | None = None) -> OccupancyFrame:
    """The frame in a later grid: the static world moved by the ego motion, bodies by their own rigid motions too.

    Bodies that move win over what they reach; the place that they leave is free. Where two of them meet, the first
    one is seen. A body whose motion is the identity is part of the static world.

    Args:
        slots: places [N] in the frame's arrays of the voxels of each of B bodies.
        world_motions: [B, 4, 4] what takes each body from its place now to that at the target's time, in the world.
        world_from_target: pose [4, 4] of the later grid.
        stamp_s: the target's time, seconds.
        landed: the frame's `warp.landing` in the target, where the caller has it already.
        lay: what writes the bodies that move into the target; None: they are moved as voxels, by `lay_bodies`.
    """
    world_motions = np.asarray(world_motions, dtype=np.float64).reshape(-1, 4, 4)
    moving = np.flatnonzero((world_motions != np.eye(4)).any(axis=(1, 2)))
    own = [slots[body] for body in moving]
    volume = _world_without(frame, grid, own, world_from_target, landed)
    if lay is None:
        lay_bodies(volume, frame, grid, own, world_motions[moving], world_from_target)
    else:
        lay(volume, moving, world_motions[moving], world_from_target)
    return OccupancyFrame.from_dense(volume, world_from_target, stamp_s)


@dataclass(frozen=True)
class BodiesApart:
    """A present for many samples: where it lands in later grids is found once. A body that stands in one is of the
    static world there, moved by where its matter was met.

    Args:
        slots: places [N] in the frame's arrays of the voxels of each of B bodies.
        poses: [F, 4, 4] world_from_target of the later grids; stamps_s: [F] their times, seconds.
        landed: the frame's `warp.landing` in each of them.
        lay: as in `advanced_bodies`.
    """

    frame: OccupancyFrame
    grid: VoxelGrid
    slots: list[np.ndarray]
    poses: np.ndarray
    stamps_s: Sequence[float]
    landed: Sequence[Landing]
    lay: Lay | None = None

    def moved(self, world_motions: np.ndarray) -> Frames:
        """As `advanced_bodies` in every later grid, for motions [B, F, 4, 4]."""
        return tuple(advanced_bodies(self.frame, self.grid, self.slots, world_motions[:, index], pose, stamp_s, landed,
                                     self.lay)
                     for index, (pose, stamp_s, landed) in enumerate(zip(self.poses, self.stamps_s, self.landed)))


def _world_without(frame: OccupancyFrame, grid: VoxelGrid, slots: Sequence[np.ndarray], world_from_target: np.ndarray,
                   landed: Landing | None) -> np.ndarray:
    """Class volume [X, Y, Z] of a later grid: a frame without some bodies, moved as a static world."""
    if landed is not None and landed.names is not None:  # by what was perceived in that grid
        volume = landed.volume(grid, slots)
        if slots:
            _take_movers(volume, _bodies(frame, np.concatenate(slots)), grid, world_from_target)
        return volume
    if frame.wide is not None and frame.wide.views:
        return warp(without(frame, grid, slots), grid, world_from_target,
                    candidates=None if landed is None else landed.touched).dense(grid)
    return (landed or landing(frame, grid, world_from_target)).volume(grid, slots)


def without(frame: OccupancyFrame, grid: VoxelGrid, slots: Sequence[np.ndarray]) -> OccupancyFrame:
    """A frame without the voxels of some bodies, by their places in its arrays."""
    static, wide = np.ones(len(frame.flat), dtype=bool), frame.wide
    for own in slots:
        static[own] = False
    if wide is not None:
        gone, _ = grid.renumbered(frame.flat[~static], wide.grid)
        bodies = _bodies(frame, np.flatnonzero(~static))
        views = tuple(_without_movers(view, bodies, grid) for view in wide.views)
        wide = replace(wide.kept(~np.isin(wide.flat, gone, assume_unique=True)), views=views)
    return OccupancyFrame(frame.flat[static], frame.labels[static], frame.world_from_grid, frame.stamp_s, wide=wide)


def _bodies(frame: OccupancyFrame, slots: np.ndarray) -> OccupancyFrame:
    """The voxels at some places [N] of a frame's arrays alone."""
    slots = np.sort(slots)
    return OccupancyFrame(frame.flat[slots], frame.labels[slots], frame.world_from_grid, frame.stamp_s)


def _without_movers(view: View, bodies: OccupancyFrame, grid: VoxelGrid) -> View:
    """A view of another grid without the movable voxels that bodies touch there."""
    volume = view.dense(grid)
    _take_movers(volume, bodies, grid, view.world_from_grid)
    stays = volume.reshape(-1)[view.flat] != FREE
    return replace(view, flat=view.flat[stays], labels=view.labels[stays])


def _take_movers(volume: np.ndarray, bodies: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray) -> None:
    """Free a class volume [X, Y, Z] of another grid of the movable voxels that bodies touch there."""
    touched, labels = touched_voxels(bodies, grid, world_from_target), volume.reshape(-1)
    labels[touched[IS_MOVABLE[labels[touched]]]] = FREE


def lay_bodies(volume: np.ndarray, frame: OccupancyFrame, grid: VoxelGrid, slots: Sequence[np.ndarray],
               world_motions: np.ndarray, world_from_target: np.ndarray) -> None:
    """Write the moved bodies of a frame into a class volume [X, Y, Z] of a later grid; where two meet, the first one is
    seen. Arguments as in `advanced_bodies`."""
    filled = [body for body, own in enumerate(slots) if len(own)]
    if filled:
        flat, labels = moved_voxels(frame, grid, [slots[body] for body in filled], world_motions[filled],
                                    world_from_target)
        volume.reshape(-1)[flat[::-1]] = labels[::-1]  # of voxels written twice the last one stays: the first body's


def moved_voxels(frame: OccupancyFrame, grid: VoxelGrid, slots: list[np.ndarray], world_motions: np.ndarray,
                 world_from_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Target voxels [M] of one or more bodies, one after the other, and their labels [M]: `warp` for each, all at
    once."""
    number = np.repeat(np.arange(len(slots)), [len(part) for part in slots])
    slots = np.concatenate(slots)
    target_from_source = invert(world_from_target) @ world_motions @ frame.world_from_grid  # [B, 4, 4]
    touched = centres_moved_apart(grid.unflatten(frame.flat[slots]), number, grid, target_from_source)
    touched = touched.astype(np.float32)
    offsets = touching_offsets(target_from_source[:, :3, :3])  # [B, 3, 9]
    touched = touched[:, None] + offsets.transpose(1, 2, 0)[:, :, number]  # [3, 9, N]
    flat, inside = voxels_at(touched, grid)
    owner, candidates = np.divmod(np.unique((flat + number * grid.num_voxels)[inside]), grid.num_voxels)
    places = centres_moved_apart(grid.unflatten(candidates), owner, grid, np.linalg.inv(target_from_source))
    sources, inside = voxels_at(places, grid)
    own = number * grid.num_voxels + frame.flat[slots]
    order = np.argsort(own)
    wanted = owner * grid.num_voxels + sources
    place = np.minimum(np.searchsorted(own, wanted, sorter=order), len(own) - 1)
    found = inside & (own[order[place]] == wanted)
    return candidates[found], frame.labels[slots[order[place[found]]]]


def centres_moved_apart(voxels: np.ndarray, number: np.ndarray, grid: VoxelGrid, poses: np.ndarray) -> np.ndarray:
    """`warp.moved_centres` of voxels [N, 3], each by that of the poses [B, 4, 4] which its number [N] names: [3, N]."""
    first_m = poses[:, :3, :3] @ grid.centres(np.zeros((1, 3)))[0] + poses[:, :3, 3] - grid.origin_m
    centres = (first_m / grid.voxel_size_m).T[:, number]
    for axis in range(3):
        centres += poses[:, :3, axis].T[:, number] * voxels[:, axis]
    return centres
