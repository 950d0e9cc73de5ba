"""Hills: a smooth height that a flat town is laid over, with all that stands, drives and is seen in it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.simulation.draws import log_uniform

WAVES = 6
WAVELENGTH_M = (40.0, 400.0)
STEEPEST = 0.09  # of a draw's waves together: streets seldom climb more
EGO_HEIGHT_M, EGO_TILT_DEG = 0.15, 0.5  # standard deviations: an ego frame is on the road as well as it was measured


class Terrain:
    """A height above every place of the plane, h(x, y): a few sines.

    Args:
        waves: [K, 2] wave vectors, rad / m; phases: [K] rad; heights_m: [K].
        error: [4, 4] pose of the ego frame that is told in the true one.
    """

    def __init__(self, waves: np.ndarray, phases: np.ndarray, heights_m: np.ndarray, error: np.ndarray) -> None:
        self.waves, self.phases, self.heights_m, self.error = waves, phases, heights_m, error

    @classmethod
    def flat(cls) -> Terrain:
        """The plane itself, and an ego frame that is where it says."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.eye(4))

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Terrain:
        """Hills of any steepness up to the steepest, and an ego frame that is a little off."""
        lengths_m, headings = log_uniform(rng, *WAVELENGTH_M, WAVES), rng.uniform(0, 2 * np.pi, WAVES)
        waves = 2 * np.pi / lengths_m[:, None] * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        slopes = rng.dirichlet(np.ones(WAVES)) * STEEPEST * rng.random()
        error = np.eye(4)
        error[:3, :3] = Rotation.from_euler("xy", rng.normal(0, EGO_TILT_DEG, 2), degrees=True).as_matrix()
        error[2, 3] = rng.normal(0, EGO_HEIGHT_M)
        return cls(waves, rng.uniform(0, 2 * np.pi, WAVES), slopes * lengths_m / (2 * np.pi), error)

    def height_m(self, places: np.ndarray) -> np.ndarray:
        """[N, 2 or more] places, metres -> [N] heights."""
        return np.sin(places[:, :2] @ self.waves.T + self.phases) @ self.heights_m

    def lifted(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 3] of the flat world, where they are in this one."""
        lifted = points.astype(np.float64)
        lifted[:, 2] += self.height_m(points)
        return lifted

    def pose(self, flat: np.ndarray) -> np.ndarray:
        """A pose [4, 4] of the flat world, in this one: raised, and tilted as the ground is there."""
        return self.poses(flat[None])[0]

    def poses(self, flat: np.ndarray) -> np.ndarray:
        """`pose` of every one of [N, 4, 4]."""
        poses = flat.copy()
        if not len(self.heights_m) or not len(flat):
            return poses
        poses[:, 2, 3] += [self.height_m(place[None])[0] for place in flat[:, :2, 3]]
        tilts = np.array([self._tilt(place) for place in flat[:, :2, 3]])
        tilted = np.flatnonzero(tilts.any(axis=1))
        if len(tilted):
            poses[tilted, :3, :3] = Rotation.from_rotvec(tilts[tilted]).as_matrix() @ flat[tilted, :3, :3]
        return poses

    def _tilt(self, place: np.ndarray) -> np.ndarray:
        """Rotation vector [3] from upright to how the ground lies at a place [2]."""
        slope = (np.cos(place @ self.waves.T + self.phases) * self.heights_m) @ self.waves
        normal = np.array([-slope[0], -slope[1], 1.0]) / np.sqrt(1 + slope @ slope)
        axis = np.array([-normal[1], normal[0], 0.0])  # z x normal
        sine = np.linalg.norm(axis)
        return axis / sine * np.arcsin(sine) if sine > 0 else axis

    def seen(self, points_sensor: np.ndarray, world_from_sensor: np.ndarray, lifted_from_sensor: np.ndarray
             ) -> np.ndarray:
        """Points [N, 3] float32 of a sensor in the flat world, as it has them here.

        Rays were cast in the flat world: here they are bent as the ground is, by a hand's breadth where it is steep.
        """
        if not len(self.heights_m):
            return points_sensor
        world = points_sensor @ world_from_sensor[:3, :3].T + world_from_sensor[:3, 3]
        return ((self.lifted(world) - lifted_from_sensor[:3, 3]) @ lifted_from_sensor[:3, :3]).astype(np.float32)
