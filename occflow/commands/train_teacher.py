"""Train the sparse autoencoder (where RUN_DIR has none), the mean and the flow-matching teacher.

Without arguments: the embedded default, simulated and built first where it is missing.
"""

from __future__ import annotations

READS = ("log", "simulation", "data", "perception", "model", "train", "eval", "run_dir", "seed", "device", "workers",
         "tasks")


def main(config: dict) -> None:
    from occflow.jobs.train import ensure_data, train_teacher

    ensure_data(config)
    print(f"teacher: {train_teacher(config)}")
