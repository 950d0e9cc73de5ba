"""Real recordings: the drive that is committed, and others: where tests look for them, and what a lacking one is told.
"""

import os
from pathlib import Path

import pytest

from occflow.logs.protocol import Sweep
from occflow.logs.recording import read_sweep_file
from occflow.logs.recording_files import SCENE, read_description, read_scene, sweep_file

DRIVE = Path(__file__).resolve().parents[1] / "data/pandaset_002"
REAL_LOGS = Path(os.environ.get("OCCFLOW_REAL_LOGS", "~/.cache/occflow/real_logs")).expanduser()


def sweeps_of_the_drive(first: int, last: int, every_point: int = 1) -> list[Sweep]:
    """Sweeps of the committed drive without labels, those before them unread; every so many of their points."""
    scene = next(DRIVE.glob(f"*/{SCENE}")).parent
    entries, cell_m = read_scene(scene / SCENE, scene.name), read_description(DRIVE)["cell_m"]
    sweeps = []
    for number in range(first, last):
        entry, path = entries[number], scene / sweep_file(number)
        points = read_sweep_file(path, entry.num_bytes, entry.checksum, cell_m).points[::every_point]
        sweeps.append(Sweep(entry.stamp_s, points, None, entry.world_from_sensor, entry.world_from_ego, None, path))
    return sweeps


def recording_in(folder: Path, name: str) -> Path:
    """The recording's folder; the test that asks for one that is not there is skipped."""
    if not (folder / name).is_dir():
        pytest.skip(f"no real recording {name!r} in {folder}, the folder that OCCFLOW_REAL_LOGS names (else "
                    "~/.cache/occflow/real_logs); data/README.md, 'Recordings that tests look for', says what must lie "
                    "there and where it comes from")
    return folder / name
