"""The distillation methods on points in the plane, against exact teachers: half an hour on one idle core.

    python -m studies.toy
    python -m studies.toy toy.seeds=[0] toy.updates=100 toy.output=PATH/NAME

Writes toy.output.json after every training; what is there already is not made again. The copy in docs/research/ is put
there by hand; no study reads it or writes to it.
"""

from occflow.command_line import run
from studies import config_of


def main(config: dict) -> None:
    from studies.toy.study import run_toy_study

    print(run_toy_study(config["toy"]))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("toy"))
