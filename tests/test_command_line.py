"""How every tool ends: one line and an exit status, whatever happened."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from occflow.atomic import atomic_folder
from occflow.command_line import run


@pytest.fixture
def ended(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Runs a job as a tool does; returns its exit status and what it wrote to stderr."""
    def run_job(job: Callable[[dict], None], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["tool.py", *arguments])
        status = 0
        try:
            run(job)
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err

    return run_job


WARNING = """
import warnings
from occflow.command_line import run

def job(config):
    warnings.warn("scene a: 3 sweeps\\nare missing")
    warnings.warn("use another function", FutureWarning)

run(job)
"""


def test_a_warning_is_one_line_and_those_about_code_are_none():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # its own process: here pytest collects them
    done = subprocess.run([sys.executable, "-c", WARNING], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "warning: scene a: 3 sweeps are missing\n")


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_end_leaves_nothing_half_written(number, status, ended, tmp_path):
    def job(_: dict) -> None:
        with atomic_folder(tmp_path / "out"):
            os.kill(os.getpid(), number)
            time.sleep(30)

    before = signal.getsignal(number)
    assert ended(job) == (status, "terminated: nothing half-written was left behind\n")
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(number) == before


def test_ctrl_c(ended):
    def job(_: dict) -> None:
        raise KeyboardInterrupt

    assert ended(job) == (130, "interrupted: nothing half-written was left behind\n")


def test_a_signal_that_is_ignored_stays_ignored(ended):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert ended(lambda _: os.kill(os.getpid(), signal.SIGHUP)) == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_of_the_system_is_one_line_with_the_file_where_one_is_known(ended):
    def full(_: dict) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    def unnamed(_: dict) -> None:
        raise OSError("cannot write this kind of picture")

    assert ended(full) == (2, "error: No space left on device: runs/x\n")
    assert ended(unnamed) == (2, "error: cannot write this kind of picture\n")


@pytest.mark.parametrize("argument, told", [("--run_dir", "write run_dir=VALUE"), ("runs/x", "write KEY=VALUE"),
                                            ("workers=0", "workers: 0")])
def test_a_wrong_argument_is_told_before_the_job_begins(argument, told, ended):
    status, line = ended(lambda _: pytest.fail("the job has begun"), argument)
    assert status == 2 and line.startswith("error: ") and told in line and line.count("\n") == 1
