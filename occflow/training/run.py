"""How the trainings of one run directory run: precision, records, and the state an interrupted one goes on from.

Nothing random is stored: every step's random numbers and windows follow from (seed, rank, step). The state is one
file, RUN_DIR/resume/TRAINING/state.safetensors, with its record as JSON in the header, so that weights and record
cannot disagree.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.training.checkpoint import first_difference
from occflow.training.optimiser import Trainer
from occflow.training.processes import rank, wait_for_all, world_size
from occflow.training.run_log import RunLog

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainingRun:
    """How the trainings of one run directory run and are resumed.

    Args:
        run_dir: where records and resume states go.
        configuration: plain values that shape the trainings; a resume state of others is refused.
        save_seconds: seconds between two states; None writes no state.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 on CUDA devices that have it.
        tensorboard: mirror the figures of stats.jsonl to RUN_DIR/tensorboard.
    """

    run_dir: Path
    configuration: Mapping = field(default_factory=dict)
    save_seconds: float | None = None
    precision: str = "fp32"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"train.precision: '{self.precision}' is unknown; use {', '.join(PRECISIONS)}")

    def log(self, title: str, steps: int, samples_a_step: int, unit: str = "window") -> RunLog:
        """The record of one training; samples are those of all processes."""
        return RunLog(self.run_dir / "stats.jsonl", title, steps, samples_a_step * world_size(), unit, self.tensorboard)

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """The context that losses are computed in."""
        bf16 = self.precision == "bf16" or (self.precision == "auto" and device.type == "cuda"
                                            and torch.cuda.is_bf16_supported())
        return torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def state(self, log: RunLog, trainers: Mapping[str, Trainer], start: nn.Module) -> ResumeState:
        """The state of one training; `start` holds all weights that it starts from, frozen ones included."""
        configuration = json.loads(json.dumps({**self.configuration, "processes": world_size(),
                                               "starting_weights": weights_digest(start)}))
        return ResumeState(state_path(self.run_dir, log.title), configuration, log, trainers, self.save_seconds)

    def forget(self, *titles: str) -> None:
        """Remove the states of trainings whose checkpoint stands."""
        for title in titles if rank() == 0 else ():
            shutil.rmtree(state_path(self.run_dir, title).parent, ignore_errors=True)
        if rank() == 0 and (self.run_dir / "resume").is_dir() and not any((self.run_dir / "resume").iterdir()):
            (self.run_dir / "resume").rmdir()


def state_path(run_dir: Path, title: str) -> Path:
    return Path(run_dir) / "resume" / title / "state.safetensors"


def weights_digest(module: nn.Module) -> str:
    """A short digest of all weights of a module."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class ResumeState:
    """The file that a training is resumed from."""

    def __init__(self, path: Path, configuration: dict, log: RunLog, trainers: Mapping[str, Trainer],
                 save_seconds: float | None) -> None:
        self.path, self.configuration, self.log, self.trainers = path, configuration, log, trainers
        self.save_seconds, self.saved_at = save_seconds, time.perf_counter()

    def load(self) -> int:
        """Steps done, with trainers and log as they were after them; 0 where there is no state.

        Raises:
            InputError: unreadable, or of another configuration (the first difference is named).
        """
        if self.save_seconds is None:
            return 0
        found = self.path.is_file()
        wait_for_all()  # all have looked before rank 0 writes: a late process would take its state for an earlier run's
        if not found:
            self.save()  # so that lines of a start that is cut off before its first state are taken back, too
            return 0
        record, tensors = self._read()
        difference = first_difference(record["configuration"], self.configuration)
        if difference:
            raise InputError(f"{self.path}: an interrupted training of another configuration "
                             f"({difference.replace('checkpoint', 'interrupted')}); go on with that configuration, "
                             f"or remove {self.path.parent} to start anew")
        for name, trainer in self.trainers.items():
            start = f"{name}/"
            trainer.load({key[len(start):]: tensor for key, tensor in tensors.items() if key.startswith(start)},
                         record["counts"][name])
        self.log.resume(record["log"])
        return record["log"]["steps"]

    def _read(self) -> tuple[dict, dict]:
        try:
            with safe_open(str(self.path), framework="pt") as file:
                return json.loads(file.metadata()["record"]), {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.path}: the interrupted training's state cannot be read; remove "
                             f"{self.path.parent} to start anew") from None

    def save_if_due(self) -> None:
        """Write the state where `save_seconds` have gone by since the last one."""
        if self.save_seconds is not None and time.perf_counter() - self.saved_at >= self.save_seconds:
            self.save()

    def save(self) -> None:
        """Write the state, durably: after a power failure the old or the new one stands whole."""
        if self.save_seconds is None or rank() != 0:
            return
        record = {"configuration": self.configuration, "log": self.log.record(),
                  "counts": {name: trainer.count for name, trainer in self.trainers.items()}}
        tensors = {f"{name}/{key}": tensor.detach().cpu().contiguous()
                   for name, trainer in self.trainers.items() for key, tensor in trainer.tensors().items()}
        with atomic_file(self.path) as partial:
            save_file(tensors, str(partial), {"record": json.dumps(record)})
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        self.saved_at = time.perf_counter()
