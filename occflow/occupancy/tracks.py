"""Clusters of the present followed back through the history, and parted where their voxels move differently."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix

from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.alignment import Alignment, HeightMaps, Shapes
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import MAX_SPEED_M_PER_S, SIZE_WEIGHT_M, Cluster, clusters

LEAST_AGE_S = 1e-3  # of a frame of the same instant: nothing moves between them
MOST_PAIRS = 6  # earlier clusters that one of the present may have been
ALIKE_OCTAVES = 0.25  # a change of size beyond which edges may say more than centres
SHORT_COST = 0.01  # of similarity, a metre: of two places that agree as well, the nearer one
SPEED_CHANGE_M = 0.8  # a place may lie this much before or behind the one that a constant velocity foretells
SAME_PLACE_M = 1.2  # a cluster so near is the one that stood there
NOBODY = -1  # in place of an earlier cluster
SHARING_COST = 0.3  # of similarity in two frames, for having been one cluster with another
MOST_SHARED_OUT = 200  # clusters; of more, which are noise, each takes what is best for it
KEPT_GUESSES = 4  # of a cluster that are looked at in a second frame

UNLIKE = 0.85  # similarity below which a large cluster may be several objects
LARGE_M2, PART_M2 = 5.0, 1.9  # seen from above: a car is 8, a pedestrian 0.6; smaller is not parted
UNEXPLAINED = 0.3  # of the height there: a part that moves otherwise
WORTH = 0.3  # of the mismatch that must vanish for a cluster to be parted
OVERLAP = 0.4  # of the smaller part with the other one in the frame before, at most
MOST_PARTED = 8  # clusters that are tried, the largest ones
SEARCHED_M = 10.0  # about a part, where frames are far apart
MANY_COLUMNS = 1024  # of a cluster: an object of 0.2 m voxels. The square of more would fill the memory
LOOKED_AT = 32  # columns of a part that is searched for
FINALISTS = 12  # of a search in one frame that are looked at in the other


@dataclass(frozen=True)
class Tracks:
    """Where B clusters of the present were, in the plane of the present's grid.

    Args:
        clusters: of the present, in the order of `motion.clusters`, the parts of one after the other.
        middles_m: [B, 3] their centres in the present's grid.
        shifts_m: [B, P - 1, 2] how far each has moved since each earlier frame; turns_rad: [B, P - 1] how much turned.
        similarity: [B, P - 1] how well its shape agrees there, 0 (not found) to 1.
        seen: [B, P - 1] how much of it would have been in the grid.
    """

    clusters: list[Cluster]
    middles_m: np.ndarray
    shifts_m: np.ndarray
    turns_rad: np.ndarray
    similarity: np.ndarray
    seen: np.ndarray


def ages(history: tuple[OccupancyFrame, ...]) -> np.ndarray:
    """Seconds [P - 1] from each earlier frame to the present."""
    return np.maximum(history[-1].stamp_s - np.array([frame.stamp_s for frame in history[:-1]]), LEAST_AGE_S)


def tracked(history: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> Tracks | None:
    """The clusters of the present with their tracks; None where there are none."""
    now = clusters(history[-1], grid)
    if not now:
        return None
    shapes = Shapes.of(now, history[-1], grid)
    if len(history) == 1:
        nothing = np.zeros((len(now), 0))
        return Tracks(now, shapes.middles_m, np.zeros((len(now), 0, 2)), nothing, nothing, nothing)
    maps = HeightMaps(history, grid, np.unique(shapes.labels))
    alignment = Alignment(history, grid, shapes, maps)
    ages_s = ages(history)
    previous = clusters(history[-2], grid)
    guesses = _guesses(shapes, previous, history, grid) if previous else _still(len(now))
    tracks = _aligned(now, shapes, alignment, ages_s, _best_guess(alignment, *guesses, ages_s))
    return _parted(tracks, alignment, history, grid, maps, ages_s)


def _still(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hypotheses that nothing has moved, as `_guesses`, of no cluster."""
    return np.arange(number), np.zeros((number, 2)), np.full(number, NOBODY)


def _guesses(shapes: Shapes, previous: list[Cluster], history: tuple[OccupancyFrame, ...],
             grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hypotheses, clusters [H] and shifts [H, 2], since the frame before, and which cluster [H] of it they were then: a
    cluster stands, or its centre or edges, where sizes differ since one of the two is merged or half hidden, were those
    of an earlier one."""
    before = Shapes.of(previous, history[-2], grid, invert(history[-1].world_from_grid) @ history[-2].world_from_grid)
    reach_m = MAX_SPEED_M_PER_S * ages(history)[-1]
    gaps = shapes.middles_m[:, None, :2] - before.middles_m[None, :, :2]
    distance = np.hypot(gaps[..., 0], gaps[..., 1])
    octaves = np.abs(np.log2(shapes.sizes[:, None] / before.sizes))
    longer = (shapes.high_m - shapes.low_m)[:, None] - (before.high_m - before.low_m)
    cost = distance + SIZE_WEIGHT_M * octaves
    too_far = distance > reach_m + np.hypot(longer[..., 0], longer[..., 1]) / 2
    cost[too_far | (shapes.labels[:, None] != before.labels)] = np.inf
    if cost.shape[1] > MOST_PAIRS:
        cost[cost > np.partition(cost, MOST_PAIRS - 1, axis=1)[:, MOST_PAIRS - 1:MOST_PAIRS]] = np.inf
    one, other = np.nonzero(np.isfinite(cost))
    still = np.where(np.isfinite(cost), distance, np.inf)
    same = np.where(still.min(axis=1) < SAME_PLACE_M, still.argmin(axis=1), NOBODY)
    found = [(*_still(len(shapes.sizes))[:2], same), (one, gaps[one, other], other)]
    unlike = octaves[one, other] > ALIKE_OCTAVES
    one, other = one[unlike], other[unlike]
    aligned = np.stack([gaps[one, other], shapes.low_m[one] - before.low_m[other],
                        shapes.high_m[one] - before.high_m[other]])  # [centre low high, H, 2]
    found += [(one, np.stack([aligned[x, :, 0], aligned[y, :, 1]], axis=1), other)
              for x in range(3) for y in range(3) if x or y]
    bodies, shifts_m, earlier = (np.concatenate(part) for part in zip(*found))
    possible = np.hypot(*shifts_m.T) < reach_m
    return bodies[possible], shifts_m[possible], earlier[possible]


def _best_guess(alignment: Alignment, bodies: np.ndarray, shifts_m: np.ndarray, earlier: np.ndarray,
                ages_s: np.ndarray) -> np.ndarray:
    """The shift [B, 2] of each cluster since the frame before that agrees best with it, and with the one before that
    at about the same velocity; two that were one cluster then have to be better for it."""
    newest = len(ages_s) - 1
    worth = alignment.similarity(bodies, newest, shifts_m) - SHORT_COST * np.hypot(*shifts_m.T)
    order = np.lexsort((-worth, bodies))
    first = np.flatnonzero(np.diff(bodies[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
    kept = order[rank < KEPT_GUESSES]
    bodies, shifts_m, worth, earlier = bodies[kept], shifts_m[kept], worth[kept], earlier[kept]
    if newest > 0:
        worth = worth + _before(alignment, bodies, newest - 1, shifts_m, ages_s)[1]
    order = np.lexsort((-worth, bodies))
    best = order[np.flatnonzero(np.diff(bodies[order], prepend=-1))]
    claimed = earlier[best][earlier[best] != NOBODY]
    if len(best) <= MOST_SHARED_OUT and len(np.unique(claimed)) < len(claimed):
        best = _shared_out(bodies, earlier, worth, best)
    return shifts_m[best]


def _shared_out(bodies: np.ndarray, earlier: np.ndarray, worth: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Hypotheses [B], one of each cluster, that together are worth most, where two of one earlier cluster cost."""
    number, claims = len(best), earlier != NOBODY
    columns = earlier.max() + 1
    value, hypothesis = np.full((number, columns + number), -np.inf), np.zeros((number, columns + number), dtype=int)
    order = np.argsort(worth, kind="stable")  # the best one of a pair is written last
    chosen = order[claims[order]]
    for table, values in ((value, worth[chosen]), (hypothesis, chosen)):
        table[bodies[chosen], earlier[chosen]] = values
    alone = columns + np.arange(number)
    value[np.arange(number), alone] = worth[best] - SHARING_COST * claims[best]
    hypothesis[np.arange(number), alone] = best
    rows, places = linear_sum_assignment(np.where(np.isfinite(value), -value, 1e6))
    return hypothesis[rows, places]


def _before(alignment: Alignment, bodies: np.ndarray, frame: int, shifts_m: np.ndarray,
            ages_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts [H, 2] since a frame that go on from those [H, 2] since the frame after it, and their similarity [H]."""
    going_on = shifts_m * (ages_s[frame] / ages_s[frame + 1])
    length = np.linalg.norm(shifts_m, axis=1, keepdims=True)
    along = SPEED_CHANGE_M * shifts_m / np.maximum(length, 1e-9)
    options = np.stack([going_on, going_on - along, going_on + along])
    similarity = np.stack([alignment.similarity(bodies, frame, option) for option in options])
    best = similarity.argmax(axis=0), np.arange(len(bodies))
    return options[best], similarity[best]


def _aligned(now: list[Cluster], shapes: Shapes, alignment: Alignment, ages_s: np.ndarray,
             shifts_m: np.ndarray, earlier_m: np.ndarray | None = None) -> Tracks:
    """Tracks from shifts [B, 2] since the frame before, frame by frame back; where it is known, from those [B, 2] since
    the one before it too."""
    bodies, turns, found = np.arange(len(now)), np.zeros(len(now)), []
    for frame in range(len(ages_s) - 1, -1, -1):
        if found:
            known = frame == len(ages_s) - 2 and earlier_m is not None
            shifts_m = earlier_m if known else _before(alignment, bodies, frame, shifts_m, ages_s)[0]
            turns = turns * (ages_s[frame] / ages_s[frame + 1])
        found.append(alignment.refined(bodies, frame, shifts_m, turns, ages_s[frame]))
        shifts_m, turns = found[-1][:2]
    return Tracks(now, shapes.middles_m, *(np.stack(part, axis=1) for part in zip(*found[::-1])))


def _parted(tracks: Tracks, alignment: Alignment, history: tuple[OccupancyFrame, ...], grid: VoxelGrid,
            maps: HeightMaps, ages_s: np.ndarray) -> Tracks:
    """The tracks, large clusters of which a part moves otherwise than the rest replaced by their parts."""
    area_m2 = np.bincount(alignment.owner, alignment.own, len(tracks.clusters)) * grid.voxel_size_m ** 2
    doubtful = np.flatnonzero((tracks.similarity[:, -2:].mean(axis=1) < UNLIKE) & (area_m2 >= LARGE_M2))
    doubtful = doubtful[np.argsort(-area_m2[doubtful], kind="stable")[:MOST_PARTED]]
    cuts = {body: cut for body in doubtful.tolist()
            if (cut := _cut(body, tracks, alignment, maps, ages_s)) is not None}
    if not cuts:
        return tracks
    parts, starts, present = [], [], history[-1]
    for body, (columns, shifts_m) in cuts.items():
        slots = tracks.clusters[body].slots
        voxels = grid.unflatten(present.flat[slots])
        apart = np.isin(voxels[:, 0] * grid.shape[1] + voxels[:, 1],
                        alignment.xy[columns, 0] * grid.shape[1] + alignment.xy[columns, 1])
        for chosen, start in ((~apart, tracks.shifts_m[body, -2:]), (apart, shifts_m)):
            centre = transform(present.world_from_grid, grid.centres(voxels[chosen]).mean(axis=0))
            parts.append(Cluster(slots[chosen], tracks.clusters[body].label, centre))
            starts.append(start)
    shapes, starts = Shapes.of(parts, present, grid), np.stack(starts)
    anew = _aligned(parts, shapes, Alignment(history, grid, shapes, maps), ages_s, starts[:, -1], starts[:, 0])
    whole = [body for body in range(len(tracks.clusters)) if body not in cuts]
    order = np.argsort(np.concatenate([whole, np.repeat(list(cuts), 2)]), kind="stable")
    together = [tracks.clusters[body] for body in whole] + anew.clusters
    return Tracks([together[place] for place in order],
                  *(np.concatenate([getattr(tracks, name)[whole], getattr(anew, name)])[order]
                    for name in ("middles_m", "shifts_m", "turns_rad", "similarity", "seen")))


def _cut(body: int, tracks: Tracks, alignment: Alignment, maps: HeightMaps,
         ages_s: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Columns of a cluster that move otherwise than it, and their shifts [1 or 2, 2] since the last frames; or None.

    What the cluster's own motion leaves unexplained is searched for in the last frames, all about; columns then go to
    the motion that explains them and their neighbours better.
    """
    frames = np.arange(len(ages_s))[-2:]
    columns = alignment.first[body] + np.arange(alignment.count[body])
    own, xy = alignment.own[columns], alignment.xy[columns]
    near = _means(xy)
    fewest = PART_M2 / alignment.voxel_m ** 2

    def mismatch(shifts_m: np.ndarray, chosen: np.ndarray = columns) -> np.ndarray:
        return sum(alignment.mismatch(chosen, frame, shifts_m[:, place]) for place, frame in enumerate(frames))

    left = near @ mismatch(tracks.shifts_m[body:body + 1, -2:])[0]
    strange = own & (left > UNEXPLAINED * len(frames) * (near @ alignment.heights[columns]))
    if strange.sum() < fewest:
        return None
    beside = ~own & alignment.usable[columns] & (near @ strange > 0)
    looked_at = columns[strange | beside]
    looked_at = looked_at[np.linspace(0, len(looked_at) - 1, min(LOOKED_AT, len(looked_at))).astype(int)]
    shifts_m = all_about(min(MAX_SPEED_M_PER_S * ages_s[-1], SEARCHED_M), alignment.voxel_m)
    cost = alignment.mismatch(looked_at, frames[-1], shifts_m).sum(axis=1)
    finalists = shifts_m[np.argpartition(cost, FINALISTS)[:FINALISTS]] if len(cost) > FINALISTS else shifts_m
    finalists = finalists[:, None] * (ages_s[frames] / ages_s[-1])[:, None]  # [H, frames, 2]
    best = finalists[mismatch(finalists, looked_at).sum(axis=1).argmin()]
    otherwise = near @ mismatch(best[None])[0]
    apart = own & (otherwise < left)
    if min(apart.sum(), (own & ~apart).sum()) < fewest:
        return None
    if np.minimum(left, otherwise)[own].sum() > (1 - WORTH) * left[own].sum():
        return None
    if _overlap(alignment, columns[own & ~apart], tracks.shifts_m[body, -1], columns[apart], best[-1]) > OVERLAP:
        return None
    return columns[apart], best


def _means(xy: np.ndarray) -> np.ndarray | csr_matrix:
    """[N, N], what takes the mean over each of a cluster's columns [N, 2], in their order, and those next to it; sparse
    where they are MANY_COLUMNS: a street that is badly perceived may be one cluster of all that the grid has."""
    x, y = (xy - xy.min(axis=0) + 1).T
    width = y.max() + 2  # a free margin: no neighbour across the edge
    keys, sides = x * width + y, np.array([-1, 0, 1])
    wanted = keys[:, None] + (sides[:, None] * width + sides).reshape(-1)
    other = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = keys[other] == wanted
    count = found.sum(axis=1)
    if len(keys) > MANY_COLUMNS:
        return csr_matrix((np.repeat(1 / count, count), other[found], np.cumsum([0, *count])), (len(keys), len(keys)))
    means = np.zeros((len(keys), len(keys)))
    means[np.repeat(np.arange(len(keys)), count), other[found]] = np.repeat(1 / count, count)
    return means


def _overlap(alignment: Alignment, one: np.ndarray, one_m: np.ndarray, other: np.ndarray, other_m: np.ndarray) -> float:
    """Share of the smaller of two sets of columns that lay in the other one in the frame before, by their shifts [2]:
    two objects do not, a single one that was matched in two ways does."""
    before = [set(map(tuple, np.rint(alignment.xy[columns] - shift_m / alignment.voxel_m).astype(int).tolist()))
              for columns, shift_m in ((one, one_m), (other, other_m))]
    return len(before[0] & before[1]) / min(map(len, before))


def all_about(reach_m: float, step_m: float) -> np.ndarray:
    """Shifts [H, 2] to all places of a lattice within reach."""
    steps = np.arange(-int(reach_m / step_m), int(reach_m / step_m) + 1) * step_m
    shifts_m = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return shifts_m[np.hypot(*shifts_m.T) <= reach_m]
