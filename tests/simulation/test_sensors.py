"""Sensors of many kinds: what is drawn can be had, belongs to its scene, and follows from the seed."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.logs.nuscenes import NuScenesLog
from occflow.simulation import sensors
from occflow.simulation.branches import branch_log
from occflow.simulation.drive import of_its_own, simulate_log
from occflow.simulation.sensors import KEPT_SHARE, RAYS, varied
from occflow.simulation.settings import SimulationSettings

SETTINGS = SimulationSettings(2, 1, 1.0, 2, 4, 32, -30.0, 10.0, 600, 70.0, 0.02, 0.05, 1.84, 3, 0.5, 2, False, True,
                              False)
VALUES = {**asdict(SETTINGS), "branches": 1, "branch_every": 1, "branch_frames": 1}
VERSION = "v1.0-test-world"
DRAWN = {"beams", "azimuths", "sweep_hz", "lowest_beam_deg", "highest_beam_deg", "max_range_m", "range_noise_m",
         "dropout", "mount_height_m", "motion_during_revolution"}


def drawn(count: int) -> list[SimulationSettings]:
    return [varied(SETTINGS, np.random.default_rng(number)) for number in range(count)]


def test_drawn_sensors_are_such_as_are_sold():
    for one in drawn(400):
        assert one.beams in sensors.BEAMS and one.azimuths >= sensors.AZIMUTHS[0] and one.beams * one.azimuths <= RAYS
        assert one.sweep_hz in {one.keyframe_hz * count for count in sensors.SWEEPS_A_KEYFRAME}
        for name, (low, high) in (("lowest_beam_deg", sensors.LOWEST_DEG), ("highest_beam_deg", sensors.HIGHEST_DEG),
                                  ("max_range_m", sensors.MAX_RANGE_M), ("range_noise_m", sensors.RANGE_NOISE_M),
                                  ("dropout", sensors.DROPOUT), ("mount_height_m", sensors.MOUNT_HEIGHT_M)):
            assert low <= getattr(one, name) <= high
        kept = asdict(SETTINGS).keys() - DRAWN
        assert {name: asdict(one)[name] for name in kept} == {name: asdict(SETTINGS)[name] for name in kept}


def test_all_kinds_are_drawn():
    found = drawn(400)
    assert {one.beams for one in found} == set(sensors.BEAMS)
    assert 0.2 < np.mean([one.motion_during_revolution for one in found]) < 0.4
    for name in DRAWN - {"beams", "sweep_hz", "motion_during_revolution"}:
        assert len({getattr(one, name) for one in found}) > 100


def test_a_share_of_the_scenes_keeps_the_configured_sensor_and_a_flat_town():
    found = [of_its_own(SETTINGS, np.random.default_rng(number)) for number in range(600)]
    kept = [sensor is SETTINGS for sensor, _ in found]
    assert abs(np.mean(kept) - KEPT_SHARE) < 0.06
    assert all((len(terrain.heights_m) == 0) == plain for plain, (_, terrain) in zip(kept, found))


def test_without_variety_every_scene_has_the_configured_sensor_and_draws_nothing():
    plain, rng = SimulationSettings(**{**asdict(SETTINGS), "varied": False}), np.random.default_rng(0)
    sensor, terrain = of_its_own(plain, rng)
    assert sensor is plain and len(terrain.heights_m) == 0
    assert rng.random() == np.random.default_rng(0).random()


@pytest.fixture(scope="module")
def varied_log(tmp_path_factory) -> Path:
    """Three scenes, of which this seed gives two a sensor of their own."""
    root = tmp_path_factory.mktemp("varied") / "log"
    simulate_log(root, VERSION, VALUES, seed=1, workers=1)
    return root


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_seed_makes_the_sensors_whatever_the_workers(varied_log, tmp_path):
    simulate_log(tmp_path / "again", VERSION, VALUES, seed=1, workers=2)
    assert files(tmp_path / "again") == files(varied_log)


def test_every_scene_has_a_sensor_of_its_own(varied_log):
    rows = json.loads((varied_log / VERSION / "calibrated_sensor.json").read_text())
    assert len({row["token"] for row in rows}) == len(rows) == 3
    log, rates, heights = NuScenesLog(varied_log, VERSION), Counter(), set()
    for scene in log.scenes():
        sweeps = list(log.sweeps(scene))
        assert len(log.keyframes(scene)) == 3 and all(len(sweep.points_sensor) for sweep in sweeps)
        assert all(is_rigid(sweep.world_from_sensor) and is_rigid(sweep.world_from_ego) for sweep in sweeps)
        heights.add(round(float(np.linalg.inv(sweeps[0].world_from_ego)[2] @ sweeps[0].world_from_sensor[:, 3]), 6))
        rates[len(sweeps)] += 1
    assert len(heights) == 3 and set(rates) <= {1 + 2 * count for count in sensors.SWEEPS_A_KEYFRAME}


def test_branching_futures_are_of_flat_towns(varied_log):
    with pytest.raises(InputError, match="simulation.varied: branching futures are of flat towns"):
        branch_log(varied_log, VERSION, VALUES, seed=1, workers=1)
