"""Driving logs to test with: a tiny hand-made one in the nuScenes schema, and a real one where it is installed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from small_forecaster import small_forecaster, small_settings, street_window
from small_logs import write_tiny_nuscenes

__all__ = ["small_forecaster", "small_settings", "street_window"]  # fixtures

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, this run too, ignore Ctrl-C
torch.set_num_threads(1)  # on a busy machine two threads mostly wait for each other, and tests are small

REAL_LOGS = Path(os.environ.get("OCCFLOW_REAL_LOGS", "~/.cache/occflow/real_logs")).expanduser()


@pytest.fixture
def tiny_log_root(tmp_path: Path) -> Path:
    """Root of a log of version v1.0-tiny with the scenes tiny-1 and tiny-2."""
    return write_tiny_nuscenes(tmp_path)["root"]


@pytest.fixture(scope="session")
def real_log_root() -> Path:
    """Root of a real recording in the nuScenes schema, version v1.0-pandaset."""
    root = REAL_LOGS / "pandaset_nuscenes"
    if not root.is_dir():
        pytest.skip(f"no real recording at {root}; set OCCFLOW_REAL_LOGS")
    return root
