"""Train the perception stage: raw sweeps to labelled occupancy -> RUN_DIR/perception.safetensors.

It learns what a car sees from data.store, with the whole drive's hindsight as teacher; perception.start names the
weights to start from. How well held-out instants are perceived goes to RUN_DIR/perception_quality.json and
RUN_DIR/perception.png.
"""

from __future__ import annotations

READS = ("log", "simulation", "data", "perception", "train", "eval", "view", "run_dir", "seed", "device", "workers",
         "tasks")


def main(config: dict) -> None:
    from occflow.jobs.perception import train_perception
    from occflow.jobs.train import ensure_data

    ensure_data(config)
    path, table = train_perception(config)
    print(f"{table}\nperception: {path}")
