"""Mean Flow Distillation of RUN_DIR/teacher.safetensors into the one-step student RUN_DIR/student.safetensors."""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.jobs.train import distill_mfd

    print(f"student: {distill_mfd(config)}")


if __name__ == "__main__":
    run(main, __doc__)
