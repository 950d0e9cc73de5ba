"""What a training tells: a progress bar, a line of stats.jsonl a tick and, where asked for, TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from typing_extensions import TypedDict

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.records import conform
from occflow.training.processes import averaged, rank

Figures = Mapping[str, float | Tensor]
"""Figures of a step by name, of one process; what is told is their mean over all. Scalars on a device stay there until
they are written, so that steps wait for none."""

TICK_STEPS = 25  # a line of stats.jsonl every so many steps


class LogRecord(TypedDict):
    """What a log goes on from: steps, steps and sums of figures since the last tick (null: not finite), where its lines
    begin in stats.jsonl, and the seconds of all processes that took part."""

    steps: int
    since_tick: int
    sums: dict[str, float | None]
    counts: dict[str, int]
    first_byte: int
    seconds: float


class Line(TypedDict):
    """What every line of stats.jsonl has."""

    training: str
    step: int


class RunLog:
    """Progress bar with the latest figures, and a line of stats.jsonl a tick; only rank 0 shows and writes.

    Args:
        steps: of the whole training.
        samples: of a step, of all processes.
    """

    def __init__(self, path: Path, title: str, steps: int, samples: int, unit: str = "window",
                 tensorboard: bool = False) -> None:
        self.path, self.title, self.total_steps, self.writes = path, title, steps, rank() == 0
        self.samples_a_step = samples
        path.parent.mkdir(parents=True, exist_ok=True)
        self.bar = tqdm(total=steps * self.samples_a_step, desc=title, unit=unit, unit_scale=True, dynamic_ncols=True,
                        mininterval=0.5, disable=not self.writes)
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}  # steps since the tick that had the figure
        self.latest: list[Figures] = []  # of steps that are not summed yet
        self.steps, self.since_tick, self.start = 0, 0, time.perf_counter()
        self.first_byte = path.stat().st_size if path.exists() else 0  # of this training's lines
        self.board = tensorboard_writer(path.parent / "tensorboard") if tensorboard and self.writes else None

    def add(self, figures: Figures) -> None:
        """Note the figures of one step."""
        self.steps, self.since_tick = self.steps + 1, self.since_tick + 1
        self.latest.append(figures)
        self.bar.update(self.samples_a_step)
        if self.since_tick == TICK_STEPS:
            self._tick()

    def _sum_up(self) -> None:
        """All figures of the latest steps are fetched at once."""
        scalars = [value.double() for figures in self.latest for value in figures.values() if isinstance(value, Tensor)]
        fetched = iter(torch.stack(scalars).tolist() if scalars else [])
        for figures in self.latest:
            for name, value in figures.items():
                number = next(fetched) if isinstance(value, Tensor) else value
                self.sums[name] = self.sums.get(name, 0.0) + number
                self.counts[name] = self.counts.get(name, 0) + 1
        self.latest = []

    def _tick(self) -> None:
        self._sum_up()
        means = {name: value / self.counts[name] for name, value in self.sums.items()}
        if means:  # over the processes, which all have had the same steps since the tick
            means = dict(zip(means, averaged(torch.tensor(list(means.values()), dtype=torch.float64)).tolist()))
        seconds = time.perf_counter() - self.start
        line = {"training": self.title, "step": self.steps, "seconds": round(seconds, 2),
                "samples_per_second": round(self.steps * self.samples_a_step / seconds, 3), **means}
        if self.writes:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        for name, value in (means if self.board else {}).items():
            self.board.add_scalar(f"{self.title}/{name}", value, self.steps)
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in means.items()})
        self.sums, self.counts, self.since_tick = {}, {}, 0

    def record(self) -> LogRecord:
        """What `resume` needs, as plain JSON values."""
        self._sum_up()
        sums = {name: value if math.isfinite(value) else None for name, value in self.sums.items()}
        return {"steps": self.steps, "since_tick": self.since_tick, "sums": sums,
                "counts": self.counts, "first_byte": self.first_byte, "seconds": time.perf_counter() - self.start}

    def resume(self, record: LogRecord) -> None:
        """Go on from a record; lines that were written after it are taken out of stats.jsonl."""
        self.steps, self.since_tick = record["steps"], record["since_tick"]
        self.sums = {name: math.nan if value is None else value for name, value in record["sums"].items()}
        self.counts = dict(record["counts"])
        self.first_byte, self.start = record["first_byte"], time.perf_counter() - record["seconds"]
        self.bar.update(self.steps * self.samples_a_step)
        if self.writes and self.path.exists():
            content = self.path.read_bytes()
            before, lines = content[:self.first_byte], content[self.first_byte:].splitlines(keepends=True)
            with atomic_file(self.path) as partial:
                partial.write_bytes(before + b"".join(line for line in lines if self._stands(line)))

    def _stands(self, line: bytes) -> bool:
        try:
            values = conform(json.loads(line), Line)
        except (ValueError, RecursionError):  # the run was cut off while it wrote
            return False
        return values["training"] != self.title or values["step"] <= self.steps

    def finish(self) -> None:
        """Write what is left since the last tick."""
        if self.since_tick:
            self._tick()

    def close(self) -> None:
        self.bar.close()
        if self.board:
            self.board.close()


def tensorboard_writer(folder: Path):
    """A TensorBoard writer.

    Raises:
        InputError: the package is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("train.tensorboard: the package tensorboard is missing; install it with "
                         "pip install 'occflow[log]', or set train.tensorboard=false") from None
    return SummaryWriter(str(folder))
