"""The perception stage's training, and how well it sees held-out instants: behind the command train_perception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.eval.perceived import quality, quality_markdown
from occflow.forecasting.checkpoint import load_weights
from occflow.jobs.held_out import held_out_sightings
from occflow.jobs.sources import open_configured_store, prepare_torch
from occflow.jobs.train import made_once, training_device, training_run
from occflow.occupancy.settings import configured_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.perception.network import PerceptionNetwork, PerceptionSettings
from occflow.perception.perceive import Perceiver
from occflow.records import conform
from occflow.training.perception import train_perception as perception_training
from occflow.training.processes import rank
from occflow.viewing.headless import PICTURES_LACK, open3d_installed
from occflow.viewing.pictures import render_perceived

SHOWN = 3  # instants in the picture
EVERY = 5  # frames of a held-out scene from one to the next that is judged


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
        prepare_torch(config, training=True)
        network = configured_network(config).to(training_device(config))
        if values["start"]:
            _start_from(Path(values["start"]), network)
        run = training_run(config, "perception")
        with run.timed("perception"):
            return perception_training(network, store, values, config["seed"], run, held_out_sightings(config, store))

    path = made_once(config, "perception", "perception", "perception", make)
    network = configured_network(config)
    load_weights(path, network, ("perception",), network.settings)
    found = quality(network.to(training_device(config)), store, keys)
    if rank() == 0:
        write_json(path.with_name("perception_quality.json"), found)
        draw(network, store, keys, config["view"], path.with_name("perception.png"))
    return path, quality_markdown(found)


def draw(network: PerceptionNetwork, store: OccupancyStore, keys: Sequence[tuple[str, int]], view: Mapping,
         path: Path) -> None:
    """A picture of up to SHOWN of these instants, evenly chosen; a line where Open3D is missing."""
    if not open3d_installed():
        print(f"no {path}: {PICTURES_LACK}", flush=True)
        return
    perceiver, instants = Perceiver(network), []
    for key in keys[len(keys) // (2 * SHOWN)::max(1, len(keys) // SHOWN)][:SHOWN]:
        sighting = store.sighting(*key)
        instants.append((sighting, perceiver.frame(sighting), store.frame(*key)))
    render_perceived(store.grid, instants, view, path)
    print(f"picture: {path}", flush=True)


def _start_from(path: Path, network: PerceptionNetwork) -> None:
    """Load the weights that a training starts from."""
    try:
        load_weights(path, network, ("perception",), network.settings)
    except InputError as error:
        raise InputError(f"{error}; perception.start=null starts from none") from None


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
