"""How a stream runs: the numbers of configuration group `stream`, checked before anything is loaded or simulated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from occflow.errors import InputError

DISPLAYS = ("auto",)  # beside true and false
SLOWEST_PACE = 1e-3  # 0.1 s of the recording take 100 s
LIMITS = {  # least and most; a time as short as the least is as good as none
    "pace": (0, 1e3), "rate_hz": (1e-3, 100), "accumulate_s": (0, 60), "deadline_s": (1e-3, 3600),
    "max_waiting_sweeps": (1, 1000), "history_tolerance_s": (1e-3, 10), "ego_motion_s": (1e-3, 60),
    "max_gap_s": (1e-3, 3600), "longest_pause_s": (1e-3, 86_400), "max_speed_m_per_s": (1e-3, 1000),
    "max_acceleration_m_per_s2": (1e-3, 1000), "max_pose_error_m": (1e-3, 1000),
    "loops": (1, 10**9), "max_scenes": (1, 10**9), "gif_forecasts": (0, 1000)}


def _refuse_unusable(settings: object) -> None:
    """Check every field of a dataclass of settings against its type, and numbers against `LIMITS`."""
    for field in fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if value is None and field.type.endswith("| None"):
            continue
        kind = field.type.removesuffix(" | None")
        if kind == "bool" and not isinstance(value, bool):
            raise InputError(f"stream.{name}: {value!r} is not true or false")
        if kind == "str" and not (isinstance(value, str) and value and "\0" not in value):
            raise InputError(f"stream.{name}: {value!r} is not a name")
        if kind in ("int", "float"):
            _refuse_number(name, value, *LIMITS[name], whole=kind == "int")


def _refuse_number(name: str, value: object, least: float, most: float, whole: bool) -> None:
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or math.isnan(value):
        raise InputError(f"stream.{name}: {value!r} is not a {'whole ' if whole else ''}number")
    if not least <= value <= most:
        raise InputError(f"stream.{name}: {value!r} is not within {least:g} and {most:g}")


def _from_dict(cls: type, values: Mapping):
    try:
        return cls(**{field.name: values[field.name] for field in fields(cls)})
    except KeyError as error:
        raise InputError(f"stream.{error.args[0]}: not set; configs/stream/demo.yaml has every key") from None


@dataclass(frozen=True)
class StreamSettings:
    """Pace, rate, deadline and the limits of what is believed; configs/stream/demo.yaml explains each.

    Raises:
        InputError: a value out of its range.
    """

    pace: float = 1.0
    rate_hz: float = 2.0
    labels: bool = True
    accumulate_s: float = 0.5
    reuse: bool = True
    deadline_s: float = 1.0
    max_waiting_sweeps: int = 8
    history_tolerance_s: float = 0.2
    ego_motion_s: float = 0.5
    max_gap_s: float = 0.6
    longest_pause_s: float = 5.0
    max_speed_m_per_s: float = 60.0
    max_acceleration_m_per_s2: float = 15.0
    max_pose_error_m: float = 1.0

    def __post_init__(self) -> None:
        _refuse_unusable(self)
        if 0 < self.pace < SLOWEST_PACE:
            raise InputError(f"stream.pace: {self.pace!r} is not 0 (without waiting) or at least {SLOWEST_PACE:g}")

    @classmethod
    def from_dict(cls, values: Mapping) -> StreamSettings:
        """From the configuration group, whose other keys are the demo's."""
        return _from_dict(cls, values)

    def refuse_uneven_rate(self, frame_interval_s: float) -> None:
        """The history's frames are forecast instants of the past, so one of these must lie where it wants a frame.

        Raises:
            InputError: the rate is not a multiple of the frames' own.
        """
        forecasts = self.rate_hz * frame_interval_s
        if forecasts < 0.999 or abs(forecasts - round(forecasts)) > 1e-3:
            raise InputError(f"stream.rate_hz: {self.rate_hz} is not a multiple of {1 / frame_interval_s:g}, the rate "
                             "of the history's frames (1 / data.frame_interval_s)")


@dataclass(frozen=True)
class DemoSettings:
    """What is replayed and where results go: the rest of the group; configs/stream/demo.yaml explains each.

    Raises:
        InputError: a value out of its range.
    """

    checkpoint: str
    run_dir: str
    split: str | None
    max_scenes: int | None
    loops: int
    display: bool | str
    gif_forecasts: int

    def __post_init__(self) -> None:
        _refuse_unusable(self)
        if not isinstance(self.display, bool) and self.display not in DISPLAYS:
            raise InputError(f"stream.display: {self.display!r} is not {', '.join(DISPLAYS)}, true or false")

    @classmethod
    def from_dict(cls, values: Mapping) -> DemoSettings:
        """From the configuration group."""
        return _from_dict(cls, values)
