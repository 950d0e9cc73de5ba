"""The perception stage's training, and how well it sees held-out instants: behind the command train_perception."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.eval.iou import IoUCounts
from occflow.eval.sections import table
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
    """
    values = config["perception"]

    def make() -> PerceptionNetwork:
        prepare_torch(config)
        network = configured_network(config).to(training_device(config))
        if values["start"]:
            load_weights(Path(values["start"]), network, ("perception",), network.settings)
        run = training_run(config, "perception")
        with run.timed("perception"):
            return perception_training(network, open_configured_store(config), values, config["seed"], run)

    path = made_once(config, "perception", "perception", "perception", make)
    network = configured_network(config)
    load_weights(path, network, ("perception",), network.settings)
    found = quality(network.to(training_device(config)), open_configured_store(config), config["eval"]["split"])
    if rank() == 0:
        write_json(path.with_name("perception_quality.json"), found)
    return path, quality_markdown(found)


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


def quality(network: PerceptionNetwork, store: OccupancyStore, split: str | None = "val") -> dict:
    """How well instants are perceived: IoU, mIoU and movable IoU beside the raw voxels', and the confidence's
    reliability: in bins of it the mean, the share that is occupied and the voxels; `ece` is the expected calibration
    error (Naeini et al., AAAI 2015) over the voxels that are not surely free.

    Raises:
        InputError: no frame to judge.
    """
    counts, perceiver, bins = {"raw": IoUCounts(1), "perceived": IoUCounts(1)}, Perceiver(network), np.zeros((3, BINS))
    keys = [(scene, index) for scene, frames in store.parts(split) for index in frames[EVERY // 2::EVERY]]
    if not keys:
        raise InputError(f"{store.path}: no frame of split '{split}' to judge the perception by; build it from a log "
                         "with held-out drives")
    for key in keys:
        sighting, truth = store.sighting(*key), store.frame(*key)
        seen = perceiver.perceive(sighting)
        counts["raw"].add(0, sighting.with_classes(), truth)
        counts["perceived"].add(0, seen.frame, truth)
        probability, occupied = seen.probability.reshape(-1), truth.dense(store.grid).reshape(-1) != FREE
        doubted = probability >= UNDOUBTED
        number = np.minimum((probability[doubted] * BINS).astype(int), BINS - 1)
        for row, weights in enumerate((probability[doubted], occupied[doubted], None)):
            bins[row] += np.bincount(number, weights, BINS)
    used = bins[:, bins[2] > 0]
    return {**{name: {"iou": float(one.iou()[0]), "miou": float(one.miou(released_rule=False)[0]),
                      "movable_iou": float(one.movable_iou()[0])} for name, one in counts.items()},
            "ece": float(np.abs(used[0] - used[1]).sum() / bins[2].sum()), "threshold": float(network.threshold),
            "reliability": [[float(a / n), float(b / n), int(n)] for a, b, n in used.T], "frames": len(keys)}


def quality_markdown(found: Mapping) -> str:
    """A table of `quality`."""
    rows = [[name, *(f"{100 * found[name][figure]:.1f}" for figure in FIGURES)] for name in ("raw", "perceived")]
    text = "\n".join(table(("the present", "IoU", "mIoU", "movable IoU"), rows)).rstrip()
    return f"{text}\nexpected calibration error {found['ece']:.4f}, {found['frames']} frames"
