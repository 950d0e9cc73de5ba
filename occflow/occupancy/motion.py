"""Objects that move: found and tracked in an occupancy history, and moved on.

Nothing but the history is read; where a log has boxes, `eval.baselines` makes the same Mover of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label
from scipy.optimize import linear_sum_assignment

from occflow.geometry import transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import warp

MAX_SPEED_M_PER_S = 18.0  # faster is a wrong match
STANDING_M_PER_S = 0.8  # a voxel's rounding looks like this speed: slower objects are left where they are
UNSTEADY_M_PER_S, UNSTEADY_SHARE = 0.5, 0.25  # of a track's velocity, from one frame to the next
SIZE_WEIGHT_M = 2.0  # metres of distance that doubling in size counts for, when objects are matched
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Cluster:
    """Connected movable voxels of one class: their places [N] in the frame's arrays, and their centre in the world."""

    slots: np.ndarray
    label: int
    centre_m: np.ndarray


@dataclass(frozen=True)
class Mover:
    """Voxels of a frame (places [N] in its arrays) and their velocity [3] in the world, m/s."""

    slots: np.ndarray
    velocity_m_per_s: np.ndarray


def clusters(frame: OccupancyFrame, grid: VoxelGrid) -> list[Cluster]:
    """The movable objects of a frame, as connected voxels of one class."""
    found = []
    for wanted in MOVABLE_CLASSES:
        chosen = np.flatnonzero(frame.labels == wanted)
        if not len(chosen):
            continue
        voxels = grid.unflatten(frame.flat[chosen])
        lower = voxels.min(axis=0)
        volume = np.zeros(voxels.max(axis=0) - lower + 1, dtype=bool)
        volume[tuple((voxels - lower).T)] = True
        numbers = label(volume, NEIGHBOURS)[0][tuple((voxels - lower).T)]
        centres = transform(frame.world_from_grid, grid.centres(voxels))
        order = np.argsort(numbers, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            found.append(Cluster(chosen[part], wanted, centres[part].mean(axis=0)))
    return found


def match(now: list[Cluster], before: list[Cluster], seconds: float) -> dict[int, int]:
    """Pairs (index now -> index before) of one object, each used once: same class, near, of like size."""
    if not now or not before:
        return {}
    distance = np.linalg.norm(np.array([a.centre_m for a in now])[:, None]
                              - np.array([b.centre_m for b in before])[None], axis=2)
    sizes = np.log2([[len(a.slots) / len(b.slots) for b in before] for a in now])
    alike = np.array([[a.label == b.label for b in before] for a in now])
    possible = alike & (distance < MAX_SPEED_M_PER_S * seconds)
    cost = np.where(possible, distance + SIZE_WEIGHT_M * np.abs(sizes), 1e6)
    return {int(i): int(j) for i, j in zip(*linear_sum_assignment(cost)) if possible[i, j]}


def tracked_movers(history: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> list[Mover]:
    """The objects of the present that move: mean velocity over as much of the history as they are followed through.

    An object whose velocity differs from one frame to the next was matched to another one, or is half hidden.
    """
    present = history[-1]
    now = clusters(present, grid)
    tracks = [[(cluster.centre_m, present.stamp_s)] for cluster in now]  # back in time
    followed = {index: index for index in range(len(now))}  # object of the present -> its cluster in `later`
    later, later_s = now, present.stamp_s
    for frame in reversed(history[:-1]):
        earlier = clusters(frame, grid)
        pairs = match(later, earlier, later_s - frame.stamp_s)
        followed = {index: pairs[place] for index, place in followed.items() if place in pairs}
        for index, place in followed.items():
            tracks[index].append((earlier[place].centre_m, frame.stamp_s))
        later, later_s = earlier, frame.stamp_s
    movers = []
    for cluster, track in zip(now, tracks):
        velocity = steady_velocity(track)
        if velocity is not None and np.linalg.norm(velocity) > STANDING_M_PER_S:
            movers.append(Mover(cluster.slots, velocity))
    return movers


def steady_velocity(track: list[tuple[np.ndarray, float]]) -> np.ndarray | None:
    """Mean velocity [3], m/s, of a track of places [3] and seconds; None of a single place, or where the velocities
    between its places differ from their mean by more than UNSTEADY_SHARE of it and UNSTEADY_M_PER_S."""
    if len(track) < 2:
        return None
    places, seconds = np.array([place for place, _ in track]), np.array([stamp for _, stamp in track])
    mean = (places[0] - places[-1]) / (seconds[0] - seconds[-1])
    differ = np.linalg.norm(np.diff(places, axis=0) / np.diff(seconds)[:, None] - mean, axis=1)
    return mean if differ.max() <= max(UNSTEADY_M_PER_S, UNSTEADY_SHARE * np.linalg.norm(mean)) else None


def advanced(frame: OccupancyFrame, grid: VoxelGrid, movers: list[Mover], world_from_target: np.ndarray,
             stamp_s: float, candidates: np.ndarray | None = None) -> OccupancyFrame:
    """The frame in a later grid: the static world moved by the ego motion, movers by their own motion too.

    Movers win over what they reach; the place that they leave is free. `candidates` are the frame's
    `warp.touched_voxels` in the target, where the caller has them already.
    """
    static, parts = np.ones(len(frame.flat), dtype=bool), []
    for mover in movers:
        static[mover.slots] = False
        pose = frame.world_from_grid.copy()
        pose[:3, 3] += mover.velocity_m_per_s * (stamp_s - frame.stamp_s)
        part = OccupancyFrame(frame.flat[mover.slots], frame.labels[mover.slots], pose, stamp_s)
        parts.append(warp(part, grid, world_from_target))
    rest = OccupancyFrame(frame.flat[static], frame.labels[static], frame.world_from_grid, frame.stamp_s)
    parts.append(warp(rest, grid, world_from_target, candidates=candidates))
    flat, first = np.unique(np.concatenate([part.flat for part in parts]), return_index=True)
    labels = np.concatenate([part.labels for part in parts])
    return OccupancyFrame(flat, labels[first], world_from_target, stamp_s)
