"""How fast the player draws: python viz/benchmark.py [VOXELS]   (60000 unless told; needs a display)"""

import sys

from occflow.command_line import run


def main(_: dict) -> None:
    from occflow.viewing.benchmark import benchmark_player

    print(benchmark_player(VOXELS))


if __name__ == "__main__":
    VOXELS = int(sys.argv.pop(1)) if sys.argv[1:2] and sys.argv[1].isdigit() else 60000
    run(main, __doc__)
