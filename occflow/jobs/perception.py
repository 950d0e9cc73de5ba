"""The perception stage's training, and how well it sees held-out instants: behind the command train_perception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.eval.counts import number
from occflow.eval.iou import IoUCounts
from occflow.eval.sections import figure, percent, table
from occflow.forecasting.checkpoint import load_weights
from occflow.grid import FREE
from occflow.jobs.sources import open_configured_store, prepare_torch
from occflow.jobs.train import made_once, training_device, training_run
from occflow.occupancy.settings import configured_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.perception.network import PerceptionNetwork, PerceptionSettings
from occflow.perception.perceive import Perceiver
from occflow.records import conform
from occflow.training.perception import train_perception as perception_training
from occflow.training.processes import rank

EVERY = 5  # frames of a held-out scene from one to the next that is judged
BINS = 10  # of the reliability of the confidence
UNDOUBTED = 0.01  # voxels that are less probable than this are free to anybody, and would make any forecaster reliable
FIGURES = ("iou", "miou", "movable_iou")


def train_perception(config: Mapping) -> tuple[Path, str]:
    """-> RUN_DIR/perception.safetensors, RUN_DIR/perception_quality.json.

    Returns:
        the checkpoint, and a table of how well held-out instants are perceived.

    Raises:
        InputError: bad data or weights, no frame to judge by, or another checkpoint stands there and
            perception.replace does not say that it may be replaced.
    """
    values, store = config["perception"], open_configured_store(config)
    keys = judged_frames(store, config["eval"]["split"])  # nobody trains for an hour to be told that there are none

    def make() -> PerceptionNetwork:
        prepare_torch(config)
        network = configured_network(config).to(training_device(config))
        if values["start"]:
            _start_from(Path(values["start"]), network)
        run = training_run(config, "perception")
        with run.timed("perception"):
            return perception_training(network, store, values, config["seed"], run)

    path = made_once(config, "perception", "perception", "perception", make)
    network = configured_network(config)
    load_weights(path, network, ("perception",), network.settings)
    found = quality(network.to(training_device(config)), store, keys)
    if rank() == 0:
        write_json(path.with_name("perception_quality.json"), found)
    return path, quality_markdown(found)


def _start_from(path: Path, network: PerceptionNetwork) -> None:
    """Load the weights that a training starts from."""
    try:
        load_weights(path, network, ("perception",), network.settings)
    except InputError as error:
        raise InputError(f"{error}; perception.start=null starts from none") from None


def configured_network(config: Mapping) -> PerceptionNetwork:
    """An untrained network of groups `data` and `perception`.

    Raises:
        InputError: sizes that no network can be made of.
    """
    values = config["perception"]["network"]
    try:
        return PerceptionNetwork(conform({"grid": configured_grid(config["data"]).to_dict(), **values},
                                         PerceptionSettings))
    except ValueError as error:
        raise InputError(f"configuration of perception.network: {error}") from None


def judged_frames(store: OccupancyStore, split: str | None) -> list[tuple[str, int]]:
    """Scene and number of every EVERY-th frame of a split.

    Raises:
        InputError: there is none.
    """
    keys = [(scene, index) for scene, frames in store.parts(split) for index in frames[EVERY // 2::EVERY]]
    if not keys:
        raise InputError(f"{store.path}: no frame of split '{split}' to judge the perception by; build it from a log "
                         "with held-out drives, or take train.split=first_half eval.split=second_half")
    return keys


def quality(network: PerceptionNetwork, store: OccupancyStore, keys: Sequence[tuple[str, int]]) -> dict:
    """How well instants are perceived: IoU, mIoU and movable IoU beside the raw voxels', and the confidence's
    reliability: in bins of it the mean, the share that is occupied and the voxels; `ece` is the expected calibration
    error (Naeini et al., AAAI 2015) over the voxels that are not surely free. What cannot be measured is None.

    Args:
        keys: scene and number of the frames to judge by.
    """
    counts, perceiver, bins = {"raw": IoUCounts(1), "perceived": IoUCounts(1)}, Perceiver(network), np.zeros((3, BINS))
    for key in keys:
        sighting, truth = store.sighting(*key), store.frame(*key)
        seen = perceiver.perceive(sighting)
        counts["raw"].add(0, sighting.with_classes(), truth)
        counts["perceived"].add(0, seen.frame, truth)
        probability, occupied = seen.probability.reshape(-1), truth.dense(store.grid).reshape(-1) != FREE
        doubted = probability >= UNDOUBTED
        places = np.minimum((probability[doubted] * BINS).astype(int), BINS - 1)
        for row, weights in enumerate((probability[doubted], occupied[doubted], None)):
            bins[row] += np.bincount(places, weights, BINS)
    used = bins[:, bins[2] > 0]
    error = np.abs(used[0] - used[1]).sum() / used[2].sum() if used.size else np.nan
    return {**{name: {"iou": number(one.iou()[0]), "miou": number(one.miou(released_rule=False)[0]),
                      "movable_iou": number(one.movable_iou()[0])} for name, one in counts.items()},
            "ece": number(error), "threshold": float(network.threshold),
            "reliability": [[float(a / n), float(b / n), int(n)] for a, b, n in used.T], "frames": len(keys)}


def quality_markdown(found: Mapping) -> str:
    """A table of `quality`."""
    rows = [[name, *(percent([found[name][one]]) for one in FIGURES)] for name in ("raw", "perceived")]
    text = "\n".join(table(("the present", "IoU", "mIoU", "movable IoU"), rows)).rstrip()
    return f"{text}\nexpected calibration error {figure(found['ece'], 4)}, {found['frames']} frames"
