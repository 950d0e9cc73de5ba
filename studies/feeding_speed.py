"""What share of its time a training waits for batches: python -m studies.feeding_speed [WORKERS ...] [KEY=VALUE ...]

WORKERS are values of train.feed_workers (0 2 unless told); steps are stood in for by sleep. No batch comes twice, as in
a first epoch: what feeds keep in memory costs nothing later. Needs data.store, with causal occupancy.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from itertools import count

import torch

from occflow.command_line import compose_config
from occflow.jobs.sources import configured_feed_workers, open_configured_store, prepare_torch
from occflow.jobs.train import configured_bodies, configured_feed, training_device
from occflow.models.flow_model import FlowModel
from occflow.models.settings import settings_from_config
from occflow.training.feeding import ObservationFeed
from occflow.training.fetching import StepFetcher
from occflow.training.perception import SightingBatches, examples

STEPS_MS = (50, 100, 200)
BATCHES = 20  # of each length of a step


def feeds(config: Mapping) -> dict[str, Callable[[], Callable[[int], object]]]:
    """By name what begins a feed and returns what draws the batch of a step."""
    store, device = open_configured_store(config), training_device(config)
    model = FlowModel(settings_from_config(config["data"], config["model"])).to(device).eval().requires_grad_(False)
    train, perception, workers = config["train"], config["perception"], configured_feed_workers(config, device)

    def windows() -> Callable[[int], object]:
        feed = configured_feed(ObservationFeed, config, train, store, model)
        return lambda step: feed.next(train["mean"]["windows"])

    def bodies() -> Callable[[int], object]:
        feed = configured_bodies(config, train, store)
        return lambda step: feed.next(train["motion"]["windows"], torch.Generator())

    def sightings() -> Callable[[int], object]:
        batches = SightingBatches(store, examples(store, perception["split"]), perception["batch"], config["seed"])
        fetcher = StepFetcher(batches, sys.maxsize, workers, device)
        return lambda step: fetcher.get(step).to(device)

    return {"windows": windows, "bodies": bodies, "sightings": sightings}


def row(name: str, begin: Callable[[], Callable[[int], object]], config: Mapping) -> str:
    """Seconds to the first batch, and the share of waiting beside steps of each length."""
    start = time.perf_counter()
    draw = begin()
    draw(0)
    first_s, shares, steps = time.perf_counter() - start, [], count(1)
    for step_ms in STEPS_MS:
        waited_s = 0.0
        for _ in range(BATCHES):
            start = time.perf_counter()
            draw(next(steps))
            if training_device(config).type == "cuda":
                torch.cuda.synchronize()
            waited_s += time.perf_counter() - start
            time.sleep(step_ms / 1000)
        shares.append(f"{waited_s / (waited_s + BATCHES * step_ms / 1000):.0%} ({1000 * waited_s / BATCHES:.0f} ms)")
    return f"| {name} | {config['train']['feed_workers']} | {first_s:.1f} | {' | '.join(shares)} |"


def main(words: list[str]) -> None:
    workers = [word for word in words if word.isdecimal() or word == "auto"] or ["0", "2"]
    values = [word for word in words if "=" in word]
    print("| feed | workers | first batch, s | " + " | ".join(f"waiting, steps of {ms} ms" for ms in STEPS_MS) + " |\n"
          + "|---" * (3 + len(STEPS_MS)) + "|")
    for number in workers:
        config = compose_config([*values, f"train.feed_workers={number}"])
        prepare_torch(config)
        for name, begin in feeds(config).items():
            print(row(name, begin, config), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
