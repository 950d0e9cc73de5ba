"""Peaks of resident memory of every stage of a training: python -m studies.training_memory OUTPUT [KEY=VALUE ...]

The tools run as anyone runs them, a few steps of every stage, one item a step; of the windows, which are whole unless
told, more than a feed keeps in memory of the largest. Needs data.store, with raw sweeps for perception, and Linux.
Windows are not perceived, since a perception stage of three steps sees whatever: train.perceived_share=0. For the full
size: experiment=nuscenes_occ3d log.root=... data.store=... device=cpu; with worker processes: train.feed_workers=1.
Ends with an error where all processes of a stage together took more than --bound GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from occflow.run_record import proc_field, read_seconds

TOOLS = ("train_perception", "train_teacher", "distill_mfd")
FEW = ("workers=1", "train.crop.voxels=0", "train.perceived_share=0",
       "perception.replace=true", "perception.steps=3", "perception.batch=1",
       "train.autoencoder.steps=5", "train.landing.steps=8", "train.landing.windows=1",
       "train.motion.steps=8", "train.motion.windows=1", "train.motion_flow.steps=8",
       "train.motion_flow.windows=1", "train.support.steps=8", "train.support.windows=1", "train.mean.steps=10",
       "train.mean.windows=1", "train.teacher.steps=10", "train.teacher.windows=1",
       "distill.windows=1", "distill.student.steps=2", "distill.auxiliary_warmup=1", "distill.auxiliary_updates=1",
       "distill.motion.windows=1", "distill.motion.student.steps=2", "distill.stability.every=0")
LEANEST_GB = 2.9  # I2-World's training, the leanest that has been published
LOOK_EVERY_S = 0.05
MIB_A_GB = 1e9 / 2**20


@dataclass(frozen=True)
class StagePeak:
    """Peaks of resident memory in a stage, MiB: of the process that trains, and the sum of its child processes'."""

    stage: str
    trainer_mib: float
    children_mib: float

    HEAD = "| stage | training process, MiB | its child processes, MiB | together, GB |\n|---|---|---|---|"

    def __str__(self) -> str:
        return f"| {self.stage} | {self.trainer_mib:.0f} | {self.children_mib:.0f} | {self.gigabytes:.2f} |"

    @property
    def gigabytes(self) -> float:
        """Of all together; pages that they share are counted once for each."""
        return (self.trainer_mib + self.children_mib) / MIB_A_GB


def peak_mib(process: int) -> float:
    """Peak of a process since the last `start_anew`; 0 where it has ended."""
    found = proc_field(f"{process}/status", "VmHWM")
    return int(found.split()[0]) / 1024 if found else 0.0


def start_anew(process: int) -> None:
    """Set its peak back to the present (proc(5), clear_refs)."""
    try:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    except OSError:  # it has ended
        pass


def children(process: int) -> list[int]:
    """All processes that descend from it."""
    try:
        found = [int(word) for task in Path(f"/proc/{process}/task").iterdir()
                 for word in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return [*found, *(further for child in found for further in children(child))]


def stage_peaks(command: Sequence[str], run_dir: Path) -> Iterator[StagePeak]:
    """The peaks of each stage of a command that notes its stages in RUN_DIR/seconds.json as they end, then.

    Raises:
        CalledProcessError: it failed.
    """
    known = set(read_seconds(run_dir))
    with subprocess.Popen(command) as process:
        peaks: dict[int, float] = {}
        while process.poll() is None:
            peaks |= {one: peak for one in (process.pid, *children(process.pid)) if (peak := peak_mib(one))}
            for stage in read_seconds(run_dir).keys() - known:
                known.add(stage)
                own = peaks.pop(process.pid, 0.0)
                for one in (process.pid, *peaks):
                    start_anew(one)
                yield StagePeak(stage, own, sum(peaks.values()))
                peaks = {}
            time.sleep(LOOK_EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def main(output: Path, bound_gb: float, values: Sequence[str]) -> None:
    if output.exists():
        raise SystemExit(f"error: {output} exists; stages that are done there would not run, name another folder")
    highest = StagePeak("none", 0.0, 0.0)
    print(StagePeak.HEAD, flush=True)
    for tool in TOOLS:
        command = [sys.executable, "-m", "occflow", tool, *FEW, *values, f"run_dir={output}"]
        try:
            for one in stage_peaks(command, output):
                print(one, flush=True)
                highest = max(highest, one, key=lambda peak: peak.gigabytes)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"error: {tool} ended with {error.returncode}") from None
    if highest.gigabytes > bound_gb:
        raise SystemExit(f"error: stage {highest.stage} took {highest.gigabytes:.2f} GB, more than {bound_gb}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--bound", type=float, default=LEANEST_GB, metavar="GB")
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    main(given.output, given.bound, given.values)
