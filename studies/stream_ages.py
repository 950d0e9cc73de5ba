"""How old the forecasts of a stream would be where nothing else runs, found on a machine that is not idle: its clock
counts the worker's own processor time, of one thread, and jumps to the next sweep where the worker waits.

    python -m studies.stream_ages recording data/pandaset_002 [3]

Arguments: the kind of a log and its folder, how many rounds. Validation drives are replayed, else all, two at most,
with all defaults. Reading the sweeps costs nothing here; two threads are faster, threads that share a core slower.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from occflow.eval.sections import table
from occflow.forecasting.networks import load_student
from occflow.front_door import perceiver
from occflow.logs.open import described_log, open_log
from occflow.occupancy.settings import OccupancySettings
from occflow.perception.perceive import Perceiver
from occflow.resources import pretrained_folder
from occflow.stream.console import Notices
from occflow.stream.forecaster import StreamForecaster, StreamNetwork
from occflow.stream.jobs import no_old_garbage, streamed_scenes
from occflow.stream.latency import LatencyRecord
from occflow.stream.loop import Worker
from occflow.stream.settings import StreamSettings
from occflow.stream.source import Arrival, usable_sweeps

STREAM = StreamSettings()
MOST_WAITING = STREAM.max_waiting_sweeps
DRIVES = 2


class OwnTime:
    """Seconds that were spent, and those that were waited for."""

    def __init__(self, spent_s: Callable[[], float] = time.thread_time) -> None:
        self._spent_s, self._waited_s = spent_s, 0.0

    def now(self) -> float:
        return self._spent_s() + self._waited_s

    def wait_until(self, at_s: float, stop: object = None) -> None:
        self._waited_s += max(0.0, at_s - self.now())


class Waiting(deque):
    """Arrivals that are still to be taken, some of them still to come."""

    def __init__(self, arrivals: Iterable[Arrival], clock: OwnTime) -> None:
        super().__init__(arrivals)
        self.clock = clock

    def has_come(self) -> bool:
        return bool(self) and self[0].arrived_s <= self.clock.now()


def replay(worker: Worker, waiting: Waiting) -> None:
    """Give a worker its sweeps as they come."""
    while waiting:
        waiting.clock.wait_until(waiting[0].arrived_s)
        batch = []
        while waiting.has_come():
            batch.append(waiting.popleft())
        worker.step(batch[-MOST_WAITING:])


def main(kind: str, root: str, rounds: str = "1") -> None:
    torch.set_num_threads(1)
    log, clock = open_log(described_log(root, kind)), OwnTime()
    record, notices = LatencyRecord(clock), Notices(lambda text: None)
    model = load_student(pretrained_folder() / "student.safetensors", torch.device("cpu")).model
    network, waiting = StreamNetwork(model, record), Waiting((), clock)
    forecaster = StreamForecaster(network, OccupancySettings(), STREAM, 0, record, notices,
                                  Perceiver(perceiver().network))
    worker = Worker(forecaster, [], STREAM.deadline_s, clock, record, waiting.has_come)
    drives = {name: list(usable_sweeps(log, name, notices)) for name in streamed_scenes(log, "auto", DRIVES)}
    with no_old_garbage():
        for number in range(int(rounds)):
            for name, sweeps in drives.items():
                begun_s = clock.now()
                waiting.extend(Arrival(sweep, (number, name), begun_s + sweep.stamp_s - sweeps[0].stamp_s)
                               for sweep in sweeps)
                replay(worker, waiting)
    summary = record.summary()
    rows = [*summary["stage_ms"].items(), *((f"age, {name}", one) for name, one in summary["age_ms"].items())]
    print(f"{Path(root).name}: dropped {summary['dropped']}", "",
          *table(("milliseconds", "count", "p50", "p95", "p99"),
                 [(name, str(one["count"]), *(str(one[key]) for key in ("p50", "p95", "p99"))) for name, one in rows]),
          sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
