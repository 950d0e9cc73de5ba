"""How the trainings of one run directory run: precision, records, and the state an interrupted one goes on from.

Nothing random is stored: every step's random numbers and windows follow from (seed, step), and each process takes its
part of them: a training goes on with any number of processes. The state is one file,
RUN_DIR/resume/TRAINING/state.safetensors, with its record as JSON in the header, so that weights and record cannot
disagree.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from occflow.errors import InputError
from occflow.records import as_json, conform, first_difference, one_line
from occflow.run_record import timed_step
from occflow.training.processes import rank, wait_for_all, world_size
from occflow.training.run_log import LogRecord, RunLog
from occflow.weights_file import read_record, read_weights, weights_digest, write_weights

PRECISIONS = ("auto", "fp32", "bf16")


class Resumable(Protocol):
    """What steps change and a resumed training needs: the state of an optimiser, of a watch."""

    count: int

    def tensors(self) -> dict[str, Tensor]:
        """All that `load` needs, but `count`."""

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go on from `tensors()`."""


@dataclass(frozen=True)
class TrainingRun:
    """How the trainings of one run directory run and are resumed.

    Args:
        run_dir: where records and resume states go.
        configuration: plain values that shape the trainings; a resume state of others is refused.
        save_seconds: seconds between two states; None writes no state.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 on CUDA devices that have it.
        tensorboard: mirror the figures of stats.jsonl to RUN_DIR/tensorboard.
        feed_workers: processes that make batches ahead of their step; 0: steps make their own.
    """

    run_dir: Path
    configuration: Mapping = field(default_factory=dict)
    save_seconds: float | None = None
    precision: str = "fp32"
    tensorboard: bool = False
    feed_workers: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"train.precision: '{self.precision}' is unknown; use {', '.join(PRECISIONS)}")

    def log(self, title: str, steps: int, samples: int, unit: str = "window") -> RunLog:
        """The record of one training of so many steps, each of so many samples in all processes together."""
        return RunLog(self.run_dir / "stats.jsonl", title, steps, samples, unit, self.tensorboard)

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """The context that losses are computed in."""
        bf16 = self.precision == "bf16" or (self.precision == "auto" and device.type == "cuda"
                                            and torch.cuda.is_bf16_supported())
        return torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    @contextmanager
    def timed(self, title: str, step: str | None = None) -> Iterator[None]:
        """Record the wall seconds of a training (the block) in RUN_DIR/seconds.json as those of `step` (its title where
        none is named), those of interrupted processes that it goes on from among them."""
        found = recorded(state_path(self.run_dir, title)) if self.save_seconds is not None else None
        earlier_s = found["log"]["seconds"] if found else 0.0
        with timed_step(self.run_dir, step or title, earlier_s) if rank() == 0 else nullcontext():
            yield

    def forget(self, *titles: str, own: bool = False) -> None:
        """Remove the states of trainings whose checkpoint stands; with `own` not those of other configurations."""
        if rank() != 0:
            return
        for path in (state_path(self.run_dir, title) for title in titles):
            found = recorded(path) if own else None
            if not own or found and as_json(self.configuration).items() <= found["configuration"].items():
                shutil.rmtree(path.parent, ignore_errors=True)
        with suppress(OSError):  # there is none, or it has those of other trainings
            (self.run_dir / "resume").rmdir()


def state_path(run_dir: Path, title: str) -> Path:
    return Path(run_dir) / "resume" / title / "state.safetensors"


class StateRecord(TypedDict):
    """What a state tells of itself: what shapes the training, its log, steps by trainer, the digest of its tensors."""

    configuration: dict[str, Any]
    log: LogRecord
    counts: dict[str, int]
    weights: str


def recorded(path: Path) -> StateRecord | None:
    """What a state tells of itself; None where there is none that can be read, which the training itself refuses."""
    try:
        return conform(read_record(path), StateRecord)
    except ValueError:
        return None


class ResumeState:
    """The file that a training is resumed from; `start` holds all weights that it starts from, frozen ones included."""

    def __init__(self, run: TrainingRun, log: RunLog, trainers: Mapping[str, Resumable], start: nn.Module) -> None:
        self.path, self.log, self.trainers = state_path(run.run_dir, log.title), log, trainers
        self.configuration = as_json({**run.configuration, "starting_weights": weights_digest(start.state_dict())})
        self.save_seconds, self.saved_at = run.save_seconds, time.perf_counter()

    def load(self) -> int:
        """Steps done, with trainers and log as they were after them; 0 where there is no state.

        Raises:
            InputError: unreadable, or of another configuration (the first difference is named).
        """
        if self.save_seconds is None:
            return 0
        interrupted = self.path.is_file()
        wait_for_all()  # all have looked before rank 0 writes: a late process would take its state for an earlier run's
        if not interrupted:
            self.save()  # so that lines of a start that is cut off before its first state are taken back, too
            return 0
        try:
            found, tensors = read_weights(self.path)
            record = conform(found, StateRecord)
        except ValueError as error:
            raise self._unreadable(error) from None
        difference = first_difference(record["configuration"], self.configuration, ("interrupted", "configured"))
        if difference:
            raise InputError(f"{self.path}: an interrupted training of another configuration ({difference}); go on "
                             f"with that configuration, or remove {self.path.parent} to start anew")
        try:
            for name, trainer in self.trainers.items():
                start = f"{name}/"
                trainer.load({key[len(start):]: tensor for key, tensor in tensors.items() if key.startswith(start)},
                             record["counts"][name])
        except (KeyError, ValueError, RuntimeError) as error:
            raise self._unreadable(error) from None
        self.log.resume(record["log"])
        return record["log"]["steps"]

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(f"{self.path}: the interrupted training's state cannot be read; remove {self.path.parent} "
                          f"to start anew ({one_line(error)})")

    def save_if_due(self) -> None:
        """Write the state where `save_seconds` have gone by since the last one; of several processes after the next
        line of the log, since figures are brought together then."""
        if world_size() > 1 and self.log.since_tick:
            return
        if self.save_seconds is not None and time.perf_counter() - self.saved_at >= self.save_seconds:
            self.save()

    def save(self) -> None:
        """Write the state, durably: after a power failure the old or the new one stands whole.

        Raises:
            InputError: it cannot be written; the old one stands.
        """
        if self.save_seconds is None or rank() != 0:
            return
        record = {"configuration": self.configuration, "log": self.log.record(),
                  "counts": {name: trainer.count for name, trainer in self.trainers.items()}}
        write_weights(self.path, {f"{name}/{key}": tensor for name, trainer in self.trainers.items()
                                  for key, tensor in trainer.tensors().items()}, record)
        self.saved_at = time.perf_counter()
