"""The front door: the snippet of docs/python.md runs as it stands, and what it is given is checked at the door."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from page_data import read_page
from small_logs import write_drive, write_recording, write_semantickitti, write_tiny_nuscenes, write_tracking
from small_perception import small_perception

import occflow
from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import save_checkpoint
from occflow.grid import VoxelGrid
from occflow.models.settings import settings_from_config
from occflow.occupancy.settings import DEMO_GRID, DEMO_HISTORY, DEMO_HORIZON, DEMO_INTERVAL_S
from occflow.occupancy.tasks import EXTRAPOLATED, GIVEN
from occflow.perception.perceive import Perceiver

PAGE = Path(__file__).parents[1] / "docs/python.md"
SWEEPS = 2 * (12 + DEMO_HORIZON) + 1  # keyframes 0 to 18: frame 12 has a known horizon


@pytest.fixture(scope="session")
def tiny_log(tmp_path_factory) -> Path:
    return write_tiny_nuscenes(tmp_path_factory.mktemp("front_door"), SWEEPS)["root"]


@pytest.fixture(scope="session")
def store(tiny_log):
    return occflow.build(occflow.open_log(tiny_log), tiny_log.parent / "store")


@pytest.fixture(scope="session")
def student():
    return occflow.load("student", device="cpu")


def test_the_snippet_of_the_page_runs_from_any_folder(tiny_log, store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    snippet = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    for placeholder, path in (("path/to/nuscenes", tiny_log), ("path/to/store", store.path)):
        assert placeholder in snippet
        snippet = snippet.replace(placeholder, str(path))
    names: dict = {}
    exec(snippet, names)
    task, futures, p = names["task"], names["futures"], names["p"]
    assert (len(task.history), len(task.targets), task.ego) == (DEMO_HISTORY, DEMO_HORIZON, GIVEN)
    assert task.present.stamp_s == store.stamps_s(names["scene"])[12]
    assert len(futures) == 8 and all(len(future.frames) == DEMO_HORIZON for future in futures)
    last = names["centre"].frames[5]
    assert names["labels"].dtype == np.uint8 and names["xyz"].shape == (len(last.flat), 3)
    np.testing.assert_array_equal(DEMO_GRID.flatten(DEMO_GRID.indices(names["xyz"])[0]), last.flat)
    assert last.stamp_s == store.stamps_s(names["scene"])[18]
    filled = np.sum([future.frames[5].dense(DEMO_GRID) != 17 for future in futures], axis=0)
    np.testing.assert_allclose(p[5].dense(), filled / 8)
    assert (tmp_path / "forecast.png").stat().st_size > 10_000 and "forecast.png" in capsys.readouterr().out


def test_importing_occflow_loads_no_library():
    program = "import sys; before = set(sys.modules); import occflow; dir(occflow); print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == {"occflow"}
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        getattr(occflow, "lode")  # noqa: B009


def test_the_defaults_are_those_of_the_configuration_and_of_the_checkpoints_that_come_with_the_project(student):
    settings = settings_from_config((config := compose_config([]))["data"], config["model"])
    for one in (settings, student.settings):
        assert (one.grid, one.num_history, one.num_horizon) == (DEMO_GRID, DEMO_HISTORY, DEMO_HORIZON)
        assert one.frame_interval_s == DEMO_INTERVAL_S


def test_the_central_forecast_is_the_mean_network_s_and_a_seed_gives_its_sample(store, student):
    task = store.task("tiny-1", present=5)
    centre, same, sampled = student.forecast(task), student.forecast(task), student.forecast(task, seed=3)
    assert student.centre.model is student.sampler.model and student.centre.name == "student-central"
    np.testing.assert_array_equal(centre.frames[0].flat, same.frames[0].flat)
    np.testing.assert_array_equal(sampled.frames[5].flat, student.samples(task, [3])[0].frames[5].flat)
    assert not np.array_equal(sampled.frames[5].flat, centre.frames[5].flat)


def test_samples_are_sharper_on_demand(store, student):
    task = store.task("tiny-1", present=5)
    centre, sampled, sharpest = student.forecast(task), student.samples(task, [3, 4]), student.samples(task, [3, 4], 0)
    for one in sharpest:
        np.testing.assert_array_equal(one.frames[5].flat, centre.frames[5].flat)
    for one, same in zip(student.samples(task, [3, 4], temperature=1.0), sampled, strict=True):
        np.testing.assert_array_equal(one.frames[5].flat, same.frames[5].flat)
    half = student.forecast(task, 3, temperature=0.5).frames[5]
    np.testing.assert_array_equal(half.flat, student.samples(task, [3], 0.5)[0].frames[5].flat)
    assert not np.array_equal(half.flat, sampled[0].frames[5].flat)
    with pytest.raises(InputError, match="temperature: 1.5 is not from 0"):
        student.samples(task, [3], temperature=1.5)


def test_where_a_scene_ends_the_ego_is_extrapolated_and_the_task_says_so(store, student):
    task = store.task("tiny-1", present=18)
    assert task.ego == EXTRAPOLATED
    np.testing.assert_allclose(task.seconds, DEMO_INTERVAL_S * np.arange(1, DEMO_HORIZON + 1))
    np.testing.assert_allclose(task.poses[:, 0, 3] - task.present.world_from_grid[0, 3],  # 2 m a keyframe
                               2.0 * np.arange(1, DEMO_HORIZON + 1), atol=1e-6)
    frame = student.forecast(task).frames[0]
    np.testing.assert_allclose(frame.world_points()[0] - frame.points()[0],
                               np.broadcast_to(task.poses[0][:3, 3], (len(frame.flat), 3)))


@pytest.mark.parametrize("present, history, message", [
    (1, 3, "of which 3 until frame 1 are asked for; use present=2 to 18"), (19, 3, "use present=2 to 18"),
    (5, 0, "ask for 1 or more")])
def test_a_task_that_is_not_there_is_refused(store, present, history, message):
    with pytest.raises(InputError, match=message):
        store.task("tiny-1", present, history)


def test_a_causal_task_has_no_labels(store):
    assert store.task("tiny-1", 5, input_kind="causal").present.labels.min() == 255
    with pytest.raises(InputError, match="input_kind: 'all' is not known"):
        store.task("tiny-1", 5, input_kind="all")


def test_a_task_from_raw_sweeps_is_perceived(store, student, tmp_path):
    network = small_perception(DEMO_GRID)
    torch.nn.init.constant_(network.head[-1].bias, 0.05)
    save_checkpoint(tmp_path / "mine.safetensors", network, "perception", network.settings, {})
    for _ in range(2):  # the name of the package does not hide the function
        perceive = occflow.perceiver(tmp_path / "mine.safetensors", device="cpu")
    task = store.task(store.scenes()[0], 12, input_kind="lidar", perceive=perceive)
    wanted = Perceiver(network).perceive(store.sighting(store.scenes()[0], 12)).frame
    assert np.array_equal(task.present.flat, wanted.flat) and np.array_equal(task.present.labels, wanted.labels)
    assert len(student.samples(task, [0])[0].frames) == DEMO_HORIZON
    with pytest.raises(InputError, match="input 'lidar' is what a network perceives"):
        store.task(store.scenes()[0], 12, input_kind="lidar")
    with pytest.raises(InputError, match="nowhere.safetensors: no such checkpoint file.*train_perception"):
        occflow.perceiver("nowhere.safetensors")
    with pytest.raises(InputError, match="kind 'student', wanted perception"):
        occflow.perceiver(Path(__file__).parents[1] / "pretrained/student.safetensors", device="cpu")


def test_only_what_the_data_must_agree_on_is_compared(store, student):
    task, other = store.task("tiny-1", 5), VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)
    slow = replace(task, targets=tuple(replace(one, stamp_s=task.present.stamp_s + 2.0 * (number + 1))
                                       for number, one in enumerate(task.targets)))
    elsewhere = replace(task, history=tuple(replace(frame, grid=other) for frame in task.history))
    for wrong, message in ((store.task("tiny-1", 5, horizon=4), "horizon=6"), (slow, "0.5 s apart, the task's are 2 s"),
                           (elsewhere, "grid=forecaster.settings.grid")):
        with pytest.raises(InputError, match=message) as caught:
            student.samples(wrong, [0])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind, name, nfe", [("student", "student-1", 1), ("teacher", "teacher-10", 10),
                                             ("regression", "regression_ce", 0)])
def test_one_load_for_every_kind_and_each_brings_its_networks(small_forecaster, small_settings, street_window, tmp_path,
                                                              kind, name, nfe):
    save_checkpoint(tmp_path / "some.safetensors", small_forecaster, kind, small_settings, {})
    forecaster = occflow.load(tmp_path / "some.safetensors", device="cpu")
    assert (forecaster.kind, forecaster.name, forecaster.nfe) == (kind, name, nfe)
    (future,) = forecaster.samples(street_window.task, [0])
    assert future.frames[2].grid == small_settings.grid and len(future.frames) == 3
    if kind == "regression":
        np.testing.assert_array_equal(future.frames[0].flat, forecaster.forecast(street_window.task).frames[0].flat)


def test_what_cannot_be_loaded_is_said_in_one_line(small_forecaster, small_settings, tmp_path):
    path = tmp_path / "autoencoder.safetensors"
    save_checkpoint(path, small_forecaster.autoencoder, "autoencoder", small_settings, {})
    for wrong, message in ((path, "kind 'autoencoder', wanted teacher or student"), ("studnet", "student or teacher")):
        with pytest.raises(InputError, match=message):
            occflow.load(wrong, device="cpu")
    with pytest.raises(InputError, match="'gpu' is not known"):
        occflow.load("student", device="gpu")
    with pytest.raises(InputError, match="does not take 4 steps"):
        occflow.load("student", device="cpu", steps=4)
    assert occflow.load("teacher", device="cpu", steps=2).name == "teacher-2"


WRITERS = {"NuScenesLog": write_tiny_nuscenes, "KittiRawLog": write_drive, "KittiTrackingLog": write_tracking,
           "SemanticKittiLog": write_semantickitti, "RecordingLog": write_recording}


@pytest.mark.parametrize("reader", WRITERS)
def test_the_kind_of_a_log_is_guessed(reader, tmp_path):
    written = WRITERS[reader](tmp_path)
    root = written["root"] if isinstance(written, dict) else written
    assert type(occflow.open_log(root)).__name__ == reader
    assert type(occflow.open_log(str(root))).__name__ == reader
    if reader == "KittiRawLog":  # a drive, a date's folder, or the folder of all dates
        assert {type(occflow.open_log(one)).__name__ for one in (root.parent, tmp_path)} == {reader}


def test_a_log_whose_kind_or_version_cannot_be_told_is_one_line_with_what_to_name(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        occflow.open_log(tmp_path / "nowhere")
    with pytest.raises(InputError, match="one of argoverse2, folder, kitti_raw, kitti_tracking, nuscenes"):
        occflow.open_log(tmp_path)
    write_semantickitti(tmp_path)
    root = write_tiny_nuscenes(tmp_path)["root"]
    (tmp_path / "semantickitti/sequences").rename(root / "sequences")
    with pytest.raises(InputError, match="looks like nuscenes and semantickitti; name the kind"):
        occflow.open_log(root)
    assert occflow.open_log(root, kind="semantickitti").scenes() == ["00"]
    (root / "v1.0-mini").mkdir()
    (root / "v1.0-mini/sample_data.json").write_text("[]")
    with pytest.raises(InputError, match="v1.0-mini, v1.0-tiny.*name the version"):
        occflow.open_log(root, kind="nuscenes")
    assert occflow.open_log(root, kind="nuscenes", version="v1.0-tiny").scenes() == ["tiny-1", "tiny-2"]
    with pytest.raises(InputError, match="no reader for 'waymo'"):
        occflow.open_log(root, kind="waymo")


def test_probabilities_and_pictures_are_of_futures_of_one_task(store, student):
    one, other = (student.samples(store.task("tiny-1", present), [0]) for present in (5, 6))
    for futures, message in (([*one, *other], "different tasks"), ([], "no futures")):
        with pytest.raises(InputError, match=message):
            occflow.probability(futures)
    (first, *_) = occflow.probability(one)
    assert set(first.probability) == {1.0}
    np.testing.assert_array_equal(first.points()[0], one[0].frames[0].points()[0])


def test_a_store_is_opened_again_without_its_log(store):
    assert occflow.open_store(str(store.path)).scenes() == store.scenes()
    assert occflow.build(occflow.open_log(store.path.parent / "tiny"), store.path).grid == DEMO_GRID


def test_where_there_is_a_display_a_window_is_opened(store, student, monkeypatch, tmp_path):
    import occflow.viewing.headless
    import occflow.viewing.player

    shown = []
    monkeypatch.setattr(occflow.viewing.headless, "require_display", lambda: None)
    monkeypatch.setattr(occflow.viewing.player, "play", lambda films, view, folder: shown.append((films(0), view)))
    task = store.task("tiny-1", 5)
    assert occflow.show(task, student.samples(task, range(4))) is None
    film, view = shown[0]
    assert list(film.sources) == ["history", "future 1", "future 2", "future 3"] and len(film.samples["future 1"]) == 4
    assert occflow.show(task, student.samples(task, range(4)), centre=student.forecast(task)) is None
    assert list(shown[1][0].sources)[1:3] == ["centre", "future 1"] and len(shown[1][0].samples["centre"]) == 4
    assert occflow.show(task, [], centre=student.forecast(task)) is None
    assert list(shown[2][0].sources) == ["history", "centre"] and not shown[2][0].samples
    assert view["frames_per_second"] == pytest.approx(2) and film.scene == "tiny-1"
    assert occflow.show(task, student.forecast(task), tmp_path / "a.png", camera="birds_eye") == tmp_path / "a.png"


def test_futures_are_shown_on_a_page_where_the_picture_is_called_html(store, student, tmp_path):
    task = store.task("tiny-1", 5)
    path = occflow.show(task, student.samples(task, range(3)), tmp_path / "a.html", centre=student.forecast(task))
    (window,) = read_page(path)[0]["windows"]
    assert [one["name"] for one in window["layers"] if one["kind"] == "forecast"][:2] == ["centre", "future 1"]
    assert [one["kind"] for one in window["layers"]].count("sample") == 3 and window["now"] == len(task.history) - 1
