"""Configurations and weights that come with the project are found from a checkout and from an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from setuptools import build_meta

from occflow.command_line import compose_config
from occflow.resources import config_folder, pretrained_folder, shipped_path

ROOT = Path(__file__).resolve().parents[1]
STUDENT = "pretrained/student.safetensors"


def test_in_a_checkout_they_are_the_top_level_folders():
    assert (config_folder(), pretrained_folder()) == (ROOT / "configs", ROOT / "pretrained")


def test_a_shipped_student_is_found_from_any_folder_and_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = compose_config(["eval.checkpoints=[pretrained/teacher.safetensors,pretrained/x]"])
    assert config["forecast"]["checkpoint"] == config["stream"]["checkpoint"] == str(ROOT / STUDENT)
    assert config["eval"]["checkpoints"] == [str(ROOT / "pretrained/teacher.safetensors"), "pretrained/x"]
    own = tmp_path / STUDENT
    own.parent.mkdir()
    own.touch()
    assert shipped_path(STUDENT) == compose_config([])["forecast"]["checkpoint"] == STUDENT


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """What a wheel installs, in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "occflow", "configs", "pretrained"):
        (source / name).symlink_to(ROOT / name)
    before = os.getcwd()
    os.chdir(source)
    try:
        wheel = build_meta.build_wheel(str(folder))
    finally:
        os.chdir(before)
    with zipfile.ZipFile(folder / wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_wheel_has_every_configuration_and_all_weights(installed):
    for folder, pattern in (("configs", "*.yaml"), ("pretrained", "*.safetensors")):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob(pattern)}
        data = installed / "occflow/_data"
        assert files and files == {path.relative_to(data) for path in (data / folder).rglob("*") if path.is_file()}
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"occflow"}


def test_a_wheel_has_the_program_of_pages_with_the_licence_of_what_is_not_ours(installed):
    ours, theirs = (root / "occflow/viewing/browser" for root in (ROOT, installed))
    files = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file()}
    assert files == {path.relative_to(theirs) for path in theirs.rglob("*") if path.is_file()}
    assert Path("three/LICENSE") in files


CALL = """
from occflow.command_line import compose_config
from occflow.resources import config_folder
from occflow.run_record import git_commit
print(config_folder(), compose_config([])["forecast"]["checkpoint"], git_commit(), sep="\\n")
"""


def test_a_wheel_works_in_another_folder_and_takes_no_repository_around_it_for_its_own(installed, tmp_path):
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "another project"]):
        subprocess.run(["git", "-C", str(installed.parent), *words], check=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", CALL], cwd=tmp_path, env=environment, capture_output=True, text=True)
    data = installed / "occflow/_data"
    assert done.stdout.split() == [str(data / "configs"), str(data / STUDENT), "None"], done.stderr
