"""Measure the data: built against exact occupancy, real recordings, speeds -> study_data.output/data.{json,md}.

The copy in docs/research/ is put there by hand.

Simulates a log with the settings of group `simulation` below run_dir and builds it with those of group `data`:

    python -m studies.data data=occ3d simulation=hdl32e simulation.train_scenes=1 simulation.val_scenes=2 \\
        simulation.duration_s=10 run_dir=runs/study_data
"""

from occflow.command_line import run
from studies import config_of


def main(config: dict) -> None:
    from studies.data.study import study_data

    print(study_data(config))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("data"))
