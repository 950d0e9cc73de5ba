"""The slow study of distillation: every method from one teacher, at equal updates and at equal network evaluations.

    python -m studies.distillation run_dir=runs/demo        a finished run; some two hours on two idle cores
    python -m studies.distillation distillation_study.methods=[mfd,vsd] distillation_study.seeds=[0]

Reads RUN_DIR/teacher.safetensors and data.store; writes distillation_study.output.json and .md after every training,
and what is there already is not made again. The copy in docs/research/ is put there by hand.
"""

import sys

from occflow.command_line import compose_config, run
from studies import config_of


def main(config: dict) -> None:
    from studies.distillation.study import run_study

    names = dict.fromkeys(["mfd", *config["distillation_study"]["methods"]])  # mfd: the budget, and part `stability`
    groups = {name: compose_config([*sys.argv[1:], f"distill={name}"], config_of("distillation"))["distill"]
              for name in names}
    print(run_study(config, groups))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("distillation"))
