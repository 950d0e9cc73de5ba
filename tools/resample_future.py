"""Re-sample what a partly decided future leaves open: by a student of distill=meta_flow_map in one step, or a teacher.

    python tools/resample_future.py run_dir=RUN
    python tools/resample_future.py resample.checkpoint=RUN/teacher.safetensors "resample.times=[0.5]"

Noises a future of one held-out window to every time, samples futures that agree with what is left of it, and prints how
far they are from it and from each other. Writes them to resample.output, for the viewer.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.jobs.resample import resample_window

    print(resample_window(config))


if __name__ == "__main__":
    run(main, __doc__)
