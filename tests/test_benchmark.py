"""occflow benchmark: a table of times, of a store that has the windows for it."""

import pytest
from small_logs import write_tiny_nuscenes

import occflow
from occflow.command_line import compose_config
from occflow.commands import benchmark
from occflow.errors import InputError
from occflow.occupancy.settings import DEMO_HISTORY, DEMO_HORIZON

SWEEPS = 2 * (DEMO_HISTORY + DEMO_HORIZON) + 1  # two windows of keyframes a scene


def test_a_forecast_s_stages_are_timed_and_a_small_store_is_refused(tmp_path, monkeypatch, capsys):
    store = occflow.build(occflow.open_log(write_tiny_nuscenes(tmp_path, SWEEPS)["root"]), tmp_path / "store")
    config = compose_config([f"data.store={store.path}", "device=cpu", "workers=1"])
    with pytest.raises(InputError, match="windows, 22 are wanted"):
        benchmark.main(config)
    monkeypatch.setattr(benchmark, "WARM_UP", 1)
    monkeypatch.setattr(benchmark, "TIMED", 1)
    benchmark.main(config)
    head, _, *table = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert head.startswith("student-1 on cpu") and [row[0] for row in rows] == ["encode", "flow", "decode", "total"]
    stages, total = [float(row[1]) for row in rows[:-1]], float(rows[-1][1])
    assert all(row[1] == row[2] for row in rows) and abs(sum(stages) - total) <= 2  # rounded; one forecast
