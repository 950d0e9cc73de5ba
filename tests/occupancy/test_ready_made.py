"""Ready-made occupancy: Occ3D on the tiny log's tables, UniOcc, SemanticKITTI's voxels on a real recording."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from small_logs import write_occ3d, write_uniocc

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES
from occflow.logs.protocol import UNLABELLED
from occflow.logs.semantickitti import SemanticKittiLog
from occflow.occupancy.readers.occ3d import OCC3D_GRID
from occflow.occupancy.readers.ready_made import import_store, open_sequences
from occflow.occupancy.readers.semantickitti_voxels import VOXELS_GRID, SemanticKittiVoxels
from occflow.occupancy.readers.uniocc import UNIOCC_GRID, UniOccSequences


@pytest.fixture
def occ3d(tmp_path):
    return write_occ3d(tmp_path)


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


def test_an_array_that_claims_more_than_it_holds_is_refused_before_memory_is_taken(occ3d):
    path = occ3d["gts"] / "tiny-1/tiny-1-sample0/labels.npz"
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (10 ** 6, 10 ** 6)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("semantics.npy", buffer.getvalue())
    with pytest.raises(InputError, match="has shape"):
        next(open_sequences(occ3d).frames("tiny-1"))


@pytest.mark.parametrize("table, key, name", [("scene", "name", "tiny-1"), ("sample", "token", "tiny-1-sample0")])
def test_names_of_the_tables_do_not_lead_out_of_the_folder(occ3d, table, key, name):
    """What lies at ../elsewhere is a sound volume, and none of this data set."""
    (occ3d["gts"] / "tiny-1").rename(occ3d["gts"].parent / "elsewhere") if key == "name" else None
    for path in occ3d["root"].glob("v*/*.json"):
        path.write_text(path.read_text().replace(f'"{name}"', '"../elsewhere"'))
    with pytest.raises(InputError, match="cannot be a file name"):
        list(open_sequences(occ3d).frames("../elsewhere" if key == "name" else "tiny-1"))


def test_corrupt_bytes_of_a_volume_are_refused(occ3d):
    path = occ3d["gts"] / "tiny-1/tiny-1-sample0/labels.npz"
    data = bytearray(path.read_bytes())
    data[60:300] = bytes(240)
    path.write_bytes(data)
    with pytest.raises(InputError, match="labels.npz"):
        next(open_sequences(occ3d).frames("tiny-1"))


def test_a_changed_file_is_another_log(occ3d, tmp_path):
    import_store(open_sequences(occ3d), tmp_path / "store")
    np.savez(occ3d["gts"] / "tiny-1/tiny-1-sample0/labels.npz", semantics=np.full(OCC3D_GRID.shape, 3, np.uint8))
    with pytest.raises(InputError, match="another log"):
        import_store(open_sequences(occ3d), tmp_path / "store")


def test_uniocc_is_imported_with_poses_and_classes_and_nothing_is_unpickled(tmp_path):
    root = tmp_path / "NuScenes-via-Occ3D-2Hz-mini"
    write_uniocc(root / "scene-1", steps=11)
    write_uniocc(root / "scene-2/641")
    store = import_store(open_sequences({"kind": "uniocc", "root": root}), tmp_path / "store")
    assert store.scenes("val") == ["scene-1", "scene-2-641"] and store.num_frames("scene-1") == 11
    frame = store.frame("scene-1", 9)  # step 10 comes after step 9, not after step 1
    assert np.allclose(frame.world_from_grid, planar_pose(10, 0.0, 0.1)) and frame.stamp_s == 5.0
    assert [CLASS_NAMES[label] for label in frame.labels] == ["car", "driveable_surface"]
    assert UNIOCC_GRID.unflatten(frame.flat).tolist() == [[5, 6, 7], [5, 6, 8]]
    assert frame.observed_mask(UNIOCC_GRID).mean() == 0.25


@pytest.mark.parametrize("changed, message", [
    ({"ego_to_world_transformation": np.full((4, 4), np.nan)}, "is not finite"),
    ({"ego_to_world_transformation": np.array([[{}] * 4] * 4)}, "real numbers"),
    ({"occ_label": np.full((200, 200, 16), 11)}, "beyond"),
    ({"occ_label": np.zeros((2, 2, 2))}, "shape")])
def test_broken_uniocc_is_refused(tmp_path, changed, message):
    write_uniocc(tmp_path / "Carla-10Hz-val/scene-1", **changed)
    with pytest.raises(InputError, match=message):
        next(UniOccSequences(tmp_path / "Carla-10Hz-val").frames("scene-1"))


def test_a_missing_step_is_refused(tmp_path):
    write_uniocc(tmp_path / "Carla-10Hz-val/scene-1")
    (tmp_path / "Carla-10Hz-val/scene-1/2.npz").unlink()
    with pytest.raises(InputError, match="step 2 is missing"):
        next(UniOccSequences(tmp_path / "Carla-10Hz-val").frames("scene-1"))


def test_a_step_of_a_huge_number_is_refused_at_once(tmp_path):
    write_uniocc(tmp_path / "Carla-10Hz-val/scene-1")
    (tmp_path / "Carla-10Hz-val/scene-1/2.npz").rename(tmp_path / "Carla-10Hz-val/scene-1/999999999999.npz")
    with pytest.raises(InputError, match="step 2 is missing"):
        next(UniOccSequences(tmp_path / "Carla-10Hz-val").frames("scene-1"))


def test_an_encrypted_volume_is_refused(occ3d):
    path = occ3d["gts"] / "tiny-1/tiny-1-sample0/labels.npz"
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + offset] |= 1  # the flag of an encrypted entry
            place = data.find(mark, place + 4)
    path.write_bytes(data)
    with pytest.raises(InputError, match="labels.npz: cannot read semantics .*encrypted") as error:
        next(open_sequences(occ3d).frames("tiny-1"))
    assert "\n" not in str(error.value)


def test_tables_never_lead_out_of_the_folder_of_volumes(occ3d):
    path = occ3d["root"] / "v1.0-tiny/sample.json"
    for name in ("sample", "sample_data", "sample_annotation"):
        path = occ3d["root"] / f"v1.0-tiny/{name}.json"
        path.write_text(path.read_text().replace('"tiny-1-sample0"', '"../../../elsewhere"'))
    with pytest.raises(InputError, match="elsewhere. cannot be a file name"):
        next(open_sequences(occ3d).frames("tiny-1"))


def test_semantickitti_voxels_are_those_of_the_scan(recording):
    root = recording("semantickitti_mini")
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
