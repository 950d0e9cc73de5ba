"""Two processes that share a batch train as one process with the whole batch."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occflow.training.processes import join_processes, rank_zero_first

SCRIPT = Path(__file__).with_name("parallel_training.py")
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.chaotic
def test_two_processes_train_as_one_with_the_joint_batch(tmp_path, monkeypatch, figure):
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    other = subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path)],
                             env={**os.environ, **together, "RANK": "1", "LOCAL_RANK": "1", "OMP_NUM_THREADS": "1",
                                  "PYTHONPATH": str(ROOT)})
    script = runpy.run_path(str(SCRIPT))
    joint = script["trained"](tmp_path / "alone", windows=2).state_dict()
    for name, value in {**together, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    join_processes(torch.device("cpu"))
    try:
        with rank_zero_first():  # the other waits until these lines are there
            (tmp_path / "made_by_rank_0").touch()
        mine = script["trained"](tmp_path, windows=1).state_dict()
    finally:
        torch.distributed.destroy_process_group()
    try:
        assert other.wait(timeout=100) == 0
    finally:
        other.kill()
    others = load_file(str(tmp_path / "average-1.safetensors"))
    assert all(torch.equal(mine[name], others[name]) for name in joint)
    figure("difference", max(float((mine[name] - weight).abs().max()) for name, weight in joint.items()), below=1e-5)
    steps = [json.loads(line)["step"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert steps == [25, 30]  # rank 0 alone writes
