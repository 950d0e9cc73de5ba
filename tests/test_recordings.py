"""A test without its recording says what it lacks, where it was looked for, and how to get it."""

import pytest
from real_recordings import recording_in


def test_a_missing_recording_is_a_skip_that_says_what_to_do(tmp_path):
    with pytest.raises(pytest.skip.Exception) as skipped:
        recording_in(tmp_path, "drive")
    for part in ("'drive'", str(tmp_path), "OCCFLOW_REAL_LOGS", "data/README.md"):
        assert part in str(skipped.value)
    (tmp_path / "drive").mkdir()
    assert recording_in(tmp_path, "drive") == tmp_path / "drive"
