"""The toys of distillation: every method against exact teachers in two dimensions; about 15 minutes on one core.

    python tools/study_toy.py
    python tools/study_toy.py toy_study.methods=[mfd,vsd] toy_study.seeds=[0] toy_study.output=/tmp/toy

Writes toy_study.output/toy.json, README.md and toy.svg after every training; what is there already is kept.
"""

import sys

from occflow.command_line import compose_config, run


def main(config: dict) -> None:
    from occflow.runtime.toy_study import run_toys

    overrides = [one for one in sys.argv[1:] if "=" in one]
    groups = {name: compose_config([*overrides, f"distill={name}"])["distill"] for name in
              dict.fromkeys([*config["toy_study"]["methods"], "mfd", "vsd", "stabilised_mean_flow"])}
    print(run_toys(config, groups))


if __name__ == "__main__":
    run(main, __doc__)
