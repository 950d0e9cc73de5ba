"""Predictions made elsewhere, scored in place of a checkpoint."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from fuzzing.edits import edited

from occflow.errors import InputError
from occflow.eval.distribution import DistributionCounts
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.iou import IoUCounts
from occflow.eval.predictions import ImportedForecaster
from occflow.eval.protocols import EXTRAPOLATED, in_ego_setting
from occflow.geometry import planar_pose
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.prediction_file import read_prediction
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-2.0, -2.0, 0.0), (5, 4, 3), 1.0)
FRAMES = 2
SHAPE = (FRAMES, *GRID.shape)


def volumes(*lead: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, NUM_CLASSES, (*lead, *SHAPE)).astype(np.uint8)
    found[rng.random(found.shape) < 0.6] = FREE
    return found


def window(truth: np.ndarray) -> Window:
    present = OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), 0.0, "sample-7")
    return Window.of(WindowKey("scene-1", 0), (present,), tuple(
        OccupancyFrame.from_dense(one, planar_pose(i, 0, 0), 0.5 * i) for i, one in enumerate(truth, 1)))


def folder_with(tmp_path, **arrays):
    (tmp_path / "peer" / "scene-1").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(tmp_path / "peer" / "scene-1" / "sample-7.npz", **arrays)
    return tmp_path / "peer"


def test_a_folder_is_scored_as_its_volumes_are(tmp_path):
    ours, theirs = volumes(seed=1), volumes(seed=2)
    forecaster = ImportedForecaster.configured(str(folder_with(tmp_path, semantics=ours)), GRID, "G")
    scores = ForecasterScores(forecaster.name, forecaster.nfe)
    scores.add(window(theirs), forecaster.forecast(window(theirs).task, 0))
    direct = IoUCounts(FRAMES)
    for index in range(FRAMES):
        np.add.at(direct.confusion[index], (ours[index].reshape(-1), theirs[index].reshape(-1)), 1)
    direct.confusion[:, FREE, FREE] = 0
    assert forecaster.name == "peer" and (scores.total().confusion == direct.confusion).all()
    assert scores.median_ms()["total"] is None  # not ours to time


def test_samples_of_a_file_are_an_ensemble_and_repeat_where_too_few(tmp_path):
    truth = volumes(seed=2)
    forecaster = ImportedForecaster(folder_with(tmp_path, semantics=volumes(3, seed=1)), GRID, "G")
    found = forecaster.samples(window(truth).task, [1, 2, 3, 4])
    assert [np.array_equal(found[0].frames[0].flat, one.frames[0].flat) for one in found] == [True, False, False, True]
    counts = DistributionCounts(3)
    counts.add([one.frames for one in found[:3]], window(truth).truth, GRID.num_voxels)
    assert counts.row()["diversity"] > 0


def test_a_row_says_what_its_makers_knew_of_the_ego(tmp_path):
    folder = folder_with(tmp_path, semantics=volumes())
    named = ImportedForecaster.configured({"folder": str(folder), "name": "OccWorld", "ego": "P"}, GRID, "G")
    assert (named.name, named.ego) == ("OccWorld", "P")
    assert in_ego_setting(EXTRAPOLATED, [named]) == [named]  # its own forecast stays what it is
    for entry, reason in (({"folder": str(folder), "ego": "X"}, "no ego setting 'X'"), ({"name": "x"}, "needs folder"),
                          ({"folder": str(folder), "pose": 1}, "may have name and ego"),
                          ({"folder": str(folder), "name": "truth"}, "no name for a forecast"),
                          (str(tmp_path / "none"), "no folder of predictions")):
        with pytest.raises(InputError, match=reason):
            ImportedForecaster.configured(entry, GRID, "G")


@pytest.mark.parametrize("arrays, reason", [
    ({"semantics": volumes().astype(np.int64)}, "wanted is uint8"),
    ({"semantics": volumes()[:, :-1]}, "wanted is uint8"),
    ({"semantics": volumes(65)}, "up to 64 samples"),
    ({"labels": volumes()}, "not a usable prediction"),
    ({"semantics": np.full(SHAPE, 18, np.uint8)}, "holds class 18"),
    ({"semantics": np.array([None])}, "wanted is uint8"),  # a pickle is not opened
])
def test_unusable_files_are_refused(arrays, reason, tmp_path):
    folder = folder_with(tmp_path, **arrays)
    with pytest.raises(InputError, match=reason):
        read_prediction(folder / "scene-1" / "sample-7.npz", SHAPE)


def test_missing_and_truncated_files_are_refused(tmp_path):
    folder = folder_with(tmp_path, semantics=volumes())
    whole = folder / "scene-1" / "sample-7.npz"
    with pytest.raises(InputError, match="no prediction of this window"):
        read_prediction(folder / "scene-1" / "other.npz", SHAPE)
    content = whole.read_bytes()
    whole.write_bytes(content[:len(content) // 2])
    with pytest.raises(InputError, match="not a usable prediction"):
        read_prediction(whole, SHAPE)
    whole.write_bytes(content.replace(content[70:80], bytes(10)))
    with pytest.raises(InputError, match="not a usable prediction"):
        read_prediction(whole, SHAPE)


def packed(header: bytes, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        length = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
        archive.writestr("semantics.npy", b"\x93NUMPY" + version + length + header + body)
    return content.getvalue()


@pytest.mark.parametrize("content", [
    packed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"9" * 30 + b", 2, 5, 4, 3), }"),
    packed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, 2, 5, 4, 3), }", bytes(7)),
    packed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 5, 4, 3), }" + bytes(3), bytes(120)),
    packed(b"{'descr': '|u1', 'shape': (2, 5, 4, 3), }"), packed(b"(" * 900), packed(b"\xff"), packed(b"{1is 2}"),
    packed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 5, 4, 3), }", bytes(120), b"\7\0"), packed(b"")])
@pytest.mark.filterwarnings("error")
def test_odd_headers_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_prediction(path, SHAPE)
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value).splitlines()) == 1


@pytest.mark.filterwarnings("error")
def test_random_edits_are_refused_in_one_line_or_change_nothing(tmp_path):
    truth = volumes(2, seed=1)
    path = folder_with(tmp_path, semantics=truth) / "scene-1" / "sample-7.npz"
    whole = path.read_bytes()
    for number in range(200):
        path.write_bytes(edited(whole, "prediction", ("npz", "bytes"), number).content)
        try:
            found = read_prediction(path, SHAPE)
        except InputError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
        else:
            assert found.shape[1:] == SHAPE and found.max() <= FREE
            assert number % 2 == 0 or np.array_equal(found, truth)  # an archive's checksums tell


def test_names_of_scenes_and_keyframes_do_not_lead_out_of_the_folder(tmp_path):
    forecaster = ImportedForecaster(folder_with(tmp_path, semantics=volumes()), GRID, "G")
    np.savez_compressed(tmp_path / "secret.npz", semantics=volumes())
    truth = window(volumes())
    for scene, token in (("..", "secret"), ("scene-1", "../../secret"), (str(tmp_path), "secret"), ("scene-1", "")):
        present = replace(truth.present, token=token)
        with pytest.raises(InputError, match="cannot be a file name"):
            forecaster.forecast(replace(truth.task, history=(present,), scene=scene), 0)
