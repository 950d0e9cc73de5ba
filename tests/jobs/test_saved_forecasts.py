"""Every window's forecasts in files: they score as the forecasts did, and so do the trees in Occ3D's layout."""

import json
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from small_forecaster import GRID
from small_store import FRAMES, SCENES, small_store

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.eval import saving
from occflow.eval.report_record import read_counters
from occflow.forecasting.forecast import Forecast
from occflow.grid import FREE, OCC3D_GRID
from occflow.jobs.score import evaluate_run, forecast_log, score_store
from occflow.jobs.sources import configured_windows
from occflow.logs.open import open_log
from occflow.occupancy.storage.prediction_file import read_prediction
from occflow.occupancy.storage.saved_forecasts import About, SavedForecasts
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import window_keys
from occflow.viewing.export import export_drive

HISTORY_FRAMES, HORIZON = 2, 6
WINDOWS = len(SCENES) * (FRAMES - HISTORY_FRAMES - HORIZON + 1)
PLAIN = ["eval.true_motion=false", "eval.views=false", "eval.present=false", "eval.coherence=false", "eval.samples=0",
         "eval.checkpoints=[]", "eval.window_stride=1", "eval.sample_every=1"]


class Scatter:
    """A forecaster that samples: what stands still, with a seed's own voxels beside it."""

    name, nfe = "scatter-1", 1

    def forecast(self, task, seed: int) -> Forecast:
        rng, frames = np.random.default_rng(seed), []
        for target in task.targets:
            still = warp(task.present, GRID, target.world_from_grid)
            flat = np.union1d(still.flat, rng.choice(GRID.num_voxels, 40, replace=False))
            labels = rng.integers(0, 17, len(flat)).astype(np.uint8)
            labels[np.searchsorted(flat, still.flat)] = still.labels
            frames.append(replace(still, flat=flat, labels=labels, stamp_s=target.stamp_s, boxes=(), observed=None))
        return Forecast(tuple(frames))

    def samples(self, task, seeds: list[int]) -> list[Forecast]:
        return [self.forecast(task, seed) for seed in seeds]


@pytest.fixture(scope="module", autouse=True)
def no_charts():
    """They take longer than all else of such small evaluations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("occflow.eval.report.write_charts", lambda path, panels: None)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("street") / "store")


def config_of(store, run_dir, *changes: str) -> dict:
    grid = [f"data.grid.origin_m={list(GRID.origin_m)}", f"data.grid.shape={list(GRID.shape)}",
            f"data.grid.voxel_size_m={GRID.voxel_size_m}", f"data.history={HISTORY_FRAMES}"]
    return compose_config([f"data.store={store.path}", f"run_dir={run_dir}", *grid, *PLAIN, *changes])


def scored(config, store, folder, forecasters, samples: int = 0) -> dict:
    source = configured_windows(config, store)
    keys = window_keys(store, None, source.history, source.horizon)
    return score_store(config, folder, source, keys, {"split": "all", "rule": "all", "stride": 1}, forecasters,
                       samples=samples)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A run with everything saved, three samples of what samples; its report."""
    folder = tmp_path_factory.mktemp("run")
    config = config_of(store, folder, "eval.save=all", "eval.save_samples=3", "eval.baselines=[copy,persistence]")
    return folder, scored(config, store, folder, [Scatter()], samples=3)


def test_what_is_saved_scores_as_it_did(store, run, tmp_path):
    folder, report = run
    entries = ",".join(f"{{folder: '{folder}/saved/predictions/{name}', name: saved_{name}}}"
                       for name in ("copy", "persistence", "scatter-1"))
    evaluate_run(config_of(store, tmp_path, f"eval.predictions=[{entries}]", "eval.baselines=[]", "eval.samples=3"))
    (scenes, direct), (again, saved) = read_counters(folder), read_counters(tmp_path)
    assert scenes == again == list(SCENES) and len(saved) == 3
    for name, counts in saved.items():
        assert counts.sum() > 0 and (counts == direct[name.removeprefix("saved_")]).all()
    ours, theirs = ({row["name"].removeprefix("saved_"): row for row in one["ensembles"]["rows"]}
                    for one in (report, json.loads((tmp_path / "report.json").read_text())))
    for score in ("distance", "diversity", "energy", "movable_energy"):
        assert ours["scatter-1"][score] == pytest.approx(theirs["scatter-1"][score])
    assert theirs["scatter-1"]["diversity"] > 0


def test_files_are_one_a_window_with_as_many_samples_as_were_asked_for(store, run):
    saved = run[0] / "saved"
    shape = (HORIZON, *GRID.shape)
    for name, samples in (("copy", 1), ("scatter-1", 3)):
        paths = sorted((saved / "predictions" / name).glob("*/*.npz"))
        assert len(paths) == WINDOWS and {path.parent.name for path in paths} == set(SCENES)
        assert all(read_prediction(path, shape).shape == (samples, *shape) for path in paths)
    lines = [json.loads(line) for line in (saved / "windows.jsonl").read_text().splitlines()]
    assert len(lines) == WINDOWS and lines[0]["present"]["token"] == f"frame-{HISTORY_FRAMES - 1}"
    for target, number in zip(lines[0]["targets"], range(HISTORY_FRAMES, FRAMES)):
        frame = store.frame("one", number)
        assert (target["token"], target["stamp_s"]) == (frame.token, frame.stamp_s)
        np.testing.assert_array_equal(target["world_from_grid"], frame.world_from_grid)
    assert not any(path.name.startswith(".") for path in run[0].rglob("*"))


def test_the_trees_of_occ3d_score_as_the_windows_did(store, run):
    """As an evaluator of the field goes about it: two trees, a keyframe at a time, and counts of pairs of classes."""
    tree, (_, direct) = run[0] / "saved" / "occ3d", read_counters(run[0])
    for name in ("persistence", "scatter-1"):
        for column, ahead in enumerate(("+1.0s", "+2.0s", "+3.0s")):
            counts = np.zeros((FREE + 1, FREE + 1), np.int64)
            for path in sorted((tree / name / ahead).glob("*/*/labels.npz")):
                with np.load(path) as said, np.load(tree / "truth" / path.relative_to(tree / name / ahead)) as true:
                    assert said["semantics"].dtype == true["semantics"].dtype == np.uint8
                    np.add.at(counts, (said["semantics"].ravel(), true["semantics"].ravel()), 1)
            counts[FREE, FREE] = 0
            assert (counts == direct[name][:, column].sum(axis=0)).all() and counts.sum() > 0
    with np.load(tree / "truth" / "one" / f"frame-{FRAMES - 1}" / "labels.npz") as true:
        assert set(true.files) == {"semantics", "mask_lidar"} and true["mask_lidar"].dtype == np.uint8
        assert (true["mask_lidar"] == store.frame("one", FRAMES - 1).observed_mask(GRID)).all()
    about: About = json.loads((run[0] / "saved" / "about.json").read_text())
    assert about["grid"] == GRID.to_dict() and not about["occ3d_grid"] and about["classes"][4] == "car"


def test_only_the_benchmarks_grid_is_called_so():
    about = saving.about_of(OCC3D_GRID, {})
    assert about["occ3d_grid"] and about["grid"]["shape"] == [200, 200, 16] and about["free"] == 17


def test_saved_forecasts_are_read_back_with_their_poses(store, run):
    saved, frames = SavedForecasts(run[0] / "saved"), [store.frame("two", number) for number in range(FRAMES)]
    token, targets = frames[3].token, frames[4:4 + HORIZON]
    assert saved.has("scatter-1", "two", token) and not saved.has("scatter-1", "two", frames[-1].token)
    futures = saved.futures("scatter-1", "two", token, targets)
    assert len(futures) == 3 and len({future[0].flat.tobytes() for future in futures}) == 3
    assert [frame.stamp_s for frame in futures[0]] == [frame.stamp_s for frame in targets]


def test_nothing_is_left_of_an_evaluation_that_fails_and_what_was_there_stays(store, tmp_path):
    config = config_of(store, tmp_path, "eval.save=all", "eval.baselines=[copy]")
    scored(config, store, tmp_path, [])
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "saved").rglob("*"))

    class Failing(Scatter):
        def forecast(self, task, seed: int) -> Forecast:
            if task.scene == SCENES[1]:
                raise KeyboardInterrupt
            return super().forecast(task, seed)

    with pytest.raises(KeyboardInterrupt):
        scored(config, store, tmp_path, [Failing()])
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "saved").rglob("*")) == before
    assert [path for path in tmp_path.iterdir() if "partial" in path.name] == []
    scored(config_of(store, tmp_path, "eval.save=all", "eval.save_formats=[predictions]", "eval.baselines=[copy]"),
           store, tmp_path, [Scatter()])
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"predictions", "windows.jsonl", "about.json"}
    assert {path.name for path in (tmp_path / "saved" / "predictions").iterdir()} == {"copy", "scatter-1"}


def test_the_disk_that_is_needed_is_said_before(store, tmp_path, capsys, monkeypatch):
    config = config_of(store, tmp_path, "eval.save=all", "eval.baselines=[copy,persistence]")
    source = configured_windows(config, store)
    keys = window_keys(store, None, source.history, source.horizon)
    needed = saving.needed_bytes(source, keys, [1, 1], ["predictions", "occ3d"])
    scored(config, store, tmp_path, [])
    taken = sum(path.stat().st_size for path in (tmp_path / "saved").rglob("*.npz"))
    assert 0.4 * needed < taken < 1.5 * needed  # zip files' own bytes count on a grid as small as this
    assert "will take about" in capsys.readouterr().out
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: namedtuple("usage", "free")(needed - 1))
    with pytest.raises(InputError, match=r"will take about .*, free are .*eval\.save_formats"):
        scored(config, store, tmp_path / "full", [])
    assert not (tmp_path / "full" / "saved").exists()


def test_forecasts_of_a_store_at_a_url_are_exported_from_there(store, tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="no fsspec: pip install 'occflow[remote]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there = OccupancyStore.open(f"file://{store.path}")
    config = config_of(there, tmp_path, "eval.save=all", "eval.baselines=[copy]", "view.lidar=false", "view.scene=none")
    scored(config, there, tmp_path, [])
    saved = SavedForecasts(tmp_path / "saved")
    assert saved.about["store"] == there.path
    with pytest.raises(InputError, match="no forecast of scene 'none'"):  # its store was opened
        list(export_drive(saved, tmp_path, config["view"], {}))


def test_a_store_without_a_log_is_not_forecast(store, tmp_path):
    with pytest.raises(InputError, match="log=store: forecast builds .* score a store with evaluate"):
        forecast_log(config_of(store, tmp_path, "log=store"))
    with pytest.raises(InputError, match="log=store: names no log"):
        open_log({"kind": "store", "root": "data"})


def test_what_cannot_be_saved_is_refused_before_anything_is_forecast(store, tmp_path):
    class Away(Scatter):
        name = "../away"

        def forecast(self, task, seed: int) -> Forecast:
            raise AssertionError("nothing is to be forecast")

    class Truth(Away):
        name = "truth"

    plain = ("eval.save=all", "eval.baselines=[]")
    for row, changes, reason in ((Away(), (), "no folder can be called like a row .*cannot be a file name"),
                                 (Truth(), (), "is that of the truth"),
                                 (Truth(), ("eval.save_formats=[]",), "names none"),
                                 (Truth(), ("data.grid_pose=anchored",), "one grid a keyframe")):
        with pytest.raises(InputError, match=reason):
            scored(config_of(store, tmp_path / "run", *plain, *changes), store, tmp_path / "run", [row])
    (tmp_path / "run" / "saved").mkdir(parents=True)
    (tmp_path / "run" / "saved" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds something that is no saved forecasts"):
        scored(config_of(store, tmp_path / "run", *plain), store, tmp_path / "run", [Scatter()])
    for change in ("eval.save=some", "eval.save_samples=65", "eval.save_formats=[npz]"):
        with pytest.raises(InputError, match="eval.save"):
            compose_config([change])


@pytest.mark.parametrize("change, reason", [
    ({"format": "occflow-saved-9"}, "format"), ({"horizon": 10 ** 9}, "horizon"), ({"rows": {"../x": {
        "nfe": 1, "samples": 1}}}, "cannot be a file name"), ({"grid": {"origin_m": [0]}}, "broken record"),
    ({"frame_interval_s": 0.0}, "frame_interval_s"), ({"rows": None}, "rows")])
def test_a_broken_record_is_refused_in_one_line(run, tmp_path, change, reason):
    values = json.loads((run[0] / "saved" / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(InputError, match=reason) as refused:
        SavedForecasts(tmp_path)
    assert len(str(refused.value).splitlines()) == 1
