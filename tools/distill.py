"""Distil RUN_DIR/teacher.safetensors by any method into RUN_DIR/METHOD.safetensors.

    python tools/distill.py distill=vsd
    python tools/distill.py distill=mean_flow distill.student.steps=200

Methods: the files of configs/distill; docs/distillation.md says what each is. MFD's own tool is tools/distill_mfd.py.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.runtime.train_jobs import distill_configured

    print(f"student: {distill_configured(config)}")


if __name__ == "__main__":
    run(main, __doc__)
