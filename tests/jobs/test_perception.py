"""The perception stage as a tool: made once, replaced by name, refused where it cannot be, read by what perceives."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing.edits import edited
from fuzzing.judging import digest
from small_perception import SightedStreet, small_perception

from occflow import commands
from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.eval.perceived import quality, quality_markdown
from occflow.forecasting.checkpoint import load_perception, read_checkpoint, save_checkpoint
from occflow.grid import FREE
from occflow.jobs.perception import (
    configured_network,
    judged_frames,
    train_perception,
)
from occflow.jobs.sources import configured_perception, configured_windows, ensure_log, ensure_store, perception_path
from occflow.jobs.standing import shaping
from occflow.occupancy.settings import DEMO_GRID
from occflow.occupancy.windows import window_keys
from occflow.perception.perceive import Perceiver
from occflow.training.run import state_path
from occflow.weights_file import read_weights, write_weights

SMALL = ["perception.start=null", "perception.steps=4", "perception.batch=1", "perception.calibration_frames=2",
         "perception.network.patch_channels=8", "perception.network.voxel_channels=4",
         "perception.network.widths=[8,12]", "perception.network.head_channels=12", "device=cpu", "workers=1"]


def arguments(folder: Path, *changes: str) -> list[str]:
    return ["simulation=tiny", f"simulation.root={folder}/log", f"log.root={folder}/log",
            f"data.store={folder}/occupancy", f"run_dir={folder}/run", *SMALL, *changes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A log and its store, and the perception stage by its command."""
    folder = tmp_path_factory.mktemp("perception")
    config = compose_config(arguments(folder))
    ensure_log(config)
    ensure_store(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["occflow", "train_perception", *arguments(folder)])
        commands.main()
    return folder


@pytest.fixture()
def config(folder, tmp_path):
    """config(changes): of a run in a folder of its own, with a copy of the checkpoint."""
    for path in (folder / "run").glob("perception.*"):
        shutil.copy(path, tmp_path)
    return lambda *changes: compose_config([*arguments(folder), f"run_dir={tmp_path}", *changes])


def test_the_command_leaves_weights_their_quality_and_no_state(folder):
    run = folder / "run"
    left = {path.name for path in run.iterdir()} - {"perception.png"}  # where there is a renderer
    assert left == {"perception.json", "perception.safetensors", "perception_quality.json", "seconds.json",
                    "stats.jsonl"}
    found = json.loads((run / "perception_quality.json").read_text())
    assert {"raw", "perceived", "ece", "threshold", "reliability", "frames"} == set(found) and found["frames"] == 3
    assert all(0 <= value <= 1 for row in ("raw", "perceived") for value in found[row].values())
    assert set(json.loads((run / "seconds.json").read_text())) >= {"perception"}
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4 and lines[-1]["training"] == "perception"
    network = load_perception(run / "perception.safetensors")
    assert network.settings.grid == DEMO_GRID and not network.training
    assert network.threshold.item() == pytest.approx(found["threshold"])


def test_the_table_says_what_the_file_says(folder, config, capsys):
    path, text = train_perception(config())
    found = json.loads((path.parent / "perception_quality.json").read_text())
    assert found == json.loads((folder / "run/perception_quality.json").read_text())
    for row in ("raw", "perceived"):
        assert f"| {row} | {100 * found[row]['iou']:.1f} |" in text
    assert f"error {found['ece']:.4f}, 3 frames" in text and f"{path}: is there already" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [[], ["data.history=5"], ["data.input=lidar"], ["model=light"], ["workers=2"],
                                     ["perception.checkpoint=elsewhere"], ["train.save_seconds=5"]])
def test_a_finished_one_is_left_as_it_is_whatever_does_not_shape_it(config, tmp_path, changes):
    before = (tmp_path / "perception.safetensors").read_bytes()
    train_perception(config(*changes))
    assert (tmp_path / "perception.safetensors").read_bytes() == before and not (tmp_path / "resume").exists()


@pytest.mark.parametrize("change, told", [
    ("perception.steps=5", "perception.steps: checkpoint 4, configured 5"), ("seed=1", "seed: checkpoint 0"),
    ("data.occupancy.min_points=3", "data.occupancy.min_points"), ("perception.network.head_channels=8", "head_chan")])
def test_another_one_is_replaced_by_name_only(config, tmp_path, change, told):
    before = (tmp_path / "perception.safetensors").read_bytes()
    with pytest.raises(InputError, match=f"is there already, and not what.*{told}.*perception.replace=true$") as error:
        train_perception(config(change))
    assert "\n" not in str(error.value) and (tmp_path / "perception.safetensors").read_bytes() == before
    if not change.startswith("data"):  # the store is that of the configuration
        train_perception(config(change, "perception.replace=true"))
        assert (tmp_path / "perception.safetensors").read_bytes() != before
        assert read_checkpoint(tmp_path / "perception.safetensors").record["kind"] == "perception"


def test_what_shapes_a_perception_is_not_what_shapes_a_teacher(config):
    values = shaping(config(), "perception")
    assert set(values) == {"seed", "data", "perception", "precision"}
    assert set(values["data"]) == {"grid", "store", "occupancy"} and "checkpoint" not in values["perception"]
    assert {"model", "train"} < set(shaping(config(), "train"))


def test_a_training_starts_from_the_weights_that_are_named(config, tmp_path):
    start = tmp_path / "perception.safetensors"
    named = start.rename(tmp_path / "named.safetensors")
    (tmp_path / "perception.json").unlink()
    train_perception(config(f"perception.start={named}", "perception.learning_rate=1e-9"))
    first, then = (read_checkpoint(path).tensors for path in (named, start))
    assert all(torch.allclose(first[name], then[name], atol=1e-5) for name in first if name.startswith("head"))


@pytest.mark.parametrize("change, told", [
    ("perception.network.widths=[8]", "made with another configuration"), ("data.grid.shape=[50,100,8]", "holds grid"),
    ("perception.start=nowhere.safetensors", "no such checkpoint file.*perception.start=null starts from none$"),
    ("eval.split=test", "no split 'test'"), ("perception.split=test", "no split 'test'"),
    ("perception.network.widths=[8,8,8,8,8,8,8,8]", "perception.network.widths: 8 levels halve a plane of 100 x 100")])
def test_what_cannot_be_trained_is_one_line_before_it_begins(config, tmp_path, change, told):
    weights = tmp_path / "perception.safetensors"
    named = [] if "start" in change else [f"perception.start={weights.rename(tmp_path / 'named.safetensors')}"]
    for path in tmp_path.glob("perception.*"):
        path.unlink()
    with pytest.raises(InputError, match=told) as error:
        train_perception(config(*named, change))
    assert "\n" not in str(error.value) and not state_path(tmp_path, "perception").exists()


def test_a_damaged_one_is_refused_with_the_remedy(config, tmp_path):
    path = tmp_path / "perception.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="perception.safetensors: not a checkpoint.*perception.replace=true"):
        train_perception(config())


def test_no_edit_of_the_files_changes_what_is_loaded(config, tmp_path):
    paths = [tmp_path / "perception.safetensors", tmp_path / "perception.json"]
    contents, sound, refused = [path.read_bytes() for path in paths], digest(load_perception(paths[0]).state_dict()), 0
    for number in range(40):
        which = number % 2
        paths[which].write_bytes(edited(contents[which], "perception", ("bytes",), number).content)
        try:
            found = load_perception(paths[0])
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and "perception" in str(error)
        else:
            assert digest(found.state_dict()) == sound
        paths[which].write_bytes(contents[which])
    assert refused > 25


HUGE = 10**9


@pytest.mark.parametrize("changes", [
    {"widths": [HUGE, HUGE]}, {"widths": []}, {"widths": [8, 12] * 2000}, {"widths": "ab"}, {"widths": [8.5, 12]},
    {"patch_channels": 0}, {"patch_channels": HUGE}, {"voxel_channels": -4}, {"head_channels": True},
    {"grid": {"shape": [HUGE] * 3}}, {"grid": 3}, {"grid": {"voxel_size_m": 0.0}}, {"grid": {"shape": [1, 1, 8]}}])
def test_settings_that_are_forged_are_refused_in_one_line(config, tmp_path, changes):
    """Before there is memory for a network of any size; the file's checksums are right."""
    path = tmp_path / "perception.safetensors"
    record, tensors = read_weights(path)
    for name, value in changes.items():
        place = record["settings"]
        place[name] = {**place[name], **value} if isinstance(value, dict) else value
    write_weights(path, {name: tensor.clone() for name, tensor in tensors.items()}, record)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="perception.safetensors: its (settings are not usable|weights are)") as error:
        load_perception(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["head.0.weight", "stem.1.running_var", "threshold"])
def test_weights_that_are_not_finite_are_refused(config, tmp_path, name, value):
    path = tmp_path / "perception.safetensors"
    network = load_perception(path)
    network.state_dict()[name].view(-1)[0] = value
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"not finite \(tensor {name}\); nothing was written"):
        save_checkpoint(path, network, "perception", network.settings, {})
    assert path.read_bytes() == before
    record, _ = read_weights(path)
    write_weights(path, network.state_dict(), record)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=rf"weights are not finite \(tensor {name}\)"):
        load_perception(path)


def test_a_run_perceives_with_its_own_network_else_with_the_project_s(config, tmp_path):
    assert perception_path(config()) == tmp_path / "perception.safetensors"
    assert perception_path(config("perception.checkpoint=mine.safetensors")) == Path("mine.safetensors")
    shipped = perception_path(config(f"run_dir={tmp_path}/elsewhere"))
    assert (shipped.parent.name, shipped.name) == ("pretrained", "perception.safetensors")
    with pytest.raises(InputError, match="mine.safetensors: no such checkpoint of the perception stage; make one with"):
        configured_perception(config("perception.checkpoint=mine.safetensors"))
    with pytest.raises(InputError, match="perceives on grid .*configured is .*perception.checkpoint=PATH"):
        configured_perception(config("data.grid.voxel_size_m=0.4"))


def test_windows_of_input_lidar_have_a_history_as_perceived(config, folder):
    """And the truth as ever; unlabelled voxels in between only where no network is asked."""
    chosen = config("data.input=lidar")
    store = ensure_store(chosen)
    source, key = configured_windows(chosen, store), window_keys(store, "val", 3, 6)[2]
    window, perceiver = source.read(key), Perceiver(configured_perception(chosen))
    for offset, frame in enumerate(window.history):
        wanted = perceiver.perceive(store.sighting(key.scene, key.start + offset)).frame
        assert np.array_equal(frame.flat, wanted.flat) and np.array_equal(frame.labels, wanted.labels)
        assert frame.stamp_s == store.frame(key.scene, key.start + offset).stamp_s and (frame.labels < FREE).all()
    bare = source.read(key, "causal")
    assert all((frame.labels == 255).all() for frame in bare.history)
    assert all(np.array_equal(a.flat, b.flat) for a, b in zip(window.truth, bare.truth))


def test_quality_is_that_of_a_network_that_is_known():
    """One that takes every voxel that it has seen anything in, and is sure of it."""
    store = SightedStreet()

    class Certain(Perceiver):
        def perceive(self, sighting):
            found = super().perceive(sighting)
            probability = np.zeros(store.grid.num_voxels, np.float32)
            probability[sighting.flat] = 1.0
            frame = type(found.frame)(sighting.flat, np.full(len(sighting.flat), 11, np.uint8),
                                      sighting.world_from_grid, sighting.stamp_s)
            return type(found)(frame, probability.reshape(store.grid.shape), found.classes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("occflow.eval.perceived.Perceiver", Certain)
        found = quality(small_perception(), store, [("street", index) for index in range(4)])
    seen, true = (sum(len(read("street", index).flat) for index in range(4)) for read in (store.sighting, store.frame))
    assert found["raw"]["iou"] == found["perceived"]["iou"] == pytest.approx(seen / true, abs=1e-6)
    assert found["ece"] == 0 and found["reliability"] == [[1.0, 1.0, seen]]
    assert found["perceived"]["miou"] > 0 == found["raw"]["miou"] and found["raw"]["movable_iou"] == 0


def test_what_cannot_be_measured_is_null_and_a_dash():
    """A log without labels; a network that believes in nothing."""
    store, network = SightedStreet(labelled=False), small_perception()
    torch.nn.init.zeros_(network.head[-1].weight)
    torch.nn.init.constant_(network.head[-1].bias, -20.0)
    found = quality(network, store, judged_frames(store, None))
    assert found["perceived"]["miou"] is found["ece"] is None and found["reliability"] == []
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "| perceived | 0.0 | - |" in quality_markdown(found) and "error -, " in quality_markdown(found)
    with pytest.raises(InputError, match="no frame of split 'val' to judge the perception by"):
        judged_frames(SightedStreet(num=2), "val")


def test_sizes_of_a_network_are_checked_with_the_configuration(config):
    with pytest.raises(InputError, match="perception.network"):
        configured_network({**config(), "perception": {"network": {"patch_channels": "8", "widths": [8]}}})
