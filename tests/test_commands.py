"""The console command: its subcommands are the tools, its help is the configuration's own words, bash completes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from occflow import __version__, commands
from occflow.command_line import CONFIG_DIR, compose_config, describe_config
from occflow.commands import NAMES
from occflow.commands.completion import completion
from occflow.configuration_help import key_comments

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def called(monkeypatch, capsys):
    """Runs `occflow ARGUMENTS`; returns its exit status, what it printed and its errors."""
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["occflow", *arguments])
        status = 0
        try:
            commands.main()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def test_help_has_a_line_for_every_subcommand(called):
    status, text, _ = called("--help")
    words = [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ")]
    assert status == 0 and [name for name, _ in words] == list(NAMES) and called() == (0, text, "")
    assert called("--version") == (0, f"occflow {__version__}\n", "")


def test_every_tool_of_the_checkout_is_a_subcommand():
    tools = {path.stem: path.read_text() for folder in ("tools", "viz") for path in (ROOT / folder).glob("*.py")}
    assert set(tools) == set(NAMES) and all(f'start("{name}")' in tools[name] for name in NAMES)


def test_a_command_is_named_as_everybody_calls_it_whether_from_a_checkout_a_wheel_or_python():
    files = [*ROOT.glob("occflow/**/*.py"), *ROOT.glob("configs/**/*.yaml")]
    assert [path for path in files if re.search(r"(tools|viz)/\w+\.py", path.read_text())] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_subcommand_explains_itself_and_the_keys_that_it_reads(name, called):
    status, text, _ = called(name.replace("_", "-"), "--help")
    reads = import_module(f"occflow.commands.{name}").READS
    shown = yaml.safe_load(text.partition("(Hydra overrides)\n")[2]) or {}
    assert status == 0 and text[0].isupper() and tuple(shown) == reads
    assert shown == {key: value for key, value in describe_raw().items() if key in reads}


def test_who_trains_also_reads_which_split_is_held_out():
    """`train.validate.split` is `eval.split`, unless told."""
    reads = {name: import_module(f"occflow.commands.{name}").READS for name in NAMES}
    assert all("eval" in groups for groups in reads.values() if "train" in groups)


def describe_raw() -> dict:
    """The configuration as it is written, weights of the project by their path from a checkout."""
    return json.loads(json.dumps(compose_config([])).replace(f"{ROOT}/pretrained", "pretrained"))


@pytest.mark.parametrize("arguments, told", [
    (["forcast"], "error: forcast: no such subcommand; did you mean forecast? (occflow --help lists them)\n"),
    (["completion", "csh"], "error: completion: write `occflow completion SHELL` with one of bash, zsh, fish\n"),
    (["simulate_log", "log=fancy", "--help"], "error: configuration: In 'config': Could not find 'log/fancy'"),
    (["join_stores", "a", "b"], "error: join_stores: name the folder of the new store, then two or more stores\n"),
    (["compare_reports", "a"], "error: compare_reports: two reports are compared, 1 given; name two folders of runs\n"),
    (["render", "nowhere"], "error: nowhere/forecast.npz: "),
])
def test_a_wrong_call_is_one_line(arguments, told, called):
    status, printed, line = called(*arguments)
    assert (status, printed, line.count("\n")) == (2, "", 1) and line.startswith(told)


def test_help_shows_values_as_chosen_and_every_comment_of_the_files():
    text = describe_config(["model=light", "train.mean.steps=7"], ("model", "train", "seed"))
    assert "# model=light; or demo, full\nmodel:\n" in text and "distill:" not in text
    assert yaml.safe_load(text)["train"]["mean"]["steps"] == 7
    lines = text.splitlines()
    comments = key_comments(CONFIG_DIR / "model/light.yaml", CONFIG_DIR)
    assert comments["support.reach_m_per_s"] == "from a mover's tracked place"  # before that of its base
    assert comments["support.whole_grid"] == "true: every cell is in the support (an ablation)"
    for key, comment in {**comments, **key_comments(CONFIG_DIR / "train/demo.yaml", CONFIG_DIR)}.items():
        assert any(line.strip().startswith(f"{key.rpartition('.')[2]}:") and line.endswith(f" # {comment}")
                   for line in lines), key


COMPLETED = [
    ("occflow fore", ["forecast"]), ("occflow simulate_log simulation.val_s", ["simulation.val_scenes="]),
    ("occflow forecast log=kitti_r", ["kitti_raw"]), ("occflow forecast distill.met", []),
    ("occflow render pre", ["pretrained"]), ("occflow forecast forecast.checkpoint=pre", ["pretrained"])]
ZSH_ITSELF = """
compdef() { : }
compset() { PREFIX=${PREFIX#*=} }
compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -l -- ${(M)@:#$PREFIX*} }
_files() { print -l -- $PREFIX*(N) }
"""


def complete(shell: str, script: str) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, *(["-f"] if shell == "zsh" else []), "-c", script], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("line, words", COMPLETED)
def test_bash_completes_subcommands_keys_and_the_files_of_a_group(line, words):
    typed = line.replace("=", " = ").split(" ")  # as bash breaks it
    assert complete("bash", f"{completion('bash')}\nCOMP_WORDS=({' '.join(typed)})\nCOMP_CWORD={len(typed) - 1}\n"
                            f"COMP_LINE='{line}'\nCOMP_POINT={len(line)}\n_occflow\n"
                            "echo \"${COMPREPLY[@]}\"") == words


@pytest.mark.parametrize("line, words", COMPLETED)
def test_zsh_completes_them_too(line, words):
    typed = line.split(" ")
    assert complete("zsh", f"{ZSH_ITSELF}{completion('zsh')}\nwords=({' '.join(typed)})\nCURRENT={len(typed)}\n"
                           f"PREFIX='{typed[-1]}'\n_occflow") == words


@pytest.mark.parametrize("line, words", COMPLETED)
def test_fish_completes_them_too_with_their_keys(line, words):
    key = f"{line.split(' ')[-1].partition('=')[0]}=" if line.count("=") else ""
    found = complete("fish", f"{completion('fish')}\ncomplete -C '{line}'")
    assert [word.rstrip("/") for word in found] == [f"{key}{word}" for word in words]


def test_without_open3d_a_forecast_ends_well_with_its_table(called, monkeypatch, tmp_path):
    monkeypatch.setattr("occflow.jobs.score.forecast_log", lambda config: (tmp_path, "the table"))
    monkeypatch.setattr("occflow.viewing.headless.open3d_installed", lambda: False)
    monkeypatch.setattr("occflow.viewing.source.record_page", lambda file, folder, view: folder / "forecast.html")
    status, printed, errors = called("forecast")
    table, page, lack = printed.splitlines()
    assert (status, errors, table, page) == (0, "", "the table", f"wrote {tmp_path / 'forecast.html'}")
    assert lack.startswith("no pictures: open3d is not installed")


BLOCKED = """
import sys
for name in ("open3d", "embreex", "nuscenes", "pytest", "matplotlib", "tensorboard", "mcap", "rerun", "imageio_ffmpeg",
             "IPython"):
    sys.modules[name] = None
import occflow.forecasting.networks, occflow.forecasting.rows, occflow.forecasting.rules
import occflow.jobs.score, occflow.jobs.train, occflow.stream.jobs
import occflow.training.teacher, occflow.training.distillation
from occflow.stream.jobs import open_window
from occflow.errors import InputError
from occflow.viewing.headless import load_open3d
from occflow.simulation.lidar import _Caster
from occflow.logs.nuscenes import NuScenesLog
import pathlib
pathlib.Path("log/v1").mkdir(parents=True)
assert open_window("auto", None, {}) is None
for use in (load_open3d, lambda: _Caster(None), lambda: NuScenesLog("log", "v1")):
    try:
        use()
    except InputError as error:
        print(error)
"""


def test_a_car_and_a_training_node_need_no_extra_and_what_is_missing_is_named(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DISPLAY": ":0"}
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=tmp_path, env=environment, capture_output=True,
                          text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 3, done.stderr
    assert all(f"pip install 'occflow[{extra}]'" in line
               for extra, line in zip(("viewing", "simulation", "nuscenes"), lines))


def test_help_that_nobody_reads_to_its_end_is_no_error(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["--help"], ["player", "--help"]):
        done = subprocess.run([sys.executable, "-m", "occflow", *arguments], cwd=tmp_path, env=environment,
                              stdout=writer, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    os.close(writer)
