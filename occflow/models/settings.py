"""Settings of the networks from configuration groups and from checkpoint records."""

from __future__ import annotations

import math
from collections.abc import Mapping

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.models.autoencoder import AutoencoderSettings
from occflow.models.forecaster import BASES, ForecasterSettings
from occflow.models.layout import SupportSettings
from occflow.models.trunk import TrunkSettings
from occflow.occupancy.settings import refuse_unknown


def _strides(values: list) -> tuple:
    return tuple(tuple(int(v) for v in stride) for stride in values)


def _trunk(values: Mapping) -> TrunkSettings:
    return TrunkSettings(tuple(values["widths"]), tuple(values["blocks"]))


def crop_step(settings: ForecasterSettings) -> tuple[int, int]:
    """Voxels along x and y by which a crop may shift so that the cells of every level keep their places."""
    strides = (settings.autoencoder.total_stride, *settings.support.level_strides)
    return math.prod(stride[0] for stride in strides), math.prod(stride[1] for stride in strides)


def settings_from_record(record: Mapping) -> ForecasterSettings:
    """The inverse of checkpoint.settings_record."""
    autoencoder, support = record["autoencoder"], record["support"]
    return ForecasterSettings(
        VoxelGrid.from_dict(record["grid"]), record["num_history"], record["num_horizon"],
        record["frame_interval_s"],
        AutoencoderSettings(_strides(autoencoder["strides"]), tuple(autoencoder["widths"]),
                            autoencoder["latent_channels"]),
        SupportSettings(support["reach_m_per_s"], _strides(support["level_strides"]), support["whole_grid"],
                        support["motion_compensation"]),
        record["history_channels"], _trunk(record["mean_trunk"]), _trunk(record["velocity_trunk"]), record["base"],
        record["keep_within"])


def with_later_settings(record: Mapping) -> dict:
    """A checkpoint's record with the settings that were not there yet when older ones were written."""
    if "support" not in record:  # of an autoencoder alone
        return dict(record)
    support = {"whole_grid": False, "motion_compensation": True, **record["support"]}
    return {"base": "tracked", "keep_within": 0.0, **record, "support": support}


def settings_from_config(data: Mapping, model: Mapping) -> ForecasterSettings:
    """Settings from the groups `data` and `model`.

    Raises:
        InputError: numbers that do not fit together.
    """
    settings = settings_from_record({
        "grid": data["grid"], "num_history": data["history"], "num_horizon": data["horizon"],
        "frame_interval_s": data["frame_interval_s"], **model})
    autoencoder, levels = settings.autoencoder, len(settings.support.level_strides) + 1
    if len(autoencoder.widths) != len(autoencoder.strides) + 1:
        raise InputError("model.autoencoder: widths needs one entry for the voxels and one for each stride")
    for name, trunk in (("mean_trunk", settings.mean_trunk), ("velocity_trunk", settings.velocity_trunk)):
        if len(trunk.widths) != levels or len(trunk.blocks) != levels:
            raise InputError(f"model.{name}: widths and blocks need {levels} entries, one a level")
    refuse_unknown("model.base", settings.base, BASES)
    if settings.num_history < 1 or settings.num_horizon < 1:
        raise InputError("data.history and data.horizon must be at least 1")
    return settings
