"""What all tests share: a tiny hand-made log, real recordings where they are installed, threads and seeds, figures."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hypothesis
import pytest
import torch
from real_recordings import DRIVE, REAL_LOGS, recording_in
from small_forecaster import small_forecaster, small_settings, street_window
from small_logs import write_tiny_nuscenes

__all__ = ["small_forecaster", "small_settings", "street_window"]  # fixtures

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, this run too, ignore Ctrl-C
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup has them ignore the end of the terminal
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine takes its time: nothing here is timed
hypothesis.settings.load_profile("untimed")

# one where nothing else is asked for: on a busy machine two mostly wait for each other, and tests are small
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0])


LONG = ("test_whole_road.py", "test_dask_tasks.py", "test_processes.py")  # files that take a minute or nearly so


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, so that of several processes none is left with one at the end. Tests marked `cuda` are
    skipped where there is none."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device is visible to torch: needs an NVIDIA GPU and a "
                                                        "CUDA build of torch"))


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Threads and torch's seed, whatever ran before: trainings set both for the whole process."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """figure(name, value, above=, below=): assert that a training's figure lies between its bounds, and note all three
    for margins.py, which measures how near it comes to them."""
    def noted(name: str, value: float, above: float | None = None, below: float | None = None) -> None:
        record_property(f"figure:{name}", f"{float(value)!r} {above} {below}")
        assert above is None or value > above, f"{name}: {value} is not above {above}"
        assert below is None or value < below, f"{name}: {value} is not below {below}"

    return noted


@pytest.fixture
def tiny_log_root(tmp_path: Path) -> Path:
    """Root of a log of version v1.0-tiny with the scenes tiny-1 and tiny-2."""
    return write_tiny_nuscenes(tmp_path)["root"]


@pytest.fixture(scope="session")
def recording() -> Callable[[str], Path]:
    """recording(name): the folder of a real recording that is not committed, or a skip that says what is lacking."""
    return partial(recording_in, REAL_LOGS)


@pytest.fixture(scope="session")
def real_log_root(recording: Callable[[str], Path]) -> Path:
    """Root of a real recording in the nuScenes schema, version v1.0-pandaset."""
    return recording("pandaset_nuscenes")


@pytest.fixture(scope="session")
def drive() -> dict:
    """The configuration `log` of the real drive that is committed, scene pandaset-002."""
    return {"kind": "recording", "root": str(DRIVE)}
