"""Real recordings: the drive that is committed, and others: where tests look for them, and what a lacking one is told.
"""

import os
from pathlib import Path

import pytest

DRIVE = Path(__file__).resolve().parents[1] / "data/pandaset_002"
REAL_LOGS = Path(os.environ.get("OCCFLOW_REAL_LOGS", "~/.cache/occflow/real_logs")).expanduser()


def recording_in(folder: Path, name: str) -> Path:
    """The recording's folder; the test that asks for one that is not there is skipped."""
    if not (folder / name).is_dir():
        pytest.skip(f"no real recording {name!r} in {folder}, the folder that OCCFLOW_REAL_LOGS names (else "
                    "~/.cache/occflow/real_logs); data/README.md, 'Recordings that tests look for', says what must lie "
                    "there and where it comes from")
    return folder / name
