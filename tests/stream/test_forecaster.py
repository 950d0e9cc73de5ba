"""The streaming forecaster: equal to the batch, each frame encoded once, and faults survived."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_forecaster import GRID
from stream_world import Drive, FakeClock, moved

from occflow.errors import InputError
from occflow.forecasting.networks import CentralForecaster, NetworkForecaster, StudentForecaster
from occflow.forecasting.planned_path import Footprint
from occflow.grid import NUM_CLASSES
from occflow.logs.protocol import UNLABELLED, Sweep
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.storage.forecast_file import load_forecasts
from occflow.stream.console import Notices
from occflow.stream.forecaster import StreamForecast, StreamForecaster, StreamNetwork
from occflow.stream.latency import LatencyRecord
from occflow.stream.loop import Worker, run_stream
from occflow.stream.risk import RiskRecord
from occflow.stream.settings import DELIVERS, StreamSettings
from occflow.stream.sinks import LastForecasts, shown_frames
from occflow.stream.source import Arrival, Replay

SEED = 3


@pytest.fixture(params=DELIVERS)
def network(small_forecaster, request) -> StreamNetwork:
    """A small student with weights that do something."""
    for head in (small_forecaster.mean.mean_head, small_forecaster.mean.scale_head):
        torch.nn.init.normal_(head.weight, std=0.1)
    return StreamNetwork(small_forecaster, LatencyRecord(FakeClock()), request.param)


def in_batch(network: StreamNetwork) -> tuple[NetworkForecaster, NetworkForecaster]:
    """The forecasters, of whole windows, of what the stream delivers and of what else it makes."""
    sample, centre = StudentForecaster(network.model), CentralForecaster(network.model)
    return (sample, centre) if network.name == "student-1" else (centre, sample)


@pytest.fixture
def forecaster(network):
    """A forecaster on the log's labels, and what it says."""
    def make(labels: str = "log", **settings) -> tuple[StreamForecaster, Notices]:
        notices = Notices(lambda text: None)
        return StreamForecaster(network, OccupancySettings(), StreamSettings(labels=labels, **settings), SEED,
                                network._record, notices), notices
    return make


def forecasts(stream: StreamForecaster, sweeps: list[Sweep]) -> dict[float, StreamForecast]:
    """All forecasts of a drive, by the stamp of their present."""
    made = {}
    for sweep in sweeps:
        task = stream.observe(Arrival(sweep, (0, "drive"), 0.0))
        if task:
            made[sweep.stamp_s] = stream.forecast(task)
            list(stream.look_back(True))
    return made


def drive(num_sweeps: int, **fields) -> list[Sweep]:
    return [Drive(**fields).sweep(index) for index in range(num_sweeps)]


@pytest.mark.parametrize("labels", ["log", "none"])
def test_streamed_forecasts_are_the_batch_forecasts(network, forecaster, labels):
    """Same frames, same noise, same guessed grid poses: the same forecast, encoded anew or kept."""
    for head in network.model.autoencoder.existence:
        torch.nn.init.constant_(head.bias, 0.3)  # so that forecasts are not nearly empty
    made = forecasts(forecaster(labels=labels)[0], drive(9))
    forecaster, _ = in_batch(network)
    network_made = {stamp: one for stamp, one in made.items() if one.name == network.name}
    assert list(network_made) == [0.5, 1.0, 1.5, 2.0] and network.name in ("student-1", "student-central")
    for one in network_made.values():
        batch = forecaster.forecast(one.task, SEED).frames
        assert sum(len(frame.flat) for frame in batch) > 100
        for streamed, frame in zip(one.frames, batch, strict=True):
            assert np.array_equal(streamed.flat, frame.flat) and np.array_equal(streamed.labels, frame.labels)
            assert np.array_equal(streamed.world_from_grid, frame.world_from_grid)
            assert streamed.stamp_s == frame.stamp_s


def test_the_other_forecast_is_the_batchs_where_it_is_scored_and_is_made_when_asked_for(network, forecaster):
    """By default no flow is evaluated before the forecast of a stream is out."""
    assert StreamNetwork(network.model, network._record).name == "student-central"
    for head in (*network.model.autoencoder.existence, network.model.autoencoder.from_latent):
        torch.nn.init.normal_(head.weight, std=2.0)  # so that forecasts that differ are told apart
    evaluated = []
    network.model.velocity.register_forward_hook(lambda *_: evaluated.append(1))
    task = next(one.task for one in forecasts(forecaster()[0], drive(5)).values() if one.name == network.name)
    encoded = [network.encode(frame) for frame in task.history]
    evaluated.clear()
    futures = network.futures(task, encoded, SEED)
    assert len(evaluated) == (network.name == "student-1")
    frames = futures.other([1])
    assert len(evaluated) == 1 and network._record.summary()["stage_ms"]["other"]["count"] == 1
    delivered, other = (each.forecast(task, SEED).frames[1] for each in in_batch(network))
    assert np.array_equal(frames[1].flat, other.flat) and np.array_equal(frames[1].labels, other.labels)
    assert not np.array_equal(delivered.flat, other.flat)


def test_streamed_forecasts_are_those_of_a_built_store(network, forecaster):
    """The batch's history comes from the builder, which knows nothing of streams."""
    occupancy = OccupancySettings(visibility=False)
    _, causal = build_scene_and_causal(Drive(), "drive-1", GRID, occupancy)
    built = {frame.stamp_s: frame for frame in causal}
    made = forecasts(forecaster(labels="none")[0], drive(9))
    for stamp_s in (1.0, 2.0):
        task = replace(made[stamp_s].task, history=(built[stamp_s - 0.5], built[stamp_s]))
        batch = in_batch(network)[0].forecast(task, SEED).frames
        for streamed, frame in zip(made[stamp_s].frames, batch, strict=True):
            assert np.array_equal(streamed.flat, frame.flat) and np.array_equal(streamed.labels, frame.labels)


@pytest.mark.parametrize("reuse", [True, False])
def test_each_frame_is_encoded_once(network, forecaster, reuse):
    """Nine forecasts at 4 Hz, the first two, by persistence, without a history of two frames half a second apart."""
    stream, _ = forecaster(rate_hz=4.0, reuse=reuse)
    made = forecasts(stream, drive(9))
    names = [one.name for one in made.values()]
    assert names == ["persistence"] * 2 + [network.name] * 7
    assert network._record.summary()["stage_ms"]["encode"]["count"] == (9 if reuse else 2 * 7)


def test_history_is_half_a_second_apart_at_any_rate(forecaster):
    made = forecasts(forecaster(rate_hz=10.0)[0], drive(14, sweep_s=0.1))
    for stamp, one in made.items():
        if stamp > 0.45:
            assert [frame.stamp_s for frame in one.task.history] == pytest.approx([stamp - 0.5, stamp])
            assert [frame.stamp_s for frame in one.frames] == pytest.approx([stamp + s for s in (0.5, 1.0, 1.5)])
    assert len(made) == 14


@pytest.mark.parametrize("sweep_s", [0.2, 0.207])
def test_a_sensor_at_5_hz_keeps_the_history_whole(network, forecaster, sweep_s):
    """Its sweeps do not lie on the raster of half a second: the nearest ones are taken."""
    made = forecasts(forecaster()[0], drive(20, sweep_s=sweep_s))
    assert [one.name for one in made.values()] == ["persistence", *[network.name] * (len(made) - 1)]
    assert max(abs(stamp / 0.5 - round(stamp / 0.5)) for stamp in made) * 0.5 <= sweep_s / 2 + 1e-6


def test_a_sweep_taken_early_after_a_gap_is_not_followed_by_another(forecaster):
    """At 5.9 s, for that of 6 s, as in the real drive of the repository; the sweep of 6 s came more than a period
    before the next one was due, which was taken for a jump in time, and a forecast was made of it too."""
    sweeps = [sweep if sweep.stamp_s < 5.55 else replace(sweep, stamp_s=sweep.stamp_s - 1e-3)
              for sweep in drive(70, sweep_s=0.1) if not 5.55 < sweep.stamp_s < 5.85]
    assert [round(stamp, 1) for stamp in forecasts(forecaster()[0], sweeps) if stamp > 4.9] == [5.0, 5.5, 5.9, 6.5]


def test_the_guessed_grid_poses_are_the_drives_own(forecaster):
    made = forecasts(forecaster()[0], drive(9))
    for frame in made[2.0].frames:
        assert np.allclose(frame.world_from_grid, Drive().ego_pose(frame.stamp_s), atol=0.2)


def test_what_has_no_label_reaches_the_network_so_and_nobody_else(network, forecaster, tmp_path):
    """Networks know UNLABELLED; forecasts, pictures and files know classes only."""
    made, kept = forecasts(forecaster(labels="none")[0], drive(5)), LastForecasts(2)
    for one in made.values():
        assert all((frame.labels == UNLABELLED).all() for frame in one.task.history)
        assert all((frame.labels < NUM_CLASSES).all() for frame in (*one.frames, *shown_frames(one, [1.0])))
        kept.deliver(one)
    record = load_forecasts(kept.save(tmp_path / "forecast.npz", GRID))
    assert (record.history[-1].labels == 0).all() and list(record.forecasts) == [network.name]


def test_the_last_forecast_of_the_network_is_kept_where_the_stream_ends_without_it(network, forecaster, tmp_path):
    """In the first sweep of another scene, say."""
    made, kept = list(forecasts(forecaster()[0], drive(5)).values()), LastForecasts(1)
    for one in (made[-1], replace(made[0], name="persistence")):
        kept.deliver(one)
    assert list(load_forecasts(kept.save(tmp_path / "forecast.npz", GRID)).forecasts) == [network.name]


def test_a_new_drive_starts_anew(forecaster):
    stream, _ = forecaster()
    forecasts(stream, drive(5))
    task = stream.observe(Arrival(Drive().sweep(6), (1, "drive"), 0.0))
    assert stream.forecast(task).name == "persistence"


def test_a_rate_that_does_not_suit_the_history_is_refused(forecaster):
    for rate_hz in (3.0, 1.0):
        with pytest.raises(InputError, match="stream.rate_hz"):
            forecaster(rate_hz=rate_hz)


def faulty(kind: str, sweeps: list[Sweep]) -> tuple[list[Sweep], float]:
    """A drive at 10 Hz with one fault about its middle, and the stamp from which all is well again."""
    if kind == "silence":
        return [sweep for sweep in sweeps if not 2.0 < sweep.stamp_s < 3.0], 3.0
    if kind == "pose jump":
        return [moved(sweep, 5.0) if sweep.stamp_s >= 2.0 else sweep for sweep in sweeps], 2.0
    if kind == "out of order":
        order = [*range(20), 22, 21, 20, *range(23, len(sweeps))]
        return [sweeps[index] for index in order], 2.3
    if kind == "clock ran back":
        return sweeps[:20] + sweeps[5:], 0.5
    generator = np.random.default_rng(0)
    return [sweep for sweep in sweeps if not 1.0 <= sweep.stamp_s < 3.0 or generator.random() > 0.2], 3.0


@pytest.mark.parametrize("kind", ["silence", "pose jump", "out of order", "clock ran back", "drops"])
def test_faults_are_told_and_overcome_within_one_history(network, forecaster, kind):
    """The history is 0.5 s long; a forecast's period is added, since recovery shows at the next forecast."""
    stream, notices = forecaster(rate_hz=4.0)
    sweeps, well_s = faulty(kind, drive(46, sweep_s=0.1))
    made = forecasts(stream, sweeps)
    assert kind in notices.counts or kind == "drops"
    late = [one.name for stamp, one in made.items() if stamp >= well_s + 0.5 + 0.25]
    assert len(late) >= 2 and set(late) == {network.name}
    if kind in ("silence", "pose jump", "clock ran back"):
        assert notices.counts["persistence"] == 2 and notices.counts["forecasting"] == 2  # the start, and the fault


def all_faults(sweeps: list[Sweep]) -> Iterator[Sweep | None]:
    """A drive of 12 s at 10 Hz: drops from 1 to 3 s, silence from 4 to 5, a jump at 6.5, scans that cannot be read at
    8, disorder at 9.5; None: a scan that cannot be read."""
    generator = np.random.default_rng(0)
    for index in [*range(95), 97, 96, 95, *range(98, len(sweeps))]:
        dropped = 10 <= index < 30 and generator.random() < 0.2
        if not dropped and not 40 < index < 50:
            yield None if index in (80, 81) else moved(sweeps[index], 5.0) if index >= 65 else sweeps[index]


def test_one_run_with_all_faults(network, forecaster):
    """Through source, threads and worker: it goes on to the end, tells each fault, and is whole one history later."""
    class FaultyLog(Drive):
        def sweeps(self, scene: str) -> Iterator[Sweep]:
            def read(sweep: Sweep | None) -> Sweep:
                if sweep is None:
                    raise InputError("80.bin: truncated scan; copy the file again")
                return sweep
            return map(read, list(all_faults(drive(120, sweep_s=0.1))))

    stream, notices = forecaster(rate_hz=4.0)
    made, clock, stop = {}, FakeClock(), threading.Event()
    sink = SimpleNamespace(deliver=lambda one: made.update({one.task.present.stamp_s: one.name}))
    record = LatencyRecord(clock)
    source = Replay(FaultyLog(), ["drive-1"], 0.0, 1, clock, notices, stop)
    run_stream(source, Worker(stream, [sink], 1.0, clock, record), None, lambda: True, stop)
    assert max(made) > 11.7 and record.dropped.total() == 0
    assert {"silence", "pose jump", "unreadable sweep", "out of order"} <= set(notices.counts)
    # the history of 0.5 s, and a period of 0.25 s, since recovery shows at the next forecast
    for well_s, until_s in ((3.0, 4.05), (5.0, 6.5), (6.5, 8.0), (8.2, 9.5), (9.8, 12.0)):
        names = [name for stamp, name in made.items() if well_s + 0.75 <= stamp < until_s]
        assert names and set(names) == {network.name}, well_s


def test_a_truncated_scan_is_told_and_the_stream_goes_on(network, forecaster):
    stream, notices = forecaster()
    log = Drive(num_sweeps=13, broken=(5, 8))  # a sweep between two frames, and one that a frame was due at
    source = Replay(log, ["drive-1"], 0.0, 1, FakeClock(), notices, threading.Event())
    tasks = [task for task in map(stream.observe, source) if task]
    names = [stream.forecast(task).name for task in tasks]
    assert notices.counts["unreadable sweep"] == 2
    assert names.count(network.name) >= 3 and names[-1] == network.name


@pytest.mark.parametrize("gap_s", [3600.0, 1e9])
def test_a_gap_of_any_length_costs_no_time_and_one_history(network, forecaster, gap_s):
    """At a hundred forecasts a second, a hundred billion of them would lie in the longer one."""
    stream, notices = forecaster(rate_hz=100.0)
    sweeps = drive(4) + [replace(sweep, stamp_s=sweep.stamp_s + gap_s) for sweep in drive(8)[4:]]
    made = forecasts(stream, sweeps)
    assert [one.name for one in made.values()] == ["persistence"] * 2 + [network.name] * 2 + \
        ["persistence"] * 2 + [network.name] * 2
    assert notices.counts["silence"] == 1


@pytest.mark.parametrize("stamp_s", [1e300, 1e17])
def test_a_stamp_that_is_no_time_does_not_hold_the_forecaster(forecaster, stamp_s):
    """Whoever its arrivals are from; a period added to such a stamp leaves it as it is."""
    stream, notices = forecaster()
    sweeps = drive(9)
    made = forecasts(stream, [*sweeps[:5], replace(sweeps[5], stamp_s=stamp_s), *sweeps[5:]])
    assert list(made) == [0.0, 0.5, 1.0, 1.5, 2.0] and notices.counts["bad stamp"] == 1


def test_sweeps_that_are_not_used_are_counted(forecaster, network):
    stream, notices = forecaster()
    sweeps = [replace(sweep, points_sensor=sweep.points_sensor[:0], labels=sweep.labels[:0])
              if index in (3, 4) else sweep for index, sweep in enumerate(drive(9))]
    assert 1.0 not in forecasts(stream, sweeps)
    assert (network._record.sweeps, network._record.used, notices.counts["empty sweep"]) == (9, 7, 2)


def test_the_risk_of_the_guessed_path_is_of_samples_and_after_the_delivery(network, forecaster, tmp_path):
    """Its futures are those of the batch; the forecasts are what they are without it."""
    for head in network.model.autoencoder.existence:
        torch.nn.init.constant_(head.bias, 0.3)
    plain, weighed = forecaster()[0], forecaster(risk_samples=2)[0]
    assert plain.risks is None
    drawn, weigh = [], weighed.risks.weigh
    weighed.risks.weigh = lambda task, futures: drawn.append((task, futures)) or weigh(task, futures)
    made, same = forecasts(weighed, drive(9)), forecasts(plain, drive(9))
    for one, other in zip(made.values(), same.values(), strict=True):
        assert all(np.array_equal(a.flat, b.flat) for a, b in zip(one.frames, other.frames, strict=True))
    found = weighed.risks.summary()
    assert found["paths"] == len(drawn) == 4 and found["samples"] == 2  # the instants with a whole history
    assert network._record.summary()["stage_ms"]["risk"]["count"] == 4
    task, futures = drawn[-1]
    for number, frames in enumerate(futures):
        batch = StudentForecaster(network.model).forecast(task, SEED + number).frames
        assert all(np.array_equal(a.flat, b.flat) for a, b in zip(frames, batch, strict=True))
    last = found["last"][-1]
    assert last["stamp_s"] == 2.0 and 0 <= last["probability"] <= 1 and len(last["until"]) == len(task.targets)
    assert "of 4 instants; highest at" in weighed.risks.line
    assert weighed.risks.draw(tmp_path / "risk.png").stat().st_size > 1000
    long = forecaster(risk_samples=2, footprint={"length_m": 12.0, "width_m": 2.5, "rear_overhang_m": 3.0})[0]
    assert long.risks.footprint == Footprint(12.0, 2.5, 3.0) and weighed.risks.footprint == Footprint()
    assert RiskRecord(GRID, 2).draw(tmp_path / "none.png") is None and not (tmp_path / "none.png").exists()
