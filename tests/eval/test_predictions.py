"""Predictions made elsewhere, scored in place of a checkpoint."""

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.eval.distribution import DistributionCounts
from occflow.eval.ego_setting import EXTRAPOLATED, in_ego_setting
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.iou import IoUCounts
from occflow.eval.predictions import ImportedForecaster, read_prediction
from occflow.geometry import planar_pose
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
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
    return Window(WindowKey("scene-1", 0), (present,), tuple(
        OccupancyFrame.from_dense(one, planar_pose(i, 0, 0), 0.5 * i) for i, one in enumerate(truth, 1)))


def folder_with(tmp_path, **arrays):
    (tmp_path / "peer" / "scene-1").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(tmp_path / "peer" / "scene-1" / "sample-7.npz", **arrays)
    return tmp_path / "peer"


def test_a_folder_is_scored_as_its_volumes_are(tmp_path):
    ours, theirs = volumes(seed=1), volumes(seed=2)
    forecaster = ImportedForecaster.configured(str(folder_with(tmp_path, semantics=ours)), GRID, "G")
    scores = ForecasterScores(forecaster.name, forecaster.nfe)
    scores.add(window(theirs), forecaster.forecast(window(theirs), 0))
    direct = IoUCounts(FRAMES)
    for index in range(FRAMES):
        np.add.at(direct.confusion[index], (ours[index].reshape(-1), theirs[index].reshape(-1)), 1)
    direct.confusion[:, FREE, FREE] = 0
    assert forecaster.name == "peer" and (scores.total().confusion == direct.confusion).all()
    assert scores.median_ms()["total"] is None  # not ours to time


def test_samples_of_a_file_are_an_ensemble_and_repeat_where_too_few(tmp_path):
    truth = volumes(seed=2)
    forecaster = ImportedForecaster(folder_with(tmp_path, semantics=volumes(3, seed=1)), GRID, "G")
    found = forecaster.samples(window(truth), [1, 2, 3, 4])
    assert [np.array_equal(found[0].frames[0].flat, one.frames[0].flat) for one in found] == [True, False, False, True]
    counts = DistributionCounts(3)
    counts.add([one.frames for one in found[:3]], window(truth).horizon, GRID.num_voxels)
    assert counts.row()["diversity"] > 0


def test_a_row_says_what_its_makers_knew_of_the_ego(tmp_path):
    folder = folder_with(tmp_path, semantics=volumes())
    named = ImportedForecaster.configured({"folder": str(folder), "name": "OccWorld", "ego": "P"}, GRID, "G")
    assert (named.name, named.ego) == ("OccWorld", "P")
    assert in_ego_setting(EXTRAPOLATED, [named]) == [named]  # its own forecast stays what it is
    for entry, reason in (({"folder": str(folder), "ego": "X"}, "no ego setting 'X'"), ({"name": "x"}, "needs folder"),
                          ({"folder": str(folder), "pose": 1}, "may have name and ego"),
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
