"""The committed drive, and every other real recording that is installed, is built, and its frames agree."""

from __future__ import annotations

import pytest
from real_recordings import DRIVE

from occflow.grid import VoxelGrid
from occflow.logs.open import open_log
from occflow.occupancy.building.build import build_store
from occflow.occupancy.settings import OccupancySettings
from studies.data.agreement import scan_agreement, static_iou

GRID = VoxelGrid((-40.0, -40.0, -1.0), (100, 100, 8), 0.8)
RECORDINGS = {  # frames, and the least share of cells that consecutive keyframe scans have in common
    DRIVE.name: ({"kind": "recording"}, 16, 0.65),
    "kitti_raw_0001": ({"kind": "kitti_raw"}, 23, 0.6),
    "semantickitti_mini": ({"kind": "semantickitti"}, 18, 0.55),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_built_and_its_frames_agree(name, recording, tmp_path):
    config, num_frames, share = RECORDINGS[name]
    log = open_log({**config, "root": DRIVE if name == DRIVE.name else recording(name)})
    store = build_store(log, GRID, OccupancySettings(causal_window_s=0.0), tmp_path / "store")
    assert store.summary().frames == num_frames and 0.02 < store.summary().occupied_share < 0.2
    scene = log.scenes()[0]
    frames = [store.frame(scene, index) for index in range(store.num_frames(scene))]
    assert static_iou(frames, GRID, 1) > 0.6
    assert scan_agreement(log, scene) > max(share, scan_agreement(log, scene, with_poses=False) + 0.1)
