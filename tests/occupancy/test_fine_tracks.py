"""Bodies followed by returns: boxes that drive past parked ones, of which each frame shows the sides a sensor sees."""

from dataclasses import replace

import numpy as np
import pytest

from occflow.geometry import invert, planar_pose, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.bodies import tracked_bodies
from occflow.occupancy.fine_tracks import CELL_M, SPREAD_M, Plane, fine_motions, places_in
from occflow.occupancy.frame import OccupancyFrame, WideFrame
from occflow.occupancy.motion import clusters

GRID = VoxelGrid((-24.0, -24.0, -1.0), (60, 60, 4), 0.8)
CAR, PEDESTRIAN, BUILDING = 4, 7, 15
STAMPS_S = (0.0, 0.5, 1.0)


def sides(length_m: float, width_m: float, rng: np.random.Generator, count: int = 120) -> np.ndarray:
    """Points [N, 3] on the rear and the left side of a box about the origin."""
    rear = np.stack([np.full(count // 3, -length_m / 2), rng.uniform(-width_m / 2, width_m / 2, count // 3)])
    left = np.stack([rng.uniform(-length_m / 2, length_m / 2, count), np.full(count, width_m / 2)])
    xy = np.concatenate([rear, left], axis=1).T + rng.normal(0, 0.02, (count + count // 3, 2))
    return np.column_stack([xy, rng.uniform(-0.4, 1.0, len(xy))])


def street(objects: list, seed: int = 0) -> tuple[OccupancyFrame, ...]:
    """A history of objects (label, size, place at 1 s, velocity) before an ego that drives and turns: voxels that hold
    returns, and the returns; every third return is older than the last sweep, and lies where the object was then."""
    rng, frames = np.random.default_rng(seed), []
    for stamp_s in STAMPS_S:
        pose = planar_pose(3.0 * stamp_s, 0.3 * stamp_s, 0.1 * stamp_s)
        places, labels, lately = [], [], []
        for label, size_m, at_m, velocity in objects:
            local, late = sides(*size_m, rng), rng.random(160) >= 1 / 3
            when = np.where(late, stamp_s, stamp_s - 0.4) - 1.0
            world = local + np.array([*at_m, 0.0]) + when[:, None] * np.array([*velocity, 0.0])
            places.append(world), labels.append(np.full(160, label)), lately.append(late)
        inside_m = transform(invert(pose), np.concatenate(places))
        index, inside = GRID.indices(inside_m)
        flat, owners = np.unique(GRID.flatten(index[inside]), return_inverse=True)
        of = np.zeros(len(flat), dtype=np.uint8)
        of[owners] = np.concatenate(labels)[inside]
        wide = WideFrame(flat, of, pose, stamp_s, grid=GRID, places_m=inside_m[inside].T.astype(np.float32),
                         owners=owners, lately=np.concatenate(lately)[inside])
        frames.append(OccupancyFrame(flat, of, pose, stamp_s, wide=wide))
    return tuple(frames)


PARKED = [(CAR, (4.4, 1.8), (-12.0 + 6.0 * number, 8.0), (0.0, 0.0)) for number in range(4)]
DRIVES = (CAR, (4.4, 1.8), (2.0, -4.0), (7.3, 0.9))
WALKS = (PEDESTRIAN, (0.6, 0.5), (-4.0, -14.0), (-0.3, 1.3))


def in_world(velocity: np.ndarray, history: tuple[OccupancyFrame, ...]) -> np.ndarray:
    return velocity @ history[-1].world_from_grid[:2, :2].T


def nearest(history: tuple[OccupancyFrame, ...], place_m: tuple[float, float], bodies: list) -> int:
    """Which of some bodies or clusters is at a place in the world."""
    centres = [transform(history[-1].world_from_grid, GRID.centres(GRID.unflatten(history[-1].flat[one.slots])))
               for one in bodies]
    return int(np.argmin([np.hypot(*(centre.mean(axis=0)[:2] - place_m)) for centre in centres]))


@pytest.mark.parametrize("seed", range(3))
def test_what_moves_is_followed_below_the_size_of_a_voxel_and_what_stands_stands(seed):
    """A voxel is 0.8 m; the velocity is right to 0.3 m/s. A row of parked cars is none that drives."""
    history = street([*PARKED, DRIVES, WALKS], seed)
    found = clusters(history[-1], GRID)
    motion = fine_motions(found, history, GRID, np.zeros((len(found), 2)))
    for _, _, place_m, velocity in (DRIVES, WALKS, *PARKED):
        body = nearest(history, place_m, found)
        assert motion.found[body]
        said = in_world(motion.velocity_m_per_s[body], history)
        assert np.hypot(*(said - velocity)) < 0.3 and (any(velocity) or not said.any())


def test_bodies_take_the_velocity_of_their_returns_and_say_how_sure_it_is():
    history = street([*PARKED, DRIVES])
    bodies = tracked_bodies(history, GRID)
    body = bodies[nearest(history, DRIVES[2], bodies)]
    said = body.world_from_body[:2, :2] @ body.velocity_m_per_s
    assert np.hypot(*(said - DRIVES[3])) < 0.3 and body.confidence > 0.6
    assert np.allclose(body.centres_m[-1, :2] - body.centres_m[0, :2], DRIVES[3], atol=0.5)
    voxels_alone = tracked_bodies(tuple(replace(frame, wide=None) for frame in history), GRID)
    assert len(voxels_alone) == len(bodies)


def test_nothing_is_said_without_returns():
    """Of frames made in hindsight, a single one, some of a minute ago, a body that the last sweep did not meet."""
    history = street([DRIVES])
    found, still = clusters(history[-1], GRID), np.zeros((1, 2))
    assert fine_motions(found, tuple(replace(frame, wide=None) for frame in history), GRID, still) is None
    assert fine_motions(found, history[-1:], GRID, still) is None
    unmet = replace(history[-1], wide=replace(history[-1].wide, lately=np.zeros(160, dtype=bool)))
    motion = fine_motions(found, (*history[:-1], unmet), GRID, still)
    assert not motion.found.any() and not motion.velocity_m_per_s.any() and not motion.returns.any()
    old = tuple(replace(frame, stamp_s=frame.stamp_s - 60) for frame in history[:-1])
    assert fine_motions(found, (*old, history[-1]), GRID, still) is None
    gone = replace(history[0], wide=replace(history[0].wide, lately=np.zeros(160, dtype=bool)))
    motion = fine_motions(found, (gone, gone, history[-1]), GRID, still)
    assert not motion.agreement.any()


def test_places_of_a_body_are_those_in_its_voxels():
    frame = street([DRIVES, *PARKED])[-1]
    slots = clusters(frame, GRID)[0].slots
    which, places_m = places_in(frame, GRID, slots)
    index, inside = GRID.indices(places_m.T.astype(np.float64))
    assert inside.all() and np.array_equal(GRID.flatten(index), frame.flat[slots[which]])
    own = np.isin(frame.wide.owners, slots)
    assert own.sum() > len(which) == (own & frame.wide.lately).sum() > 0


def test_a_plane_has_at_every_place_the_nearest_one():
    """Against every pair: a Gaussian of the distance between cells, times the weight, the highest."""
    rng = np.random.default_rng(0)
    places_m, weights = rng.uniform(1, 5, (12, 2)), rng.uniform(0.3, 1, 12)
    plane = Plane.of(places_m, weights, np.zeros(2), (30, 30))
    cells = np.floor(places_m / CELL_M)
    for x, y in rng.integers(4, 26, (50, 2)):
        apart = np.array([x, y]) - cells
        values = weights * np.exp(-0.5 * (np.hypot(*apart.T) * CELL_M / SPREAD_M) ** 2)
        wanted = values[(np.abs(apart) <= 3).all(axis=1)].max(initial=0)
        assert plane.values[x, y] == pytest.approx(wanted, rel=1e-5)
        assert plane.at((np.array([x, y]) + 0.5) * CELL_M) == plane.values[x, y]
    assert plane.at(np.array([[-1.0, 2.0], [2.0, 7.0]])).tolist() == [0, 0]
