"""Time, memory and multiply-adds of every stage, sparse against dense, and how they grow with resolution and horizon.

    python -m studies.sparse_dense [benchmark.quick=true]       the networks of the embedded default
    python -m studies.sparse_dense data=occ3d model=full        the full size, on a CPU or with CUDA

Writes benchmark.json, benchmark.md and scaling.svg to benchmark.output. The networks are untrained; the decoder
prunes as the scene's truth says.
"""

from occflow.command_line import run
from studies import config_of


def main(config: dict) -> None:
    from studies.sparse_dense.benchmark import run_benchmark

    print(run_benchmark(config))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("sparse_dense"))
