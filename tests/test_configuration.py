"""Every key of the configuration is known, typed and in its range before anything runs."""

from __future__ import annotations

from itertools import zip_longest

import pytest

from occflow.choices import CHOICES as NAMED
from occflow.choices import names, values_of
from occflow.command_line import CONFIG_DIR, compose_config
from occflow.configuration import find
from occflow.errors import InputError

CHOICES = {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in CONFIG_DIR.iterdir()
           if group.is_dir() and group.name != "distill_shared"}  # what files of group distill begin with
GROUPS = [name for name in CHOICES if name != "experiment"]
ROUNDS = [[f"{name}={choice}" for name, choice in zip(GROUPS, row) if choice]
          for row in zip_longest(*(CHOICES[name] for name in GROUPS))]  # every choice in one of them


@pytest.mark.parametrize("groups", [*ROUNDS, *([f"experiment={name}"] for name in CHOICES["experiment"])],
                         ids=lambda groups: groups[0])
def test_what_the_project_comes_with_passes(groups):
    assert compose_config(groups)["run_dir"]


REFUSED = {
    "workers=0": "workers: 0 is not a whole number from 1 to 256", "workers=-1": "workers: -1", "workers=1000": "1000",
    "seed=-1": "seed: -1 is not a whole number from 0", "seed=abc": "seed: 'abc'", "seed=1.5": "seed: 1.5",
    "seed=null": "seed: null", "seed=true": "seed: True", "seed=99999999999": "seed: 99999999999",
    "eval.window_stride=0": "eval.window_stride: 0 is not a whole number from 1",
    "train.mean.windows=0": "train.mean.windows: 0", "train.mean.steps=-1": "train.mean.steps: -1",
    "train.mean.learning_rate=abc": "train.mean.learning_rate: 'abc' is not a number above 0",
    "train.mean.learning_rate=0": "learning_rate: 0", "train.mean.learning_rate=nan": "learning_rate: nan",
    "train.mean.learning_rate=inf": "learning_rate: inf", "train.teacher.history_dropout=1.5": "history_dropout: 1.5",
    "data.grid.shape=abc": "data.grid.shape: 'abc' is not a list of 3 whole numbers from 1",
    "data.grid.shape=[1,2]": "[1, 2] is not a list of 3", "data.grid.shape=[1,2,0]": "is not a list of 3 whole numbers",
    "data.grid.origin_m=[a,b,c]": "is not a list of 3 numbers", "data.grid.voxel_size_m=-1": "voxel_size_m: -1",
    "model.autoencoder.strides=[2,2,4]": "is not a list of lists of 3 whole numbers",
    "model.mean_trunk.widths=[a]": "is not a list of whole numbers",
    "eval.teacher_steps=[0]": "eval.teacher_steps: [0]",
    "eval.checkpoints=student": "eval.checkpoints: 'student' is not a list of texts",
    "data.occupancy.visibility=1": "data.occupancy.visibility: 1 is not true or false",
    "run_dir=null": "run_dir: null is not text", "eval.branches=[a]": "eval.branches: ['a'] is not text, or null",
    "train.mean=5": "train.mean: 5 stands for a group",
    "eval.temperatures=[0.5,1.5]": "eval.temperatures: [0.5, 1.5] is not a list of numbers from 0 to 1",
    "forecast.temperature=-0.5": "forecast.temperature: -0.5 is not a number from 0 to 1",
    "stream.display=[a]": "stream.display: ['a']", "distill.betas=[0.9,1]": "distill.betas",
    "train.mean.lr=1": "train.mean.lr: no such key; train.mean has steps,",
    "+train.mean.lr=1": "train.mean.lr: no such key", "++fancy=1": "fancy: no such key",
    "seed.x=1": "seed.x: no such key", "hydra.run.dir=x": "hydra: no such key", "seed=1,2": "seed=1,2: gives no single",
    "~seed": "is no setting", "runs/demo": "runs/demo: is no setting; write KEY=VALUE",
    "--run_dir": "write run_dir=VALUE", "--run_dir=x": "write run_dir=x",
    "log=null": "log=null: names none of the files in configs/log", "log=[a,b]": "configs/log",
    "log=fancy": "Available options", "distill_shared=all": "distill_shared: no such key", "run_dir=${nope}": "nope",
    "log.root=a'b": "configuration",
    "train.precision=fp16": "train.precision: 'fp16' is not known; known: auto, fp32, bf16",
    "eval.baselines=[copy,psychic]": "eval.baselines: 'psychic' is not known; known: copy, persistence,",
    "eval.teacher_samplers=[{steps: 5, solver: rk4}]": "eval.teacher_samplers.solver: 'rk4'",
    "eval.predictions=[{folder: a, ego: Q}]": "eval.predictions.ego: 'Q'",
    "device=abacus": "device: 'abacus'", "device=cuda:one": "device: 'cuda:one'",
    "train.feed_workers=-1": "train.feed_workers: -1 is not text, or a whole number from 0 to 256",
    "train.feed_workers=some": "known: auto", "train.feed_workers=2.5": "known: auto",
    "stream.display=yes": "'yes'", "data.input=camera": "known: occupancy, lidar, causal",
    "log.kind=fancy": "semantickitti_voxels",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_value_that_cannot_be_is_one_line(override):
    with pytest.raises(InputError) as caught:
        compose_config([override])
    message = str(caught.value)
    assert REFUSED[override] in message and "\n" not in message and "+" not in message.replace(override, "")


ACCEPTED = {
    "log.version=1.10": "1.10", "log.root=2024": "2024", "data.inspect.scene=0001": "0001", "view.scene=7": "7",
    "train.mean.learning_rate=1": 1, "++train.mean.steps=0": 0, "stream.display=true": True,
    "stream.display=false": False,
    "train.feed_workers=0": 0, "train.feed_workers=auto": "auto", "stream.split=null": None,
    "stream.max_scenes=null": None, "view.folder=null": None, "eval.baselines=[]": [], "data.grid.shape.0=50": 50,
    "eval.predictions=[a,{folder: b}]": ["a", {"folder": "b"}], "seed=${workers}": 2,
    "device=cuda:11": "cuda:11", "stream.display=auto": "auto", "distill.method=vsd": "vsd",
    "log.kind=occ3d": "occ3d", "eval.baselines=[copy]": ["copy"],
    "distill.crop.voxels=0": 0, "distill.crop={voxels: 0}": {"voxels": 0, "a_window": 4},
}


@pytest.mark.parametrize("override", ACCEPTED)
def test_a_value_that_can_be_arrives(override):
    key, _, _ = override.lstrip("+").partition("=")
    value = compose_config([override])
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    assert value == ACCEPTED[override] and type(value) is type(ACCEPTED[override])


@pytest.mark.parametrize("key", NAMED)
def test_every_name_that_the_project_s_files_give_is_known_and_no_other(key):
    known = names(NAMED[key])
    given = [list(values_of(compose_config(groups), key.split("."))) for groups in ROUNDS]
    assert known and {name for found in given for name in found} <= set(known)
    groups = next((groups for groups, found in zip(ROUNDS, given) if found), None)
    if groups is not None:  # solvers of samplers and egos of predictions have no default
        wrong = "[nothing]" if isinstance(find(compose_config(groups), key), list) else "nothing"
        with pytest.raises(InputError) as caught:
            compose_config([*groups, f"{key}={wrong}"])
        assert str(caught.value) == f"{key}: 'nothing' is not known; known: {', '.join(known)}"


def test_one_key_of_a_group_that_stands_for_another_leaves_the_others():
    config = compose_config(["distill.crop.voxels=0", "train.crop.a_window=7"])
    assert config["distill"]["crop"] == {"voxels": 0, "a_window": 7} and config["train"]["crop"]["voxels"] == 48


def test_the_full_size_trains_on_whole_windows():
    config = compose_config(["experiment=nuscenes_occ3d"])
    assert config["train"]["crop"]["voxels"] == config["distill"]["crop"]["voxels"] == 0


def test_a_configuration_does_not_remember_the_one_before():
    compose_config(["seed=5", "train.mean.steps=7"])["train"]["mean"].clear()
    assert compose_config([])["seed"] == 0 and compose_config([])["train"]["mean"]["steps"] == 1500


def test_nothing_is_written_to_the_committed_pages_by_default():
    assert all(str(find(compose_config([]), key)).startswith("runs/")
               for key in ("run_dir", "forecast.run_dir", "stream.run_dir", "data.inspect.picture", "resample.output"))
