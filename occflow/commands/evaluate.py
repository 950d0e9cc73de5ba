"""Score baselines, teacher and student on the held-out scenes: RUN_DIR/report.json, report.md, forecast.npz.

With eval.workers=N or torchrun several processes share the scenes, with tasks.engine=dask a cluster; rank 0 writes.
Of teacher and student two products are rows: the one forecast (student-central) and samples (teacher-10, student-1).
eval.save=all writes every window's forecasts too, for other tools: RUN_DIR/saved (docs/predictions.md).
"""

from __future__ import annotations

READS = ("log", "data", "perception", "model", "eval", "run_dir", "seed", "device", "workers", "tasks")


def main(config: dict) -> None:
    from occflow.jobs.score import evaluate_run

    table = evaluate_run(config)
    if table is not None:
        print(table)
