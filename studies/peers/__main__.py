"""Time, memory and multiply-adds of a forecast, ours and by networks of the shapes that others have published.

    python -m studies.peers data=occ3d model=full workers=1 [peers.store=PATH] [peers.checkpoints=[PATH,...]]

At the size that theirs are made for alone, 200 x 200 x 16 voxels; their weights are random. Writes peers.json and
peers.md to peers.output. Seconds are the process's own time on one thread of a CPU, and wall time elsewhere.
"""

from occflow.command_line import run
from studies import config_of


def main(config: dict) -> None:
    from studies.peers.study import compare

    print(compare(config))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("peers"))
