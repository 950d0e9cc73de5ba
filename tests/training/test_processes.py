"""Two processes that share a batch train as one process with the whole batch."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("parallel_training.py")
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_two_processes_train_as_one_with_the_joint_batch(tmp_path):
    together = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2",
                "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path)],
                                  env={**together, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    joint = runpy.run_path(str(SCRIPT))["trained"](tmp_path / "alone", windows=2).state_dict()
    try:
        assert [process.wait(timeout=100) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    shared = [load_file(str(tmp_path / f"average-{rank}.safetensors")) for rank in "01"]
    for name, weight in joint.items():
        assert torch.equal(shared[0][name], shared[1][name])
        assert torch.allclose(shared[0][name], weight, atol=1e-5)
    steps = [json.loads(line)["step"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert steps == [25, 30]  # rank 0 alone writes
