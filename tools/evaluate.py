"""Score baselines, teacher and student on the held-out scenes: RUN_DIR/report.json, report.md, forecast.npz."""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.jobs.score import evaluate_run

    print(evaluate_run(config))


if __name__ == "__main__":
    run(main, __doc__)
