"""Train the cross-entropy regression twin -> RUN_DIR/regression.safetensors.

It is the teacher's mean network and decoder, trained to predict the future's voxels in one pass: the baseline that
tells what generation costs. To score it beside the others:

    occflow evaluate "eval.checkpoints=[RUN_DIR/teacher.safetensors,RUN_DIR/regression.safetensors]"
"""

from __future__ import annotations

READS = ("log", "simulation", "data", "perception", "model", "train", "eval", "run_dir", "seed", "device", "workers",
         "tasks")


def main(config: dict) -> None:
    from occflow.jobs.train import ensure_data, train_regression

    ensure_data(config)
    print(f"regression: {train_regression(config)}")
