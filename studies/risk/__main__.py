"""Validate the risk of planned paths on branching futures -> risk_study.output.{json,md}.

The copy in docs/research/ is put there by hand. The log, its branching futures and its occupancy are made where they
are missing; of drives that no training of the project's weights saw:

    python -m studies.risk simulation.root=runs/study_risk/log log.root=runs/study_risk/log \\
        data.store=runs/study_risk/occupancy simulation.seed=31 simulation.train_scenes=0 simulation.val_scenes=12 \\
        simulation.duration_s=11 simulation.branches=16 simulation.branch_every=4
"""

from occflow.command_line import run
from studies import config_of


def main(config: dict) -> None:
    from studies.risk.study import run_study

    print(run_study(config))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("risk"))
