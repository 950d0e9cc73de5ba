"""The latency record: its figures, its bound, its table."""

import json

import numpy as np
import pytest
from stream_world import FakeClock

from occflow.stream import latency
from occflow.stream.latency import KEPT, MEMORY_KEPT, LatencyRecord, latency_markdown, statistics


def test_figures():
    clock = FakeClock()
    record = LatencyRecord(clock)
    for seconds in (0.1, 0.3, 0.2):
        with record.stage("network"):
            clock.spend(seconds)
        record.deliver("student-1", seconds)
    record.drop("forecasts late")
    summary = record.summary()
    assert summary["stage_ms"]["network"] == {"count": 3, "p50": 200, "p95": 290, "p99": 298, "jitter": 150}
    assert summary["age_ms"]["student-1"]["p50"] == 200 and summary["stage_ms"]["decode"]["p99"] is None
    assert summary["delivered"] == {"student-1": 3} and summary["dropped"] == {"forecasts late": 1}
    table = latency_markdown(summary)
    assert "| network | 3 | 200 | 290 | 298 | 150 |" in table and "1 forecasts late" in table


def test_jitter_is_of_neighbours_not_of_trends():
    assert statistics(np.arange(100.0))["jitter"] == 1.0


def test_the_record_does_not_grow_without_bound():
    record = LatencyRecord(FakeClock())
    for _ in range(KEPT + 10):
        record.deliver("student-1", 0.1)
    assert record.delivered["student-1"] == KEPT + 10 and record.ages("student-1")["count"] == KEPT


def test_memory_is_sampled_once_a_second():
    clock = FakeClock()
    record = LatencyRecord(clock)
    for _ in range(50):
        record.sample_memory()
        clock.spend(0.1)
    assert len(record.memory_mib) == 5 and record.memory_mib[0] == pytest.approx(record.memory_mib[-1], rel=0.5)


def test_memory_is_sampled_ever_more_seldom_and_from_the_start_on(monkeypatch):
    """Twelve hours, two ticks a second: few samples are taken, fewer are kept, and the highest is not lost."""
    clock, taken = FakeClock(), []
    record = LatencyRecord(clock)
    monkeypatch.setattr(latency, "process_mib",
                        lambda: taken.append(clock.now()) or (1e6 if len(taken) == 2 else taken[-1]))
    for _ in range(2 * 12 * 3600):
        record.sample_memory()
        clock.spend(0.5)
    summary = record.summary()
    assert len(taken) < 4 * MEMORY_KEPT and MEMORY_KEPT / 2 < len(record.memory_mib) <= MEMORY_KEPT
    assert summary["memory_mib"][0] == 100.0 and summary["memory_peak_mib"] == 1e6
    assert summary["memory_mib"][-1] > taken[-1] - 2 * summary["memory_every_s"]
    assert np.ptp(np.diff(record.memory_mib)) == 0


def test_a_system_that_does_not_tell_its_memory_has_a_report_of_plain_json(monkeypatch):
    monkeypatch.setattr(latency, "process_mib", lambda: float("nan"))
    record = LatencyRecord(FakeClock())
    record.sample_memory()
    assert json.loads(json.dumps(record.summary(), allow_nan=False))["memory_mib"] == [None]
    assert "resident" not in latency_markdown(record.summary())
