"""Bodies: what may move of a present, each with its track through the history and the motion that goes on from it.

A body is a connected set of movable voxels. Nothing but the history is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.geometry import planar_pose, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.ego_motion import STRAIGHT_RAD
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import STANDING_M_PER_S, clusters, match, steady_velocity


@dataclass(frozen=True)
class Body:
    """Something that may move, at the present.

    Args:
        slots: places [N] of its voxels in the present's arrays.
        label: its class.
        world_from_body: pose [4, 4] at the centre of its voxels, z up, x along its heading: where it goes, and of what
            stands its longest side.
        velocity_m_per_s: [2] along its x and y; zero where it stands, or nobody knows.
        yaw_rate_rad_per_s: its turn.
        confidence: of velocity and turn, 0 (seen once, or every frame says something else) to 1.
        centres_m: [P, 3] centre in the world at every instant of the history, nan where it was not found.
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
    seconds = np.asarray(seconds, dtype=np.float64)
    turn = yaw_rate_rad_per_s[:, None] * seconds
    small = np.abs(turn) < STRAIGHT_RAD
    angle = np.where(small, 1.0, turn)
    sine, versine = (np.where(small, straight, value / angle)
                     for straight, value in ((1.0, np.sin(turn)), (0.0, 1 - np.cos(turn))))
    moved = velocity_m_per_s[:, None] * seconds[:, None]
    poses = np.zeros((*turn.shape, 4, 4))
    poses[..., 0, 0] = poses[..., 1, 1] = np.cos(turn)
    poses[..., 1, 0] = np.sin(turn)
    poses[..., 0, 1] = -poses[..., 1, 0]
    poses[..., 2, 2] = poses[..., 3, 3] = 1
    poses[..., 0, 3] = sine * moved[..., 0] - versine * moved[..., 1]
    poses[..., 1, 3] = versine * moved[..., 0] + sine * moved[..., 1]
    return poses


def tracked_bodies(history: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> list[Body]:
    """The bodies of the present, in the order of `motion.clusters`."""
    present, stamps_s = history[-1], [frame.stamp_s for frame in history]
    now = clusters(present, grid)
    centres = np.full((len(now), len(history), 3), np.nan)
    centres[:, -1] = [cluster.centre_m for cluster in now] or np.zeros((0, 3))
    followed = {index: index for index in range(len(now))}  # body -> its cluster in `later`
    later = now
    for place in range(len(history) - 2, -1, -1):
        earlier = clusters(history[place], grid)
        pairs = match(later, earlier, stamps_s[place + 1] - stamps_s[place])
        followed = {index: pairs[one] for index, one in followed.items() if one in pairs}
        for index, one in followed.items():
            centres[index, place] = earlier[one].centre_m
        later = earlier
    bodies = []
    for cluster, track in zip(now, centres):
        seen = np.flatnonzero(np.isfinite(track[:, 0]))[::-1]
        velocity = steady_velocity([(track[place], stamps_s[place]) for place in seen])
        moves = velocity is not None and np.linalg.norm(velocity) > STANDING_M_PER_S
        heading = np.arctan2(velocity[1], velocity[0]) if moves else _longest_side(present, grid, cluster.slots)
        speed = np.linalg.norm(velocity[:2]) if moves else 0.0
        pose = planar_pose(*cluster.centre_m[:2], heading, cluster.centre_m[2])
        bodies.append(Body(cluster.slots, cluster.label, pose, np.array([speed, 0.0]), 0.0,
                           0.0 if velocity is None else 1.0, track))
    return bodies


def _longest_side(frame: OccupancyFrame, grid: VoxelGrid, slots: np.ndarray) -> float:
    """Heading, radians, of the longest axis of some voxels in the plane of the world."""
    places = transform(frame.world_from_grid, grid.centres(grid.unflatten(frame.flat[slots])))[:, :2]
    values, vectors = np.linalg.eigh(np.cov(places.T, bias=True) if len(places) > 1 else np.eye(2))
    return float(np.arctan2(vectors[1, 1], vectors[0, 1]))
