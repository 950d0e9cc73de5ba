"""Bodies: what may move of a present, each with its track through the history and the motion that goes on from it.

A body is a connected set of movable voxels, or a part of one that moves otherwise than the rest. Nothing but the
history is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from occflow.geometry import invert, planar_pose, planar_poses, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.ego_motion import STRAIGHT_RAD
from occflow.occupancy.fine_tracks import FineMotions, fine_motions
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import Cluster
from occflow.occupancy.tracks import Tracks, ages, tracked

# Fitted on the simulated training drives (studies/tracks.py measures what comes of it).
NEAR_S, FAR_S = 0.5, 1.0  # ages of the frames that velocities are taken from
LIGHT_CLASSES = (2, 6, 7)  # bicycle, motorcycle, pedestrian: too small to be seen to turn
LARGE_VOXELS = 12  # of 0.8 m: a car
LEAST_SIMILARITY = 0.5  # below it a cluster was not found
LEAST_SIMILARITY_TO_TURN = 0.6
TURN_WEIGHTS = (0.7, 0.6)  # of the turns since the near and the far frame, in that since the far one
TURN_NOISE_RAD = 0.12  # of it
SPEED_CHANGE_SHARE = (0.57, 0.25)  # of the change of speed between the two frames that is none of noise: large, small
COURSE_CHANGE_SHARE = 0.25  # the same, across
PLACE_NOISE_M = (0.4, 0.8)  # that looks like motion: of the light, of others
CONFIDENCE = (0.56, 3.77, -1.7, 1.38, -2.08, 0.31)  # weights of `_confidence`
FINE_CONFIDENCE = (0.92, 1.55, -0.12, -0.17, -0.56, 0.1)  # of `_fine_confidence`
SAME_MOTION_M_PER_S = 1.0  # of the velocity by voxels and that by returns: only then the turn by voxels is believed
ENTERED_SEEN = 0.75  # of a body, at most, lay where the far frame reached: one that came into view since
UNKNOWN_CHANGE_M_PER_S = 1.0  # of velocity, where a single earlier frame tells none
TURNING_M_PER_S = 0.5  # what is slower does not turn


@dataclass(frozen=True)
class Body:
    """Something that may move, at the present.

    Args:
        slots: places [N] of its voxels in the present's arrays.
        label: its class.
        world_from_body: pose [4, 4] at the centre of its voxels, z as that of the present's grid, off the road, x along
            its heading: where it goes, and of what stands its longest side.
        velocity_m_per_s: [2] along its x and y; zero where it stands, or nobody knows.
        yaw_rate_rad_per_s: its turn.
        confidence: 0 (seen once, or not found in the frame before) to 1: how probably the velocity is right to 0.5 m/s
            or a fifth of it, as often as it was on the drives that it was fitted to.
        centres_m: [P, 3] centre of its present shape in the world at every instant of the history, nan where it was
            not found.
    """

    slots: np.ndarray
    label: int
    world_from_body: np.ndarray
    velocity_m_per_s: np.ndarray
    yaw_rate_rad_per_s: float
    confidence: float
    centres_m: np.ndarray

    def poses(self, seconds: np.ndarray) -> np.ndarray:
        """Poses [F, 4, 4] after some seconds [F], where it goes on at constant velocity and turn: on an arc."""
        return self.world_from_body @ arcs(self.velocity_m_per_s[None], np.array([self.yaw_rate_rad_per_s]), seconds)[0]


def arcs(velocity_m_per_s: np.ndarray, yaw_rate_rad_per_s: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Poses [N, F, 4, 4], each in the frame that its body has now, after some seconds [F] at a constant velocity [N, 2]
    in its own frame and turn [N]."""
    return planar_poses(arc_offsets(velocity_m_per_s, yaw_rate_rad_per_s, seconds))


def arc_offsets(velocity_m_per_s: np.ndarray, yaw_rate_rad_per_s: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Where `arcs` lead: along and across the heading, metres, and turn, radians, [N, F, 3]."""
    seconds = np.asarray(seconds, dtype=np.float64)
    turn = yaw_rate_rad_per_s[:, None] * seconds
    small = np.abs(turn) < STRAIGHT_RAD
    angle = np.where(small, 1.0, turn)
    sine, versine = (np.where(small, straight, value / angle)
                     for straight, value in ((1.0, np.sin(turn)), (0.0, 1 - np.cos(turn))))
    x, y = np.moveaxis(velocity_m_per_s[:, None] * seconds[:, None], -1, 0)
    return np.stack([sine * x - versine * y, versine * x + sine * y, turn], axis=-1)


def tracked_bodies(history: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> list[Body]:
    """The bodies of the present, in the order of `motion.clusters`, the parts of one after the other."""
    tracks = tracked(history, grid)
    if tracks is None:
        return []
    present = history[-1]
    tracks, motion = _followed_by_returns(tracks, motions_of(tracks, ages(history)), history, grid)
    speeds = np.hypot(*motion.velocity_m_per_s.T)
    headings = np.where(speeds > 0, np.arctan2(*motion.velocity_m_per_s.T[::-1]),
                        longest_sides(tracks.clusters, present, grid))
    found = tracks.similarity > LEAST_SIMILARITY
    centres = np.repeat(tracks.middles_m[:, None], len(history), axis=1)  # [B, P, 3]
    centres[:, :-1, :2] -= np.where(found[..., None], tracks.shifts_m, np.nan)
    centres[:, :-1, 2][~found] = np.nan
    centres = transform(present.world_from_grid, centres.reshape(-1, 3)).reshape(centres.shape)
    return [Body(cluster.slots, cluster.label, present.world_from_grid @ planar_pose(*middle[:2], heading, middle[2]),
                 np.array([speed, 0.0]), float(turn), float(confidence), track)
            for cluster, middle, heading, speed, turn, confidence, track in zip(
                tracks.clusters, tracks.middles_m, headings, speeds, motion.yaw_rate_rad_per_s, motion.confidence,
                centres)]


def _followed_by_returns(tracks: Tracks, motion: Motions, history: tuple[OccupancyFrame, ...],
                         grid: VoxelGrid) -> tuple[Tracks, Motions]:
    """Tracks and motions, those of bodies that returns tell of in place of what voxels do."""
    fine = fine_motions(tracks.clusters, history, grid, motion.velocity_m_per_s)
    if fine is None or not fine.found.any():
        return tracks, motion
    found, velocity = fine.found, fine.velocity_m_per_s
    agree = np.hypot(*(velocity - motion.velocity_m_per_s).T) < SAME_MOTION_M_PER_S
    shifts_m = np.where(found[:, None, None], velocity[:, None] * ages(history)[:, None], tracks.shifts_m)
    similarity = np.where((found & ~agree)[:, None], fine.agreement[:, None], tracks.similarity)
    return replace(tracks, shifts_m=shifts_m, similarity=similarity), Motions(
        np.where(found[:, None], velocity, motion.velocity_m_per_s),
        np.where(found & ~agree, 0.0, motion.yaw_rate_rad_per_s),
        np.where(found, _fine_confidence(fine), motion.confidence))


def _fine_confidence(fine: FineMotions) -> np.ndarray:
    """As `_confidence`, of velocities by returns: of agreement, gain over standing, speed and the number of returns."""
    speeds = np.hypot(*fine.velocity_m_per_s.T)
    terms = np.stack([np.ones(len(speeds)), fine.agreement, np.maximum(fine.gain, 0), np.minimum(speeds, 10.0) / 10,
                      speeds > 0, np.log(np.maximum(fine.returns, 1))])
    return 1 / (1 + np.exp(-np.array(FINE_CONFIDENCE) @ terms))


@dataclass(frozen=True)
class Motions:
    """How B bodies move in the plane of the present's grid: velocities [B, 2] along its axes, yaw rates [B], and how
    sure that is, [B]."""

    velocity_m_per_s: np.ndarray
    yaw_rate_rad_per_s: np.ndarray
    confidence: np.ndarray


def motions_of(tracks: Tracks, ages_s: np.ndarray) -> Motions:
    """Velocity now and turn, of the places in the frames some half and some whole second ago.

    The mean over the second has the least noise, the last half of it is nearer to now: the former, and as much of the
    difference as its noise leaves of it, along the way and across. What is no more than noise is zero, and what is
    more comes near to itself (the non-negative garrote, Breiman 1995).
    """
    number = len(tracks.clusters)
    if not len(ages_s):
        return Motions(np.zeros((number, 2)), np.zeros(number), np.zeros(number))
    far = np.abs(ages_s - FAR_S).argmin()
    near = np.abs(np.where(np.arange(len(ages_s)) == far, np.inf, ages_s) - NEAR_S).argmin() if len(ages_s) > 1 else far
    sizes = np.array([len(cluster.slots) for cluster in tracks.clusters])
    people = np.isin([cluster.label for cluster in tracks.clusters], LIGHT_CLASSES)
    large = ~people & (sizes >= LARGE_VOXELS)
    similarity = tracks.similarity[:, [near, far]]
    found = similarity > LEAST_SIMILARITY
    steady = large & (similarity.min(axis=1) > LEAST_SIMILARITY_TO_TURN)
    turn = sum(weight * tracks.turns_rad[:, frame] for weight, frame in zip(TURN_WEIGHTS, (near, far))) / ages_s[far]
    turn = garrote(turn, TURN_NOISE_RAD / ages_s[far]) * steady
    whole, half = (turned(tracks.shifts_m[:, frame] / ages_s[frame], turn * ages_s[frame] / 2) for frame in (far, near))
    along = whole / np.maximum(np.hypot(*whole.T), 1e-9)[:, None]
    across, change = np.stack([-along[:, 1], along[:, 0]], axis=1), half - whole
    velocity = whole + along * (np.where(large, *SPEED_CHANGE_SHARE) * (change * along).sum(axis=1))[:, None]
    velocity += across * (COURSE_CHANGE_SHARE * (change * across).sum(axis=1))[:, None]
    entered = found[:, 0] & (tracks.seen[:, far] < ENTERED_SEEN)  # elsewhere it would have been found
    velocity = np.where(found.all(axis=1)[:, None], velocity, np.where(entered[:, None], half, 0.0))
    baseline_s = np.where(found[:, 1], ages_s[far], ages_s[near])
    speed = np.hypot(*velocity.T)
    shrunk = garrote(speed, np.where(people, *PLACE_NOISE_M) / baseline_s)
    velocity = velocity * (shrunk / np.maximum(speed, 1e-9))[:, None]
    turn = np.where(shrunk > TURNING_M_PER_S, turn, 0.0)
    differ = np.hypot(*change.T) if near != far else np.full(number, UNKNOWN_CHANGE_M_PER_S)
    confidence = _confidence(similarity.min(axis=1), differ, shrunk, people)
    return Motions(velocity, turn, np.where(found[:, 0], confidence, 0.0))


def _confidence(similarity: np.ndarray, change: np.ndarray, speeds: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Chance [B] that a velocity is right to 0.5 m/s, or a fifth of it: logistic, of the least similarity, the change
    of velocity between the two frames and the speed, m/s, and of what it is."""
    terms = np.stack([np.ones(len(speeds)), similarity, np.minimum(change, 4.0), np.minimum(speeds, 10.0) / 10,
                      speeds > 0, people])
    return 1 / (1 + np.exp(-np.array(CONFIDENCE) @ terms))


def garrote(values: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
    """Values [B] drawn towards zero: all the way within the noise, hardly where they are far beyond it."""
    return values * np.maximum(1 - (noise / np.maximum(np.abs(values), 1e-9)) ** 2, 0.0)


def turned(vectors: np.ndarray, angles_rad: np.ndarray) -> np.ndarray:
    """Vectors [B, 2], each turned by its angle [B]."""
    cos, sin = np.cos(angles_rad), np.sin(angles_rad)
    return np.stack([cos * vectors[:, 0] - sin * vectors[:, 1], sin * vectors[:, 0] + cos * vectors[:, 1]], axis=1)


def longest_sides(clusters: list[Cluster], frame: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    """Headings [B], radians in the frame's grid, of the longest axes of clusters seen from above."""
    sizes = np.array([len(cluster.slots) for cluster in clusters])
    places = grid.unflatten(frame.flat[np.concatenate([cluster.slots for cluster in clusters])])[:, :2].astype(float)
    first = np.cumsum(sizes) - sizes
    places -= np.repeat(np.add.reduceat(places, first) / sizes[:, None], sizes, axis=0)
    x, y = places.T
    spread, tilt = (np.add.reduceat(values, first) for values in (x * x - y * y, 2 * x * y))
    return np.arctan2(tilt, spread) / 2


def world_motions(bodies: Sequence[Body], seconds: np.ndarray) -> np.ndarray:
    """What takes each body from its place now to that after some seconds [F] (`Body.poses`): [F, B, 4, 4], world.

    Exactly the identity for bodies that stand.
    """
    return motions_to(bodies, tracked_offsets(bodies, seconds)).swapaxes(0, 1)


def motions_to(bodies: Sequence[Body], offsets: np.ndarray) -> np.ndarray:
    """What takes bodies from where they are to offsets [N, F, 3] (along and across their heading, metres; turn,
    radians) in the plane: [N, F, 4, 4] in the world."""
    poses, back = _places(bodies)
    moved = poses @ planar_poses(offsets) @ back
    moved[(offsets == 0).all(axis=2)] = np.eye(4)  # exactly: what stands is part of the static world
    return moved


def tracked_offsets(bodies: Sequence[Body], seconds: np.ndarray) -> np.ndarray:
    """Where bodies are after some seconds [F] if they go on as tracked, [N, F, 3], as in `motions_to`."""
    velocity = np.array([body.velocity_m_per_s for body in bodies]).reshape(-1, 2)
    return arc_offsets(velocity, np.array([body.yaw_rate_rad_per_s for body in bodies]), seconds)


def offsets_of(bodies: Sequence[Body], motions: np.ndarray) -> np.ndarray:
    """The inverse of `motions_to` for motions [N, F, 4, 4] in the world: [N, F, 3]; nan stays nan."""
    poses, back = _places(bodies)
    moved = back @ motions @ poses
    return np.concatenate([moved[..., :2, 3], np.arctan2(moved[..., 1, 0], moved[..., 0, 0])[..., None]], axis=-1)


def _places(bodies: Sequence[Body]) -> tuple[np.ndarray, np.ndarray]:
    """Poses [N, 1, 4, 4] of bodies in the world, and their inverses."""
    poses = np.array([body.world_from_body for body in bodies]).reshape(-1, 1, 4, 4)
    return poses, np.array([invert(pose) for pose in poses[:, 0]]).reshape(poses.shape)
