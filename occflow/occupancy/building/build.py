"""Driving logs -> an occupancy store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.building.fill_store import SceneFrames, fill_store
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout


@dataclass(frozen=True)
class _SceneBuilder:
    """Builds scenes of a log; a worker process opens the log itself."""

    log: DrivingLog
    grid: VoxelGrid
    settings: OccupancySettings

    def __call__(self, scene: str) -> SceneFrames:
        return build_scene_and_causal(self.log, scene, self.grid, self.settings)


def build_store(log: DrivingLog, grid: VoxelGrid, settings: OccupancySettings, path: Path, workers: int = 1,
                shard: tuple[int, int] = (0, 1)) -> OccupancyStore | None:
    """Build the occupancy of all scenes of a log; arguments, result and errors as `fill_store`."""
    left_out = getattr(log, "left_out", ())  # of logs whose scenes are recordings of their own
    layout = StoreLayout(grid, settings, log.name, log.splits(), tuple(left_out))
    return fill_store(_SceneBuilder(log, grid, settings), layout, log.scenes(), path, workers, shard)
