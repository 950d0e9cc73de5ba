"""The slow study of the forecaster: seeds, reconstruction, inputs, ablations, samplers, real recordings.

    python tools/study_forecaster.py                                  about two hours on two idle cores
    python tools/study_forecaster.py study.parts=[seeds,reconstruction] study.seeds=[0]
    python tools/study_forecaster.py study.parts=[recordings] \
        "study.recordings.pandaset={kind: nuscenes, root: PATH, version: v1.0-pandaset}"

Writes study.output.json and .md, after every part; what is there already is not made again. The copy in docs/studies/
is put there by hand.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.runtime.forecaster_study import run_study
    from occflow.runtime.train_jobs import ensure_data

    ensure_data(config)
    print(run_study(config))


if __name__ == "__main__":
    run(main, __doc__)
