"""How a stream runs: the numbers of configuration group `stream`, whose kinds and ranges occflow.configuration checks.
What is checked here, before anything is loaded or simulated, is what a range cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from occflow.errors import InputError
from occflow.flow.temperature import AS_LEARNT
from occflow.forecasting.planned_path import Footprint
from occflow.occupancy.settings import refuse_unknown

DISPLAYS = ("auto",)  # beside true and false
PERCEIVED, LOG, NONE = LABELS = ("perceived", "log", "none")  # what a frame of the history is made of
AUTO, NEVER = FALLBACKS = ("auto", "never")
CENTRE, SAMPLE = DELIVERS = ("centre", "sample")  # which forecast of the network goes out, and is held to persistence
SLOWEST_PACE = 1e-3  # 0.1 s of the recording take 100 s

Settings = TypeVar("Settings")


def settings_of(kind: type[Settings], values: Mapping) -> Settings:
    """A record of settings from the configuration group, which also has those of the other record.

    Raises:
        InputError: a key of the record is missing, or a value is not usable.
    """
    try:
        return kind(**{field.name: values[field.name] for field in fields(kind)})
    except KeyError as error:
        raise InputError(f"stream.{error.args[0]}: not set; configs/stream/demo.yaml has every key") from None


@dataclass(frozen=True)
class StreamSettings:
    """Pace, rate, deadline and the limits of what is believed; configs/stream/demo.yaml explains each.

    Raises:
        InputError: a pace so slow that it is none, a name of the wrong kind, a footprint of no vehicle.
    """

    pace: float = 1.0
    rate_hz: float = 2.0
    labels: str = PERCEIVED
    accumulate_s: float = 1.0
    reuse: bool = True
    learnt_landing: bool = True
    fallback: str = AUTO
    delivers: str = CENTRE
    temperature: float = AS_LEARNT
    fallback_instants: int = 4
    fallback_margin: float = 0.01
    risk_samples: int = 0
    footprint: Mapping[str, float] = field(default_factory=dict)
    running_s: float = 20.0
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
        if 0 < self.pace < SLOWEST_PACE:
            raise InputError(f"stream.pace: {self.pace!r} is not 0 (without waiting) or at least {SLOWEST_PACE:g}")
        for name, known in (("labels", LABELS), ("fallback", FALLBACKS), ("delivers", DELIVERS)):
            refuse_unknown(f"stream.{name}", getattr(self, name), known)

        try:
            Footprint(**self.footprint)
        except InputError as error:
            raise InputError(f"stream.{error}") from None

    @property
    def vehicle(self) -> Footprint:
        """The ground that the vehicle covers.

        Raises:
            InputError: of no vehicle.
        """
        return Footprint(**self.footprint)

    @property
    def perceives(self) -> bool:
        """Whether what is seen becomes labelled, completed occupancy; only then can the stream judge itself by it."""
        return self.labels == PERCEIVED

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
        InputError: a path that is none, an unknown kind of display.
    """

    checkpoint: str
    run_dir: str
    split: str | None
    max_scenes: int | None
    loops: int
    display: bool | str
    gif_forecasts: int
    page_forecasts: int
    score: bool

    def __post_init__(self) -> None:
        for name in ("checkpoint", "run_dir"):
            if not getattr(self, name) or "\0" in getattr(self, name):
                raise InputError(f"stream.{name}: {getattr(self, name)!r} is not a name")
        if not isinstance(self.display, bool) and self.display not in DISPLAYS:
            raise InputError(f"stream.display: {self.display!r} is not {', '.join(DISPLAYS)}, true or false")
