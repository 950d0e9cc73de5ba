"""Score baselines, teacher and student on the held-out scenes: RUN_DIR/report.json, report.md, forecast.npz."""

from __future__ import annotations

READS = ("log", "data", "perception", "model", "eval", "run_dir", "seed", "device", "workers")


def main(config: dict) -> None:
    from occflow.jobs.score import evaluate_run

    print(evaluate_run(config))
