"""Mean Flow Distillation of RUN_DIR/teacher.safetensors into the one-step student RUN_DIR/student.safetensors."""

from __future__ import annotations

READS = ("data", "perception", "model", "train", "distill", "eval", "run_dir", "seed", "device", "workers")


def main(config: dict) -> None:
    from occflow.jobs.train import distill_mfd

    print(f"student: {distill_mfd(config)}")
