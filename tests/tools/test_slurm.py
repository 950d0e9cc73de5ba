"""The Slurm script, with stubs in the place of Slurm: what it starts."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "tools/slurm/train.sh"


def stub(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def started(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    stub(folder, "scontrol", 'printf "node7\\nnode9\\n"')
    stub(folder, "srun", 'for one in "$@"; do printf "%s\\n" "$one"; done')
    slurm = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "node[7,9]", "SLURM_JOB_NUM_NODES": "2",
             "SLURM_GPUS_ON_NODE": "8"}
    return subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True,
                          env={**os.environ, **slurm, "PATH": f"{folder}:{os.environ['PATH']}", **environment})


def test_it_starts_torchrun_once_a_node_with_the_training(tmp_path):
    words = started(tmp_path, "train_teacher", "train.mean.windows=32", "run_dir=a b").stdout.splitlines()
    place = words.index("torchrun")
    assert words[place + 1:] == ["--nnodes=1:2", "--nproc-per-node=8", "--max-restarts=3", "--rdzv-id=123456",
                                 "--rdzv-backend=c10d", "--rdzv-endpoint=node7:23456", "-m", "occflow",
                                 "train_teacher", "train.mean.windows=32", "run_dir=a b"]
    other = started(tmp_path, "distill_mfd", MIN_NODES="2", PROCESSES="4").stdout.splitlines()
    assert "--nnodes=2:2" in other and "--nproc-per-node=4" in other


def test_without_a_training_it_says_how_it_is_called(tmp_path):
    found = started(tmp_path)
    assert found.returncode == 2 and found.stderr.startswith("usage: sbatch") and not found.stdout
