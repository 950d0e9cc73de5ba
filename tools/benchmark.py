"""Time, memory and multiply-adds of every stage, sparse against dense, and how they grow with resolution and horizon.

    python tools/benchmark.py [benchmark.quick=true]             the networks of the embedded default
    python tools/benchmark.py data=occ3d model=full              the full size, on a CPU or with CUDA

Writes benchmark.json, benchmark.md and scaling.svg to benchmark.output. The networks are untrained; the decoder
prunes as the scene's truth says.
"""

import sys
from pathlib import Path

from occflow.command_line import run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # studies/ is in the checkout, nothing installs it
from studies import config_of


def main(config: dict) -> None:
    from studies.sparse_dense.benchmark import run_benchmark

    print(run_benchmark(config))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("sparse_dense"))
