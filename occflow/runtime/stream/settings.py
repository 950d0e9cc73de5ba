"""How a stream runs: the numbers of configuration group `stream`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from occflow.errors import InputError


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
    max_speed_m_per_s: float = 60.0
    max_acceleration_m_per_s2: float = 15.0
    max_pose_error_m: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "bool":
                if not isinstance(value, bool):
                    raise InputError(f"stream.{field.name}: {value!r} is not true or false")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"stream.{field.name}: {value!r} is not a number")
            elif value < 0 or (value == 0 and field.name not in ("pace", "accumulate_s")):
                raise InputError(f"stream.{field.name}: {value!r} is too small")

    @classmethod
    def from_dict(cls, values: Mapping) -> StreamSettings:
        """From the configuration group, whose other keys are the demo's."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def refuse_uneven_rate(self, frame_interval_s: float) -> None:
        """The history's frames are forecast instants of the past, so one of these must lie where it wants a frame.

        Raises:
            InputError: the rate is not a multiple of the frames' own.
        """
        forecasts = self.rate_hz * frame_interval_s
        if forecasts < 0.999 or abs(forecasts - round(forecasts)) > 1e-3:
            raise InputError(f"stream.rate_hz: {self.rate_hz} is not a multiple of {1 / frame_interval_s:g}, the rate "
                             "of the history's frames (1 / data.frame_interval_s)")
