"""Ready-made occupancy: Occ3D on the tiny log's tables, SemanticKITTI's voxels on a real recording."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import REAL_LOGS

from occflow.errors import InputError
from occflow.logs.protocol import UNLABELLED
from occflow.logs.semantickitti import SemanticKittiLog
from occflow.occupancy.occ3d import OCC3D_GRID
from occflow.occupancy.ready_made import import_store, open_sequences
from occflow.occupancy.semantickitti_voxels import VOXELS_GRID, SemanticKittiVoxels


@pytest.fixture
def occ3d(tiny_log_root):
    volume, mask = np.full(OCC3D_GRID.shape, 17, np.uint8), np.zeros(OCC3D_GRID.shape, np.uint8)
    volume[3, 4, 5], mask[:100] = 4, 1
    for number in range(3):
        folder = tiny_log_root / f"gts/tiny-1/tiny-1-sample{number}"
        folder.mkdir(parents=True)
        np.savez_compressed(folder / "labels.npz", semantics=volume, mask_lidar=mask, mask_camera=mask)
    shutil.rmtree(tiny_log_root / "samples")
    return {"kind": "occ3d", "gts": tiny_log_root / "gts", "root": tiny_log_root, "version": "v1.0-tiny"}


def test_occ3d_is_imported_with_poses_boxes_and_mask_without_any_scan(occ3d, tmp_path):
    store = import_store(open_sequences(occ3d), tmp_path / "store")
    assert store.scenes("val") == ["tiny-1"] and store.num_frames("tiny-1") == 3
    frame = store.frame("tiny-1", 1)
    assert OCC3D_GRID.unflatten(frame.flat).tolist() == [[3, 4, 5]] and frame.labels.tolist() == [4]
    assert np.allclose(frame.world_from_grid[:3, 3], [102, 50, 0]) and len(frame.boxes) == 2
    assert frame.observed_mask(OCC3D_GRID).mean() == 0.5


def test_an_npz_bomb_is_refused_before_it_inflates(occ3d):
    path = occ3d["gts"] / "tiny-1/tiny-1-sample0/labels.npz"
    np.savez_compressed(path, semantics=np.zeros(10_000_000, np.uint8))
    with pytest.raises(InputError, match="would inflate"):
        next(open_sequences(occ3d).frames("tiny-1"))


@pytest.mark.skipif(not (REAL_LOGS / "semantickitti_mini").is_dir(), reason="no real recording; set OCCFLOW_REAL_LOGS")
def test_semantickitti_voxels_are_those_of_the_scan():
    root = REAL_LOGS / "semantickitti_mini"
    log, voxels = SemanticKittiLog(root), SemanticKittiVoxels(root)
    frames = {frame.token: frame for frame in voxels.frames("00")}
    for sweep in log.sweeps("00"):
        if sweep.path.stem not in frames:
            continue
        points = sweep.points_sensor[(sweep.labels != UNLABELLED) & (sweep.points_sensor[:, 2] >= -2.0)]
        cells = np.floor((points - np.array(VOXELS_GRID.origin_m)) / VOXELS_GRID.voxel_size_m).astype(int)
        ours = np.unique(VOXELS_GRID.flatten(cells[((cells >= 0) & (cells < VOXELS_GRID.shape)).all(axis=1)]))
        theirs = frames[sweep.path.stem].flat
        assert len(np.intersect1d(ours, theirs)) >= 0.99 * len(np.union1d(ours, theirs))
