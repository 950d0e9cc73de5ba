"""The sensor: a spinning LiDAR by ray casting (Embree, through embreex).

Like an HDL-32E it turns clockwise, beginning and ending behind the vehicle, and its stamp is the end of the
revolution. With motion during the revolution a point is written where the sensor saw it, in the sensor frame of the
instant of its own firing, and nobody has corrected it: the raw data that nuScenes has, too. Who wants the points of one
instant moves every point by the vehicle's motion between `stamp - REVOLUTION_S * (1 - turned share)` and the stamp,
where the turned share is (-90 degrees - azimuth) mod 360 degrees over 360, azimuth counted from x (right) to y (ahead).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from occflow.errors import InputError
from occflow.records import one_line
from occflow.simulation.boxes import CATEGORIES, Boxes, Triangles
from occflow.simulation.draws import log_uniform
from occflow.simulation.locality import Locality
from occflow.simulation.settings import SimulationSettings

MIN_RANGE_M = 1.0
GRASS, LEAVES = CATEGORIES.index("flat.terrain"), CATEGORIES.index("static.vegetation")
PAVED = [CATEGORIES.index(f"flat.{name}") for name in ("driveable_surface", "other", "sidewalk")]
DEEPEST_M = 1.0  # no beam goes further into leaves
THROUGH_M, SURFACES = 0.02, 4  # a beam that goes through leaves goes on behind their surface; through so many at most
TUFT_LENGTHS, TUFT_WAVES = (0.5, 4.0), 8  # of the waves that open ground is uneven by, times the place's tufts
REVOLUTION_S = 0.05  # 20 revolutions a second, whatever share of them is kept
SCENES_A_REVOLUTION = 4  # instants at which the movers are placed during a revolution
ROUNDING_M = 0.01  # more than single precision moves a ray or a corner by


@dataclass(frozen=True)
class Returns:
    """Points [N, 3] float32 in the sensor frame, beam [N], category [N] and owner [N] (-1: static world)."""

    points: np.ndarray
    beams: np.ndarray
    categories: np.ndarray
    owners: np.ndarray


def ray_azimuths(settings: SimulationSettings) -> np.ndarray:
    """Azimuths [A] in the sensor frame in the order of firing, radians, counted from x to y: clockwise from behind."""
    return -np.pi / 2 - np.linspace(0, 2 * np.pi, settings.azimuths, endpoint=False)


def ray_directions(settings: SimulationSettings) -> np.ndarray:
    """Unit directions [A, B, 3] in the sensor frame (x right, y forward, z up) in the order of firing, lowest first."""
    elevation = np.radians(np.linspace(settings.lowest_beam_deg, settings.highest_beam_deg, settings.beams))[None, :]
    azimuth = ray_azimuths(settings)[:, None]
    return np.stack(np.broadcast_arrays(np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
                                        np.sin(elevation)), axis=-1)


@cache
def _tufts() -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors [K, 2], of lengths about one, and phases [K]."""
    rng = np.random.default_rng(0)
    lengths, headings = log_uniform(rng, *TUFT_LENGTHS, TUFT_WAVES), rng.uniform(0, 2 * np.pi, TUFT_WAVES)
    waves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (2 * np.pi / lengths)[:, None]
    return waves, rng.uniform(0, 2 * np.pi, TUFT_WAVES)


def uneven_m(places: np.ndarray, locality: Locality) -> np.ndarray:
    """How much higher than its smooth surface open ground is at places [N, 2] of the world, metres [N]."""
    waves, phases = _tufts()
    swell = np.sin(places @ waves.T.astype(np.float32) / np.float32(locality.tufts_m) + phases.astype(np.float32))
    return swell.sum(axis=1) * np.float32(locality.rough_m * np.sqrt(2 / TUFT_WAVES))


def softened(returns: Returns, locality: Locality, rng: np.random.Generator,
             world_from_sensor: np.ndarray | None = None) -> Returns:
    """Returns of open ground as uneven as it is and as high as its blades, and of leaves as deep in them as beams go;
    the rest as it is."""
    if not locality.grass_m and not locality.foliage_m:
        return returns
    points, grass, leaves = returns.points.copy(), returns.categories == GRASS, returns.categories == LEAVES
    if locality.rough_m and world_from_sensor is not None:
        places = (points[grass] @ world_from_sensor[:2, :3].T + world_from_sensor[:2, 3]).astype(np.float32)
        points[grass, 2] += uneven_m(places, locality)
    points[grass, 2] += rng.uniform(0, 1, int(grass.sum())).astype(np.float32)**2 * np.float32(locality.grass_m)
    if locality.paving_m:
        paved = np.isin(returns.categories, PAVED)
        points[paved, 2] += rng.standard_normal(int(paved.sum()), dtype=np.float32) * np.float32(locality.paving_m)
    ranges = np.linalg.norm(points[leaves], axis=1, keepdims=True)
    deeper = np.minimum(rng.exponential(locality.foliage_m, ranges.shape), DEEPEST_M).astype(np.float32)
    points[leaves] *= (ranges + deeper) / ranges
    return replace(returns, points=points)


def in_sight(boxes: Boxes, poses: np.ndarray, azimuths: np.ndarray, range_m: float) -> np.ndarray:
    """[N] bool: which boxes rays may meet; the others none does.

    A box counts as the ball about it, larger by how far the motion of the sensor carries a ray from where the first of
    its poses would have sent it.

    Args:
        poses: [A, 4, 4] world <- sensor from ray to ray, on an even way from the first to the last; azimuths: [A] of
            the rays in the sensor frame, radians, falling; range_m: how far rays are followed.
    """
    (first, last), (begin, end) = poses[[0, -1]].astype(np.float64), azimuths[[0, -1]]
    astray_m = np.linalg.norm((last - first)[:3, 3]) + range_m * np.linalg.norm((last - first)[:3, :3])
    radii = np.linalg.norm(boxes.sizes, axis=1) / 2 + astray_m + ROUNDING_M
    places = (boxes.centres - first[:3, 3]) @ first[:3, :3]
    seen = np.linalg.norm(places, axis=1) <= range_m + radii
    if begin - end < np.pi:  # a wedge, between the two half planes of its first and its last ray
        seen &= places[:, 0] * np.sin(begin) - places[:, 1] * np.cos(begin) >= -radii
        seen &= places[:, 1] * np.cos(end) - places[:, 0] * np.sin(end) >= -radii
    return seen


class _Caster:
    """Triangles ready for ray casting."""

    def __init__(self, triangles: Triangles) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise InputError(f"the simulator casts its rays with embreex ({one_line(error)}): "
                             "pip install 'occflow[simulation]'") from None

        self.scene, self.num_faces = EmbreeScene(_device()), len(triangles.faces)
        self.categories, self.owners = triangles.categories.astype(np.uint8), triangles.owners.astype(np.int32)
        if self.num_faces:
            TriangleMesh(self.scene, triangles.vertices, triangles.faces.astype(np.int32))

    def cast(self, rays: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays [N, 6] float32, followed as far as limits [N] float32, metres -> range [N] (inf: nothing) and face [N]
        (meaningless for nothing)."""
        if not self.num_faces:
            return np.full(len(rays), np.inf, dtype=np.float32), np.zeros(len(rays), dtype=np.int64)
        hits = self.scene.run(rays[:, :3], rays[:, 3:], dists=limits, output=True)
        met = hits["primID"] >= 0
        return np.where(met, hits["tfar"], np.float32(np.inf)), np.where(met, hits["primID"], 0)


@cache
def _device() -> object:
    """Embree's, one a process."""
    from embreex.rtcore import EmbreeDevice

    return EmbreeDevice()


class Lidar:
    """The sensor in a town: `sweep` sees the static world and the movers.

    Args:
        static: what stands still; settings: of the sensor; through: share of the beams that go on where they meet a
            surface of leaves.

    Attributes:
        movers_s: [K] the instants, seconds after the stamp (so: <= 0), at which a revolution sees the movers, each for
            its part of the rays.
    """

    def __init__(self, static: Triangles, settings: SimulationSettings, through: float = 0.0) -> None:
        self.settings, self.static, self.through = settings, _Caster(static), through
        self.azimuths, self.directions = ray_azimuths(settings), ray_directions(settings).astype(np.float32)
        pieces = SCENES_A_REVOLUTION if settings.motion_during_revolution else 1
        self.movers_s = -REVOLUTION_S * (1 - (np.arange(pieces) + 0.5) / pieces) if pieces > 1 else np.zeros(1)
        self.beams = np.tile(np.arange(settings.beams, dtype=np.uint8), settings.azimuths)

    def sweep(self, movers: Sequence[Boxes], begin: np.ndarray, end: np.ndarray, rng: np.random.Generator) -> Returns:
        """One revolution with range noise and dropout.

        Args:
            movers: at each of the instants `movers_s`.
            begin, end: poses [4, 4] world <- sensor when the revolution begins and at its stamp; where all is of one
                instant they are the same.
        """
        far_m, poses = np.float32(self.settings.max_range_m), self._poses(begin, end)
        rays = self._rays(poses)
        ranges, faces = self.static.cast(rays, np.full(len(rays), far_m))
        if self.through:
            self._go_through(rays, ranges, faces, rng)
        categories, owners = self.static.categories[faces], np.full(len(ranges), -1, np.int32)
        for boxes, piece in zip(movers, np.array_split(np.arange(len(rays)), len(self.movers_s)), strict=True):
            part = slice(piece[0], piece[-1] + 1)
            columns = slice(piece[0] // self.settings.beams, piece[-1] // self.settings.beams + 1)
            caster = _Caster(boxes.where(in_sight(boxes, poses[columns], self.azimuths[columns], far_m)).triangles())
            near, hit = caster.cast(rays[part], np.minimum(ranges[part], far_m))
            nearer = np.flatnonzero(near < ranges[part])
            chosen = piece[nearer]
            ranges[chosen] = near[nearer]
            categories[chosen] = caster.categories[hit[nearer]]
            owners[chosen] = caster.owners[hit[nearer]]
        kept = (ranges > MIN_RANGE_M) & (ranges < self.settings.max_range_m)
        kept &= rng.random(len(ranges), dtype=np.float32) >= self.settings.dropout
        noise = rng.standard_normal(int(kept.sum()), dtype=np.float32) * np.float32(self.settings.range_noise_m)
        points = self.directions.reshape(-1, 3)[kept] * (ranges[kept] + noise)[:, None]
        return Returns(points, self.beams[kept], categories[kept], owners[kept])

    def _go_through(self, rays: np.ndarray, ranges: np.ndarray, faces: np.ndarray, rng: np.random.Generator) -> None:
        """Follow some of the rays that have met leaves to what is behind; changes their ranges and faces."""
        loose = np.arange(len(rays))
        for _ in range(SURFACES):
            leaves = self.static.categories[faces[loose]] == LEAVES
            loose = loose[leaves & (ranges[loose] < self.settings.max_range_m)]
            loose = loose[rng.random(len(loose), dtype=np.float32) < self.through]
            if not len(loose):
                return
            start = ranges[loose] + np.float32(THROUGH_M)
            onward = rays[loose]
            onward[:, :3] += onward[:, 3:] * start[:, None]
            further, met = self.static.cast(onward, np.maximum(np.float32(self.settings.max_range_m) - start, 0))
            ranges[loose], faces[loose] = start + further, met

    def _poses(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Poses [A, 4, 4] float32 world <- sensor at every azimuth of a sensor that goes evenly from a pose to another.

        Rotations are blended as matrices: in a twentieth of a second a car turns by less than two degrees, and the
        blend is off by less than 1e-4.
        """
        azimuths = len(self.directions)
        share = ((np.arange(azimuths) + 0.5) / azimuths)[:, None, None]
        return ((1 - share) * begin + share * end).astype(np.float32)

    def _rays(self, poses: np.ndarray) -> np.ndarray:
        """Rays [A * B, 6] float32 in the world from poses [A, 4, 4]."""
        rays = np.empty((*self.directions.shape[:2], 6), dtype=np.float32)
        rays[..., :3] = poses[:, None, :3, 3]
        np.matmul(self.directions, poses[:, :3, :3].transpose(0, 2, 1), out=rays[..., 3:])
        return rays.reshape(-1, 6)
