"""Settings of the networks from configuration groups and from checkpoint records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain

from occflow.errors import InputError
from occflow.models.landing import LandingSettings
from occflow.models.motion import MotionSettings
from occflow.models.preparation import BASES, ModelSettings
from occflow.records import bounded, conform, one_line

MIN_INTERVAL_S, MAX_INTERVAL_S = 1e-3, 60.0  # between frames: faster than any sensor, slower than any traffic
MAX_KEEP_WITHIN = 100.0  # of latents that are bounded by 4
MAX_FRAMES = 1000  # of a history or a horizon: minutes
MAX_HEAD_CHANNELS = 1024  # of a network that is to be cheap
MAX_REACH_M_PER_S = 200.0  # nothing on a road moves farther in a second


def crop_step(settings: ModelSettings) -> tuple[int, int]:
    """Voxels along x and y by which a crop may shift so that the cells of every level keep their places."""
    strides = (settings.autoencoder.total_stride, *settings.support.level_strides)
    return math.prod(stride[0] for stride in strides), math.prod(stride[1] for stride in strides)


def settings_from_record(record: Mapping) -> ModelSettings:
    """The inverse of checkpoint.settings_record.

    Raises:
        ValueError: a field that is missing, unknown or of another type, or numbers that do not fit together.
    """
    try:
        settings = conform(dict(record), ModelSettings)
    except InputError as error:  # of the grid
        raise ValueError(str(error)) from None
    _refuse_unknown_fields(record, asdict(settings))
    _refuse_unusable(settings)
    return settings


def _refuse_unknown_fields(record: Mapping, known: Mapping, prefix: str = "") -> None:
    for name, value in record.items():
        if name not in known:
            raise ValueError(f"field '{one_line(prefix + str(name))}' is unknown")
        if isinstance(value, Mapping):
            _refuse_unknown_fields(value, known[name], f"{prefix}{name}.")


def _refuse_unusable(settings: ModelSettings) -> None:
    """Raises ValueError for numbers that no network can be made of, or that do not fit together."""
    autoencoder, support = settings.autoencoder, settings.support
    trunks = {"mean_trunk": settings.mean_trunk, "velocity_trunk": settings.velocity_trunk}
    if len(autoencoder.widths) != len(autoencoder.strides) + 1:
        raise ValueError("model.autoencoder: widths needs one entry for the voxels and one for each stride")
    levels = len(support.level_strides) + 1
    for name, trunk in trunks.items():
        if len(trunk.widths) != levels or len(trunk.blocks) != levels:
            raise ValueError(f"model.{name}: widths and blocks need {levels} entries, one a level")
        if min(trunk.blocks) < 0:
            raise ValueError(f"model.{name}: blocks are not negative")
    if settings.base not in BASES:
        raise ValueError(f"model.base: {one_line(repr(settings.base))} is not known; known: {', '.join(BASES)}")
    if settings.num_history < 1 or settings.num_horizon < 1:
        raise ValueError("data.history and data.horizon must be at least 1")
    bounded(settings.num_history, MAX_FRAMES, "data.history")
    bounded(settings.num_horizon, MAX_FRAMES, "data.horizon")
    motion = settings.motion
    if motion.blocks < 0 or min(motion.channels, motion.heads) < 1 or motion.channels % motion.heads:
        raise ValueError("model.motion: channels must be a multiple of heads, blocks not negative")
    sizes = [*autoencoder.widths, autoencoder.latent_channels, settings.history_channels, *chain(*autoencoder.strides),
             *chain(*support.level_strides), *chain(*(trunk.widths for trunk in trunks.values()))]
    if min(sizes) < 1:
        raise ValueError("model: widths, channels and strides must be at least 1")
    bounded(settings.frame_interval_s, MAX_INTERVAL_S, "data.frame_interval_s", MIN_INTERVAL_S)
    bounded(settings.keep_within, MAX_KEEP_WITHIN, "model.keep_within")
    bounded(support.head_channels, MAX_HEAD_CHANNELS, "model.support.head_channels")
    bounded(support.reach_m_per_s, MAX_REACH_M_PER_S, "model.support.reach_m_per_s")
    landing = settings.landing
    bounded(landing.channels, MAX_HEAD_CHANNELS, "model.landing.channels")
    bounded(landing.voxel_channels, MAX_HEAD_CHANNELS, "model.landing.voxel_channels", least=1)
    bounded(landing.hidden, MAX_HEAD_CHANNELS, "model.landing.hidden", least=1)


def with_later_settings(record: Mapping) -> dict:
    """A checkpoint's record with the settings that were not there yet when older ones were written."""
    record = dict(record)
    if "support" in record:
        support = {"whole_grid": False, "motion_compensation": True, "head_channels": 0}
        record["support"] = {**support, **record["support"]}
    if "mean_trunk" not in record:  # of a part alone
        return record
    later = {"base": "tracked", "keep_within": 0.0, "stays": False, "motion": asdict(MotionSettings()),
             "landing": asdict(LandingSettings())}
    return {**later, **record}


def settings_from_config(data: Mapping, model: Mapping) -> ModelSettings:
    """Settings from the groups `data` and `model`.

    Raises:
        InputError: a value of another type, or numbers that do not fit together.
    """
    try:
        return settings_from_record({
            "grid": data["grid"], "num_history": data["history"], "num_horizon": data["horizon"],
            "frame_interval_s": data["frame_interval_s"], **model})
    except ValueError as error:
        raise InputError(f"configuration of data and model: {error}") from None
