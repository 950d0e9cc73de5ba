"""Fixtures: a small forecaster and a small world to run it on."""

import numpy as np
import pytest
import torch

from occflow.geometry import planar_pose
from occflow.grid import FREE, VoxelGrid
from occflow.models.autoencoder import AutoencoderSettings
from occflow.models.flow_model import FlowModel
from occflow.models.networks import TrunkSettings
from occflow.models.preparation import ModelSettings
from occflow.models.support import SupportSettings
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 18, 8), 0.8)  # 18 is no multiple of the coarse levels
TRUNK = TrunkSettings((8, 12, 12), (1, 1, 1))
SMALL_SETTINGS = ModelSettings(GRID, 2, 3, 0.5, AutoencoderSettings(((2, 2, 2), (1, 1, 2)), (8, 12, 16), 6),
                                    SupportSettings(6.0, ((2, 2, 1), (2, 2, 2))), 8, TRUNK, TRUNK)


def street_frame(index: int, speed_m_per_s: float = 2.0) -> OccupancyFrame:
    """A road, a wall and a car that drives along it; the ego drives and turns a little."""
    seconds = 0.5 * index
    pose = planar_pose(1.0 * seconds, 0.1 * seconds, 0.05 * seconds)
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[:, :, 1], volume[:, 14:, 2:5] = 11, 15
    start = int(4 + speed_m_per_s * seconds / GRID.voxel_size_m)
    volume[start:start + 4, 6:8, 2:4] = 4
    return OccupancyFrame.from_dense(volume, pose, seconds, f"frame-{index}")


@pytest.fixture(scope="session")
def small_settings() -> ModelSettings:
    return SMALL_SETTINGS


@pytest.fixture()
def small_forecaster(small_settings) -> FlowModel:
    torch.manual_seed(0)
    return FlowModel(small_settings).eval()


@pytest.fixture(scope="session")
def street_window() -> Window:
    frames = [street_frame(index) for index in range(5)]
    return Window.of(WindowKey("street", 0), tuple(frames[:2]), tuple(frames[2:]))
