"""Which keys of the configuration take one of a few names, and where these names live: with what they name.

A module is read only when a key has a name that the files in configs/ do not give it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from occflow.errors import InputError
from occflow.records import one_line

CHOICES = {  # dotted key, through the entries of lists: MODULE:VALUE of what has the names
    "log.input": ("occflow.occupancy.settings:INPUT_KINDS",),  # first: data.input may be made of it
    "data.grid_pose": ("occflow.occupancy.settings:GRID_POSES",),
    "data.input": ("occflow.occupancy.settings:INPUT_KINDS",),
    "device": ("occflow.jobs.sources:DEVICES",),
    "distill.derivative": ("occflow.flow.identities:DERIVATIVES",),
    "distill.method": ("occflow.distill.methods:METHODS",),
    "distill.solver": ("occflow.flow.solvers:METHODS",),
    "eval.baselines": ("occflow.forecasting.rules:RULES",),
    "eval.ego": ("occflow.eval.protocols:EGO_SETTINGS",),
    "eval.predictions.ego": ("occflow.eval.predictions:EGO",),
    "eval.protocol": ("occflow.eval.protocols:PROTOCOLS",),
    "eval.save": ("occflow.occupancy.storage.saved_forecasts:SAVES",),
    "eval.save_formats": ("occflow.occupancy.storage.saved_forecasts:SAVE_FORMATS",),
    "eval.shown": ("occflow.jobs.counting:SHOWN_WINDOWS",),
    "eval.teacher_samplers.solver": ("occflow.flow.solvers:METHODS",),
    "eval.window_rule": ("occflow.occupancy.window_index:RULES",),
    "log.kind": ("occflow.logs.open:READERS", "occflow.occupancy.readers.ready_made:NEEDED_KEYS"),
    "log.poses_of": ("occflow.logs.folder:POSES_OF",),
    "model.base": ("occflow.models.preparation:BASES",),
    "resample.decided": ("occflow.jobs.resample:DECIDED",),
    "stream.delivers": ("occflow.stream.settings:DELIVERS",),
    "stream.display": ("occflow.stream.settings:DISPLAYS",),
    "stream.fallback": ("occflow.stream.settings:FALLBACKS",),
    "stream.labels": ("occflow.stream.settings:LABELS",),
    "tasks.engine": ("occflow.worker_process:ENGINES",),
    "train.feed_workers": ("occflow.training.fetching:WORKERS",),
    "train.mean.centre": ("occflow.models.networks:CENTRES",),
    "train.precision": ("occflow.training.run:PRECISIONS",),
    "view.animations": ("occflow.viewing.animation:ANIMATIONS",),
    "view.camera": ("occflow.viewing.cameras:NAMES",),
    "view.formats": ("occflow.viewing.export:FORMATS",),
    "view.palette": ("occflow.viewing.palette:PALETTES",),
}


def check_names(config: Mapping, default: Mapping) -> None:
    """Raises InputError for the first value of CHOICES that is none of its key's names; numbers, true and false, where
    they may be, are none."""
    for key, places in CHOICES.items():
        usual = list(values_of(default, key.split(".")))
        for value in values_of(config, key.split(".")):
            if value in usual or isinstance(value, int):
                continue
            known = names(places)
            if re.sub(r":\d{1,4}$", ":0", str(value)) not in known:  # cuda:1
                raise InputError(f"{key}: {one_line(repr(value))} is not known; known: {', '.join(known)}")


def names(places: Sequence[str]) -> list[str]:
    """The names that live at these places."""
    found = (getattr(import_module(module), value) for module, _, value in (place.partition(":") for place in places))
    return [name for known in found for name in known]


def values_of(value: Any, parts: Sequence[str]) -> Iterator[Any]:
    """What a configuration, or a group of it, has at a dotted key's parts, through the entries of lists."""
    if isinstance(value, list):
        for one in value:
            yield from values_of(one, parts)
    elif not parts:
        yield value
    elif isinstance(value, Mapping) and parts[0] in value:
        yield from values_of(value[parts[0]], parts[1:])
