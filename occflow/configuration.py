"""The check of a composed configuration, before anything runs: every key is known, and its value of the right kind.

What kind a key is of follows from the value that the files in configs/ give it: a whole number, a number, true or
false, text, a list of these; null stands for a text that is absent. What range it has follows from its name, below;
keys that mean more than one kind are listed. Names that are known: occflow.choices. Which values go together is the
jobs' to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from occflow.errors import InputError
from occflow.records import one_line

LARGEST = 2**31 - 1

NULL_TOO = ("perception.start", "stream.max_scenes", "stream.split", "view.forecasts")
BOOL_TOO = ("stream.display",)
NUMBER_TOO = ("train.feed_workers",)  # whole ones
LENGTHS = {"origin_m": 3, "shape": 3, "ego_box_m": 4, "betas": 2, "panel_px": 2, "animation_px": 2,
           "strides": 3, "level_strides": 3}  # of lists, or of the lists in them


@dataclass(frozen=True)
class Range:
    """Numbers from `least` (above it, where `open`) to `most`, finite."""

    least: float
    most: float = math.inf
    open: bool = False

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and (self.least < value if self.open else self.least <= value) \
            and value <= self.most

    def __str__(self) -> str:
        if self.least == -math.inf:
            return ""
        if self.most == math.inf:
            return f" above {self.least:g}" if self.open else f" from {self.least:g} on"
        return f" {'above' if self.open else 'from'} {self.least:g} {'up ' if self.open else ''}to {self.most:.12g}"


WHOLE_RANGES = (  # by what a key ends in, the first that fits
    (r"feed_workers", Range(0, 256)),
    (r"workers", Range(1, 256)),
    (r"stream\.(gif|page)_forecasts", Range(0, 1000)),
    (r"stream\.risk_samples", Range(0, 64)),
    (r"stream\.(max_waiting_sweeps|fallback_instants)", Range(1, 1000)),
    (r"seeds?", Range(0, LARGEST)),
    (r"grid\.shape", Range(1, 100_000)),
    (r"(cells_per_voxel|(causal_)?min_points)", Range(1, 100)),
    (r"(train_scenes|val_scenes|vehicles|pedestrians)", Range(0, 100_000)),
    (r"(steps|reference_steps|energy_teacher_steps|warmup_steps|auxiliary_warmup|save_seconds|crop\.voxels|blocks)",
     Range(0, LARGEST)),
    (r"energy_samples", Range(2, LARGEST)),
    (r"(inspect\.frame|resample\.window|stability\.(every|patience)|validate\.every)", Range(0, LARGEST)),
    (r"(head_channels|landing\.channels)", Range(0, 1024)),
    (r"eval\.save_samples", Range(0, 64)),  # a file of predictions holds no more
    (r"(eval\.(samples|shown_samples|consensus)|forecast\.samples)", Range(0, LARGEST)),
    (r"log\.columns", Range(0, 5)),
    (r".*", Range(1, LARGEST)),
)
RANGES = (  # likewise
    (r"(lowest|highest)_beam_deg", Range(-90.0, 90.0)),
    (r"mount_height_m", Range(0.3, 5.0)),
    (r"log\.height_m", Range(0, 5)),
    (r"log\.rate_hz", Range(0.1, 100)),
    (r"stream\.pace", Range(0, 1000)),
    (r"stream\.footprint\.(length|width)_m", Range(0, 100, open=True)),
    (r"stream\.rate_hz", Range(1e-3, 100)),
    (r"stream\.accumulate_s", Range(0, 60)),
    (r"stream\.history_tolerance_s", Range(1e-3, 10)),  # as good as none below, like the times that follow
    (r"stream\.ego_motion_s", Range(1e-3, 60)),
    (r"stream\.fallback_margin", Range(0, 1)),
    (r"stream\.running_s", Range(1e-3, 3600)),
    (r"stream\.(deadline_s|max_gap_s)", Range(1e-3, 3600)),
    (r"stream\.longest_pause_s", Range(1e-3, 86_400)),
    (r"stream\.max_(speed_m_per_s|acceleration_m_per_s2|pose_error_m)", Range(1e-3, 1000)),
    (r"(learning_rate|clip_norm|time_scale|huber|softening|voxel_sizes?_m|dense_from_m|frame_interval_s|duration_s)",
     Range(0, open=True)),
    (r"betas", Range(0, 0.999999)),
    (r"(forecast|stream)\.temperature|eval\.temperatures", Range(0, 1)),
    (r"(.*share|.*dropout|ema_decay|fairness|warmup|times|support\.recall)", Range(0, 1)),
    (r"(origin_m|ego_box_m|time_mean)", Range(-math.inf)),
    (r".*", Range(0)),
)


def check(config: Mapping, default: Mapping, before: str = "") -> None:
    """Compare a composed configuration with that of the same groups before any value was given.

    Raises:
        InputError: the first key that is not known, or whose value is of another kind or out of its range.
    """
    for name, value in config.items():
        if name not in default:
            refuse_unknown_key(f"{before}{name}", default)
        _check_entry(f"{before}{name}", value, default[name])


def check_key(config: Mapping, default: Mapping, key: str) -> None:
    """As `check`, of one dotted key alone."""
    parent, _, name = key.rpartition(".")
    if isinstance(find(default, parent), Mapping):
        _check_entry(key, find(config, parent)[name], find(default, key))


def find(default: Mapping, key: str) -> Any:
    """The value of a dotted key in a configuration.

    Raises:
        InputError: no such key.
    """
    value: Any = default
    parts = key.split(".") if key else []
    for count, part in enumerate(parts):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            refuse_unknown_key(".".join(parts[:count + 1]), value if isinstance(value, Mapping) else {})
    return value


def refuse_unknown_key(key: str, siblings: Mapping) -> NoReturn:
    """Raises InputError: `key` is none of its group's."""
    group = key.rpartition(".")[0] or "the configuration"
    known = f"{group} has {_names(siblings)}" if siblings else f"{group} has no keys"
    raise InputError(f"{one_line(key)}: no such key; {known} (--help shows every key)")


def _check_entry(key: str, value: Any, default: Any) -> None:
    if not isinstance(default, Mapping):
        _check_value(key, value, default)
    elif isinstance(value, Mapping):
        check(value, default, f"{key}.")
    else:
        raise InputError(f"{key}: {_shown(value)} stands for a group; set one of its keys: {_names(default)}")


def _check_value(key: str, value: Any, default: Any) -> None:
    if value is None:
        if default is not None and key not in NULL_TOO:
            raise InputError(f"{key}: null is not {_wanted(key, default)}")
    elif default is None:
        if not isinstance(value, str):
            raise InputError(f"{key}: {_shown(value)} is not text, or null")
    elif not _fits(key, value, default):
        raise InputError(f"{key}: {_shown(value)} is not {_wanted(key, default)}")


def is_no_text(key: str, value: Any) -> bool:
    """Whether a value is not text, but of the other kind that a key of texts takes."""
    return key in BOOL_TOO and isinstance(value, bool) or key in NUMBER_TOO and type(value) is int


def _fits(key: str, value: Any, default: Any) -> bool:
    if isinstance(default, list):
        length = LENGTHS.get(key.rpartition(".")[2])
        return isinstance(value, list) and _right_length(value, default, length) and \
            (not default or all(_fits(key, one, _like(default)) for one in value))
    if isinstance(default, Mapping):  # an entry of a list, whose keys are the job's to say
        return isinstance(value, Mapping)
    if is_no_text(key, value):
        return isinstance(value, bool) or _range(key, value).holds(value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, int if isinstance(default, int) else (int, float)) and \
            _range(key, default).holds(value)
    return isinstance(value, str)


def _right_length(value: list, default: list, length: int | None) -> bool:
    return length is None or bool(default) and isinstance(default[0], list) or len(value) == length


def _like(default: list) -> Any:
    """What all entries of a list are like: a number that is not whole, where one is."""
    return next((one for one in default if isinstance(one, float)), default[0])


def _range(key: str, default: float) -> Range:
    ranges = WHOLE_RANGES if isinstance(default, int) else RANGES
    return next(found for name, found in ranges if re.search(rf"(?:^|\.){name}$", key))


def _wanted(key: str, default: Any) -> str:
    """What a key takes, in words."""
    if isinstance(default, list):
        length = LENGTHS.get(key.rpartition(".")[2])
        if default and isinstance(default[0], list):
            return f"a list of lists of {length} {_plural(key, default[0])}"
        return f"a list of {f'{length} ' if length else ''}{_plural(key, default)}"
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int | float):
        return f"a {'whole ' if isinstance(default, int) else ''}number{_range(key, default)}"
    return f"text, or {_wanted(key, 0)}" if key in NUMBER_TOO else "text"


def _plural(key: str, default: list) -> str:
    if not default:
        return "entries"
    if isinstance(default[0], Mapping):
        return "groups of settings"
    if isinstance(default[0], str):
        return "texts"
    return _wanted(key, _like(default)).removeprefix("a ").replace("number", "numbers", 1)


def _names(group: Mapping) -> str:
    return ", ".join(map(str, group))


def _shown(value: Any) -> str:
    return one_line(repr(value))
