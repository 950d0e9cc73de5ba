"""What makes the environment: which interpreter tools/install.sh takes, what it says, and the container's recipe.

Interpreters, uv and pip are shell scripts on a PATH of their own: nothing is installed, nothing is fetched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools/install.sh"

# An interpreter of one version: tells it, checks itself, makes venvs of its kind, and notes what pip is asked for
PYTHON = """#!/bin/sh
case "$*" in
    --version) echo "Python {version}" ;;
    *version_info\\[:2\\]\\ \\<=*) exit {misfit} ;;
    *'"%d.%d"'*) echo "{version}" | cut -d. -f1,2 ;;
    *ensurepip*) exit {no_venv} ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv {version}" >> {log} ;;
    "-m pip --version") [ -d "$(dirname "$0")/../bin" ] && [ "$(basename "$0")" = python ] ;;
    "-m pip install"*) echo "pip $*" >> {log} ;;
    *find_spec*) exit {no_spconv} ;;
    *) exit 1 ;;
esac
"""
UV = """#!/bin/sh
for venv; do :; done
mkdir -p "$venv/bin"; cp {python} "$venv/bin/python"; echo "uv $*" >> {log}
"""


class Machine:
    """A PATH in a folder, with the few commands that the script asks for and a user who is not root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log.touch()
        for name in ("sh", "grep", "head", "cut", "mkdir", "cp", "dirname", "basename"):
            (self.bin / name).symlink_to(shutil.which(name))
        self.command("id", "#!/bin/sh\necho 1000\n")

    def command(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str, no_venv: int = 0, no_spconv: int = 0) -> Path:
        fits = (3, 10) <= tuple(int(part) for part in version.split(".")[:2]) <= (3, 12)
        return self.command(name, PYTHON.format(version=version, misfit=int(not fits), no_venv=no_venv,
                                                no_spconv=no_spconv, log=self.log))

    def shim(self, name: str) -> None:
        """On the PATH, and it does not run: pyenv's of a version that is not chosen."""
        self.command(name, "#!/bin/sh\nexit 127\n")

    def install(self, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([self.bin / "sh", SCRIPT, "venv"], cwd=self.folder, capture_output=True, text=True,
                              env={"PATH": str(self.bin), **environment})

    def made(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("there, taken", [
    ({"python3.10": "3.10.9", "python3.11": "3.11.2", "python3.12": "3.12.1"}, "3.11.2"),
    ({"python3.10": "3.10.9", "python3.12": "3.12.1", "python3.13": "3.13.0"}, "3.12.1"),
    ({"python3.10": "3.10.9", "python3.13": "3.13.0"}, "3.10.9")])
def test_the_first_fitting_interpreter_is_taken_and_named(machine, there, taken):
    for name, version in there.items():
        machine.python(name, version)
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.made()[0] == f"venv {taken}"
    assert f"install: Python {taken} ({machine.bin}/python{taken[:4]}) for venv" in done.stdout
    assert re.fullmatch(r"pip -m pip install .*-c constraints\.txt -e \.\[dev,.*\]", machine.made()[1])


def test_one_on_the_path_that_does_not_run_is_passed_over(machine):
    machine.shim("python3.11")
    machine.python("python3.12", "3.12.1")
    assert machine.install().returncode == 0 and machine.made()[0] == "venv 3.12.1"


def test_the_named_one_is_taken_before_all_others(machine):
    machine.python("python3.11", "3.11.2")
    mine = machine.python("mine", "3.10.4")
    assert machine.install(PYTHON=str(mine)).returncode == 0 and machine.made()[0] == "venv 3.10.4"


@pytest.mark.parametrize("version, words", [("3.13.0", "does not fit (Python 3.13.0); occflow needs"),
                                            (None, "not found")])
def test_a_named_one_that_does_not_do_is_refused_in_one_line(machine, version, words):
    machine.python("python3.11", "3.11.2")
    if version:
        machine.python("mine", version)
    done = machine.install(PYTHON="mine")
    line = last_line(done)
    assert done.returncode == 2 and line.startswith("error: mine ") and words in line and not machine.made()


def test_without_one_uv_brings_it(machine):
    machine.python("python3.13", "3.13.0")
    (machine.folder / "fetched").mkdir()
    fetched = machine.python("fetched_python", "3.11.9").rename(machine.folder / "fetched/python")
    machine.command("uv", UV.format(python=fetched, log=machine.log))
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.made()[0] == "uv venv --quiet --seed --python 3.11 venv" and "uv" in done.stdout


def test_without_one_and_without_uv_a_line_says_what_to_do(machine):
    machine.python("python3.13", "3.13.0")
    done = machine.install()
    line = last_line(done)
    assert done.returncode == 2 and line.startswith("error: no Python 3.10, 3.11 or 3.12 on the PATH: ")
    assert "apt-get install python3.11" in line and "uv" in line and "make PYTHON=" in line
    assert not machine.made()


def test_debians_missing_module_is_named_to_who_may_not_install_it(machine):
    machine.python("python3.11", "3.11.2", no_venv=1)
    done = machine.install()
    assert done.returncode == 2 and "apt-get install python3.11-venv" in last_line(done) and not machine.made()


def test_a_second_call_keeps_the_environment_whatever_is_on_the_path_then(machine):
    machine.python("python3.11", "3.11.2")
    assert machine.install().returncode == 0
    (machine.bin / "python3.11").unlink()
    done = machine.install()
    assert done.returncode == 0 and "venv is there, with Python 3.11.2" in done.stdout
    assert [line.split()[0] for line in machine.made()] == ["venv", "pip", "pip"]


@pytest.mark.parametrize("no_spconv", [0, 1])
def test_a_machine_without_spconv_is_told_so_in_one_line(machine, no_spconv):
    machine.python("python3.11", "3.11.2", no_spconv=no_spconv)
    done = machine.install()
    assert done.returncode == 0 and done.stdout.count("no spconv for this machine") == no_spconv


def last_line(done: subprocess.CompletedProcess) -> str:
    return done.stderr.strip().splitlines()[-1]  # before it may stand which libraries of pictures are missing


def test_the_container_has_the_packages_of_the_script():
    pairs = re.search(r"for pair in (.*); do", SCRIPT.read_text())[1].split()
    recipe = (ROOT / "Dockerfile").read_text()
    packages = re.search(r"apt-get install -y --no-install-recommends (.*?) *\\\n", recipe)[1].split()
    assert packages == ["make", *(pair.split(":")[1] for pair in pairs)]
    assert recipe.splitlines()[5].startswith("FROM python:3.11-") and re.search(r"make install\n", recipe)


def test_what_git_ignores_is_not_copied_into_the_container():
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if not line.startswith("!")]
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    for name in ignored:
        assert name in left_out or f"**/{name}" in left_out, name
    kept = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split() if line.startswith("!")}
    assert kept == {line for line in left_out if line.startswith("!")}
