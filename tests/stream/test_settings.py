"""Values of configuration group `stream`: one line that names the key."""

from dataclasses import fields

import pytest

from occflow.command_line import compose_config
from occflow.configuration import check
from occflow.errors import InputError
from occflow.forecasting.planned_path import Footprint
from occflow.stream.settings import DemoSettings, StreamSettings, settings_of

NUMBERS = {
    "rate_hz": ["0", "-1", ".nan", ".inf", "1e9", "abc", "null", "true"], "pace": ["-1", ".nan", "1e-300", "1e9"],
    "deadline_s": ["0", ".inf"], "accumulate_s": ["-1", "1e9"], "max_waiting_sweeps": ["0", "2.5", "1e12"],
    "history_tolerance_s": ["0", "1e9"], "ego_motion_s": ["0", "[1]"], "max_gap_s": ["0"],
    "longest_pause_s": ["0", ".nan", "soon"], "max_speed_m_per_s": ["0"], "max_acceleration_m_per_s2": [".nan"],
    "max_pose_error_m": ["{a:1}"], "loops": ["-1", "0", "2.0", "abc", "null"], "max_scenes": ["0", "x"],
    "gif_forecasts": ["-1", "1e9", "null"], "fallback_instants": ["0", "1.5"], "fallback_margin": ["-0.1", "2"],
    "running_s": ["0", ".inf"], "page_forecasts": ["-1", "1001"], "risk_samples": ["-1", "65", "2.5", "null"]}
OTHERS = {"labels": ["2", "null", "true", "guessed"], "fallback": ["null", "false", "sometimes"],
          "delivers": ["null", "best", "student-1"], "score": ["null", "2", "maybe"], "reuse": ["maybe"],
          "learnt_landing": ["maybe"], "split": ["3"], "run_dir": ["null", "3", "''"],
          "checkpoint": ["null", "[a]"], "display": ["1", "0", "never", "null"]}


@pytest.fixture(scope="module")
def group() -> dict:
    return compose_config([])["stream"]


def settings(group: dict) -> tuple[StreamSettings, DemoSettings]:
    return settings_of(StreamSettings, group), settings_of(DemoSettings, group)


def test_every_value_that_is_not_usable_is_one_line_that_names_the_key(group):
    from omegaconf import OmegaConf

    for key, values in {**NUMBERS, **OTHERS}.items():
        for value in values:
            one = OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}={value}"]))
            with pytest.raises(InputError, match=rf"^stream\.{key}: ") as refused:
                check({"stream": {**group, **one}}, {"stream": group})
                settings({**group, **one})
            assert "\n" not in str(refused.value), (key, value)


def test_a_footprint_of_no_vehicle_is_one_line_that_names_the_key(group):
    for value in ({"length_m": 0.0}, {"width_m": float("nan")}, {"rear_overhang_m": -1.0}, {"length_m": 200.0}):
        one = {"stream": {**group, "footprint": {**group["footprint"], **value}}}
        with pytest.raises(InputError, match=rf"^stream\.footprint\.{next(iter(value))}: "):
            check(one, {"stream": group})
    with pytest.raises(InputError, match=r"^stream\.footprint: no vehicle is like"):  # behind its own rear end
        settings({**group, "footprint": {**group["footprint"], "rear_overhang_m": 5.0}})
    assert settings(group)[0].vehicle == Footprint()  # what the group says is what Python takes


def test_a_key_that_is_missing_is_named(group):
    for key in (field.name for one in (StreamSettings, DemoSettings) for field in fields(one)):
        with pytest.raises(InputError, match=rf"^stream\.{key}: not set"):
            settings({name: value for name, value in group.items() if name != key})


def test_the_configured_values_and_their_limits_are_usable(group):
    for key, value in {"pace": 0, "accumulate_s": 0, "max_scenes": None, "split": None, "gif_forecasts": 0,
                       "page_forecasts": 0}.items():
        check({"stream": {**group, key: value}}, {"stream": group})
        settings({**group, key: value})
