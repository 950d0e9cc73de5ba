"""How long a stream takes, stage by stage, what it dropped, and how much memory it holds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from occflow.eval.sections import figure, table
from occflow.run_record import process_mib
from occflow.stream.clock import Clock

STAGES = ("accumulate", "perceive", "encode", "propose", "network", "decode", "deliver", "other", "judge", "risk")
MEMORY_KEPT = 3_600  # samples of the resident memory: then every other one is given up and half as many are taken
KEPT = 36_000  # measurements of a stage: an hour at 10 Hz, so that a stream's own record does not grow without bound


class LatencyRecord:
    """Milliseconds by stage, age of the forecasts when delivered, drops, resident memory. Bounded in size."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_s = clock.now()
        self._stages_ms: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in STAGES}
        self._ages_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self.memory_mib: list[float] = []  # from the start on, evenly
        self.memory_peak_mib, self._memory_every_s, self._memory_due_s = 0.0, 1.0, self._start_s
        self.sweeps, self.used, self.delivered, self.dropped = 0, 0, Counter[str](), Counter[str]()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = self._clock.now()
        yield
        self._stages_ms[name].append(1e3 * (self._clock.now() - start))

    def deliver(self, name: str, age_s: float) -> None:
        """A forecast of forecaster `name` was delivered, so long after its last sweep arrived."""
        self.delivered[name] += 1
        self._ages_ms[name].append(1e3 * age_s)

    def drop(self, reason: str) -> None:
        self.dropped[reason] += 1

    def sample_memory(self) -> None:
        """Note the resident memory, once a second of the clock however often it is called, more seldom after hours."""
        now_s = self._clock.now()
        if now_s < self._memory_due_s:
            return
        memory_mib = process_mib()
        self.memory_mib.append(memory_mib)
        self.memory_peak_mib = max(self.memory_peak_mib, memory_mib)  # of nan: what was
        if len(self.memory_mib) > MEMORY_KEPT:
            del self.memory_mib[1::2]
            self._memory_every_s *= 2
        periods = math.floor((now_s - self._memory_due_s) / self._memory_every_s) + 1
        self._memory_due_s += periods * self._memory_every_s

    def ages(self, name: str) -> dict[str, float]:
        """Statistics of the ages of one forecaster's forecasts."""
        return statistics(self._ages_ms[name]) if name in self._ages_ms else statistics(())

    def all_ages(self) -> dict[str, float]:
        """Statistics of the ages of all forecasts; no jitter, since they are not in order."""
        values = [value for ages in list(self._ages_ms.values()) for value in list(ages)]
        return {**statistics(values), "jitter": None}

    def summary(self) -> dict:
        """Everything, for JSON."""
        return {"seconds": round(self._clock.now() - self._start_s, 2), "sweeps": self.sweeps, "used": self.used,
                "delivered": dict(self.delivered), "dropped": dict(self.dropped),
                "stage_ms": {name: statistics(values) for name, values in self._stages_ms.items()},
                "age_ms": {name: self.ages(name) for name in list(self._ages_ms)}, "all_ages_ms": self.all_ages(),
                "memory_mib": [None if math.isnan(value) else round(value, 1) for value in self.memory_mib],
                "memory_every_s": self._memory_every_s, "memory_peak_mib": round(self.memory_peak_mib, 1)}


def statistics(values_ms) -> dict[str, float]:
    """Count, percentiles and jitter (mean absolute difference between one value and the next); null where absent."""
    values = np.array(list(values_ms), dtype=float)
    if not len(values):
        return {"count": 0, "p50": None, "p95": None, "p99": None, "jitter": None}
    p50, p95, p99 = (round(float(value), 2) for value in np.percentile(values, (50, 95, 99)))
    jitter = round(float(np.abs(np.diff(values)).mean()), 2) if len(values) > 1 else None
    return {"count": len(values), "p50": p50, "p95": p95, "p99": p99, "jitter": jitter}


def latency_markdown(summary: dict) -> str:
    """A table of the stages and ages, and a line of counts."""
    rows = [(name, values) for name, values in summary["stage_ms"].items()]
    rows += [(f"**age when delivered, {name}**", values) for name, values in summary["age_ms"].items()]
    keys = ("p50", "p95", "p99", "jitter")
    lines = table(("milliseconds", "count", *keys),
                  [[name, str(values["count"]), *(figure(values[key], 0) for key in keys)] for name, values in rows])
    unused = summary["sweeps"] - summary["used"]
    counts = [f"{summary['sweeps']} sweeps in {summary['seconds']:.0f} s" + (f", {unused} not used" if unused else ""),
              f"delivered {counted(summary['delivered'])}",
              f"dropped {counted(summary['dropped'])}"]
    memory = [value for value in summary["memory_mib"] if value is not None]
    if memory:
        counts.append(f"resident memory {memory[0]:.0f} MiB at the start, {summary['memory_peak_mib']:.0f} at most, "
                      f"{memory[-1]:.0f} at the end")
    return "\n".join([*lines, "; ".join(counts) + "."])


def counted(counts: Mapping[str, int]) -> str:
    """The counts by name, in words."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "0"
