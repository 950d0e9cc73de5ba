"""Forecast frames scored a second at 200 x 200 x 16 voxels and 18 classes, and the memory that windows leave behind."""

from occflow.command_line import run


def main(_: dict) -> None:
    from occflow.runtime.score_benchmark import benchmark_scores

    print(benchmark_scores())


if __name__ == "__main__":
    run(main, __doc__)
