"""Re-sample what a partly decided future leaves open: by a student of distill=meta_flow_map in one step, or a teacher.

    occflow resample_future run_dir=RUN
    occflow resample_future resample.checkpoint=RUN/teacher.safetensors "resample.times=[0.5]"

Noises a future of one held-out window to every time, samples futures that agree with what is left of it, and prints how
far they are from it and from each other. Writes them to resample.output, for the viewer.
"""

from __future__ import annotations

READS = ("data", "perception", "model", "eval", "resample", "run_dir", "seed", "device", "workers")


def main(config: dict) -> None:
    from occflow.jobs.resample import resample_window

    print(resample_window(config))
