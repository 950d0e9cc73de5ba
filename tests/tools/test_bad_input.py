"""Bad input on the command line: one clear line that names the file and the remedy, exit status 2, nothing left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(tool: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([sys.executable, str(ROOT / tool), *overrides], cwd=cwd, env=environment, text=True,
                          capture_output=True, timeout=120)


CASES = {
    "unknown key": ("tools/train_teacher.py", ["fancy=1"], "fancy"),
    "unknown group": ("tools/build_occupancy.py", ["log=fancy"], "fancy"),
    "malformed override": ("tools/build_occupancy.py", ["log.root"], "log.root"),
    "missing root": ("tools/build_occupancy.py", ["log=nuscenes", "log.root=nowhere"], "nowhere"),
    "missing checkpoint": ("tools/distill_mfd.py", ["run_dir=none"], "none/teacher.safetensors"),
    "missing student": ("tools/forecast.py", ["log=nuscenes", "log.root=nowhere",
                                                "forecast.checkpoint=none/student.safetensors"], "student.safetensors"),
    "missing store": ("tools/evaluate.py", ["run_dir=none"], "none/teacher.safetensors"),
    "missing forecast": ("viz/render.py", ["run_dir=none"], "none/forecast.npz"),
    "impossible world": ("tools/simulate_log.py", ["simulation.sweep_hz=3"], "simulation.sweep_hz"),
    "no workers": ("tools/build_occupancy.py", ["workers=0"], "workers: 0"),
    "no number": ("tools/train_teacher.py", ["train.mean.learning_rate=abc"], "train.mean.learning_rate: 'abc'"),
    "appended key": ("tools/train_teacher.py", ["+train.mean.lr=1"], "train.mean.lr: no such key"),
    "dashes": ("tools/evaluate.py", ["--run_dir", "x"], "write run_dir=VALUE"),
    "absurd grid": ("tools/build_occupancy.py", ["data.grid.voxel_size_m=0"], "grid"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_status_two(name, tmp_path):
    tool, overrides, named = CASES[name]
    done = run(tool, *overrides, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: ") and named in lines[0], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_configuration(tmp_path):
    done = run("tools/simulate_log.py", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "Simulate a drive" in done.stdout
    assert re.search("^  train_scenes: 24$", done.stdout, re.M) and "distill" not in done.stdout
