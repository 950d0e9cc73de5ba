"""What trainings are validated on: few fixed items of the split that group `train.validate` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from occflow.models.flow_model import FlowModel
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import WindowSource
from occflow.training.autoencoder import PatchSet
from occflow.training.feeding import ObservationFeed, Variety
from occflow.training.landing import LandingFeed
from occflow.training.motion import BodyFeed
from occflow.training.perception import examples
from occflow.training.validation import SEED, HeldOut, evenly


def held_out_windows(config: Mapping, learnt: ObservationFeed) -> HeldOut | None:
    """Windows, or a part of each, made as those that are learnt from; None where nothing is to be validated.

    Raises:
        InputError: the split has none.
    """
    values = config["train"]["validate"]
    if not values["every"]:
        return None
    keys, variety = _window_keys(values, learnt.windows), replace(Variety.from_config(config["train"]), a_window=1)
    feed = type(learnt)(learnt.windows, keys, learnt.forecaster, SEED, variety)
    return HeldOut.from_config(values, feed, len(keys))


def held_out_bodies(config: Mapping, learnt: BodyFeed) -> HeldOut | None:
    """The bodies of windows, likewise; none where no window tells how a body moved."""
    held_out = _held_out_like(config, learnt)
    if held_out is not None and not held_out.items.tells():
        split = config["train"]["validate"]["split"]
        print(f"no boxes in the windows of split '{split}' to validate the motions of bodies on", flush=True)
        return None
    return held_out


def held_out_landings(config: Mapping, learnt: LandingFeed) -> HeldOut | None:
    """Windows as the network learns from that moves the present, likewise."""
    return _held_out_like(config, learnt)


def _held_out_like(config: Mapping, learnt: BodyFeed | LandingFeed) -> HeldOut | None:
    """Whole windows, made as those that are learnt from; None where nothing is to be validated."""
    values = config["train"]["validate"]
    if not values["every"]:
        return None
    keys = _window_keys(values, learnt.windows)
    feed = type(learnt)(learnt.windows, keys, SEED, config["train"]["perceived_share"], device=learnt.device)
    return HeldOut.from_config(values, feed, len(keys))


def held_out_patches(config: Mapping, store: OccupancyStore, forecaster: FlowModel) -> HeldOut | None:
    """Batches of coarse sites, as large as those that are learnt from, likewise."""
    values = config["train"]["validate"]
    if not values["every"]:
        return None
    patches = PatchSet.from_store(store, values["split"], forecaster.settings.autoencoder.total_stride)
    rng, count = np.random.default_rng(SEED), config["train"]["autoencoder"]["patches"]
    return HeldOut.from_config(values, [patches.draw(count, rng) for _ in range(values["windows"])], values["windows"])


def held_out_sightings(config: Mapping, store: OccupancyStore) -> HeldOut | None:
    """Instants of drives by scene and number, likewise."""
    values = config["train"]["validate"]
    if not values["every"]:
        return None
    keys = evenly(examples(store, values["split"]), values["windows"], f"{store.path}, split '{values['split']}'")
    return HeldOut.from_config(values, keys, len(keys))


def _window_keys(values: Mapping, windows: WindowSource) -> list:
    return evenly(windows.keys(values["split"], 1), values["windows"],
                  f"{windows.store.path}, split '{values['split']}'")
