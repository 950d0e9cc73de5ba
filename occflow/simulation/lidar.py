"""The sensor: a spinning LiDAR by ray casting (Open3D's RaycastingScene)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.boxes import TRIANGLES_A_BOX, Boxes
from occflow.simulation.settings import SimulationSettings

ELEVATION_FROM_DEG, ELEVATION_TO_DEG = -30.67, 10.67  # HDL-32E
MIN_RANGE_M = 1.0


@dataclass(frozen=True)
class Returns:
    """Points [N, 3] float32 in the sensor frame, beam [N], category [N] and owner [N] (-1: static world)."""

    points: np.ndarray
    beams: np.ndarray
    categories: np.ndarray
    owners: np.ndarray


def ray_directions(settings: SimulationSettings) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions [B * A, 3] in the sensor frame (x right, y forward, z up) and beam numbers, lowest first."""
    elevation = np.radians(np.linspace(ELEVATION_FROM_DEG, ELEVATION_TO_DEG, settings.beams))[:, None]
    azimuth = np.linspace(0, 2 * np.pi, settings.azimuths, endpoint=False)[None, :]
    directions = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
                           np.broadcast_to(np.sin(elevation), (settings.beams, settings.azimuths))], axis=-1)
    return directions.reshape(-1, 3), np.repeat(np.arange(settings.beams), settings.azimuths)


class _Caster:
    """Boxes ready for ray casting."""

    def __init__(self, boxes: Boxes) -> None:
        import open3d

        self.boxes, self.core = boxes, open3d.core
        self.scene = open3d.t.geometry.RaycastingScene()
        if len(boxes.centres):
            vertices, faces = boxes.triangles()
            self.scene.add_triangles(self.core.Tensor(vertices), self.core.Tensor(faces))

    def cast(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays [N, 6] float32 -> range [N] (inf: nothing) and box index [N]."""
        if not len(self.boxes.centres):
            return np.full(len(rays), np.inf), np.zeros(len(rays), dtype=np.int64)
        hits = self.scene.cast_rays(self.core.Tensor(rays))
        ranges, triangles = hits["t_hit"].numpy(), hits["primitive_ids"].numpy().astype(np.int64)
        boxes = triangles // TRIANGLES_A_BOX
        return ranges, np.where(np.isfinite(ranges), boxes, 0)


class Lidar:
    """The sensor in a town: `sweep` sees the static world and the movers of one instant."""

    def __init__(self, static: Boxes, settings: SimulationSettings) -> None:
        self.settings, self.static = settings, _Caster(static)
        self.directions, self.beams = ray_directions(settings)

    def sweep(self, movers: Boxes, world_from_sensor: np.ndarray, rng: np.random.Generator) -> Returns:
        """One revolution, all rays at the same instant, with range noise and dropout."""
        origin = np.broadcast_to(world_from_sensor[:3, 3], self.directions.shape)
        world = self.directions @ world_from_sensor[:3, :3].T
        rays = np.concatenate([origin, world], axis=1).astype(np.float32)
        ranges, hit = self.static.cast(rays)
        mover_ranges, mover_hit = _Caster(movers).cast(rays)
        moving = mover_ranges < ranges
        ranges = np.where(moving, mover_ranges, ranges)
        kept = (ranges > MIN_RANGE_M) & (ranges < self.settings.max_range_m)
        kept &= rng.random(len(ranges)) >= self.settings.dropout
        noisy = ranges[kept] + rng.normal(0, self.settings.range_noise_m, int(kept.sum()))
        owners = np.where(moving, movers.owners[mover_hit] if len(movers.owners) else -1, -1)
        categories = np.where(moving, movers.categories[mover_hit] if len(movers.owners) else 0,
                              self.static.boxes.categories[hit])
        return Returns((self.directions[kept] * noisy[:, None]).astype(np.float32), self.beams[kept],
                       categories[kept].astype(np.uint8), owners[kept])
