"""The slow study of the forecaster: seeds, reconstruction, inputs, ablations, samplers, real recordings.

    python -m studies.forecaster                                  about two hours on two idle cores
    python -m studies.forecaster study.parts=[seeds,reconstruction] study.seeds=[0]
    python -m studies.forecaster study.parts=[recordings] \
        "study.recordings=[{name: pandaset, kind: nuscenes, root: PATH, version: v1.0-pandaset}]"

Writes study.output.json and .md, after every part; what is there already is not made again. The copy in docs/research/
is put there by hand.
"""

from occflow.command_line import run
from studies import config_of


def main(config: dict) -> None:
    from occflow.jobs.train import ensure_data
    from studies.forecaster.study import run_study

    ensure_data(config)
    print(run_study(config))


if __name__ == "__main__":
    run(main, __doc__, addition=config_of("forecaster"))
