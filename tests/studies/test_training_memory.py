"""Peaks of memory are those of the stages that a command notes, one by one."""

import subprocess
import sys

import pytest

from studies.training_memory import StagePeak, main, stage_peaks

TWO_STAGES = """
import subprocess, sys, time
from pathlib import Path
from occflow.run_record import process_mib, record_seconds

def note(stage):
    peak = process_mib("VmHWM")
    record_seconds(Path(sys.argv[1]), stage, 1.0)
    while process_mib("VmHWM") > peak - 50:  # until its peak is set back
        time.sleep(0.01)

large = bytearray(300 << 20)
del large
note("large")
with subprocess.Popen([sys.executable, "-c", "large = bytearray(200 << 20); print(flush=True); input()"],
                      stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    small = bytearray(100 << 20)
    time.sleep(0.5)  # to be seen with its child
    del small
    note("small")
"""


def test_peaks_are_of_each_stage_and_of_child_processes(tmp_path):
    large, small = stage_peaks([sys.executable, "-c", TWO_STAGES, str(tmp_path)], tmp_path)
    assert (large.stage, small.stage) == ("large", "small")
    assert large.trainer_mib > 300 and large.children_mib == 0
    assert 100 < small.trainer_mib < large.trainer_mib - 150  # its peak was set back
    assert 200 < small.children_mib < 400


def test_a_command_that_fails_is_told(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        list(stage_peaks([sys.executable, "-c", "raise SystemExit(3)"], tmp_path))


def test_the_sum_counts_and_done_stages_are_not_run_again(tmp_path):
    assert str(StagePeak("mean", 1900.0, 100.0)) == "| mean | 1900 | 100 | 2.10 |"
    with pytest.raises(SystemExit, match="exists"):
        main(tmp_path, 2.9, [])
