"""Weights between those that a training went on from and those that it ended with: what was learnt before is kept where
the later drives did not show it (WiSE-FT, arXiv 2109.01903; docs/research/perception.md has what it brought).

    python -m studies.averaged_weights START END OUTPUT [--share 0.5] [--teacher PATH]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.forecasting.checkpoint import read_checkpoint, read_record
from occflow.weights_file import write_weights


def between(first: Tensor, last: Tensor, share: float) -> Tensor:
    """(1 - share) first + share last; to the last bit what both are where they are the same."""
    return last if torch.equal(first, last) or not last.is_floating_point() else (1 - share) * first + share * last


def average(start: Path, end: Path, output: Path, share: float, teacher: Path | None = None) -> dict:
    """Write (1 - share) START + share END with END's record, which then tells of what it is the average.

    Args:
        teacher: of a student, the average of its teachers, which it then belongs to.

    Returns:
        the record as it was written.

    Raises:
        InputError: checkpoints that cannot be read, or of other kinds or networks.
    """
    first, last = read_checkpoint(start), read_checkpoint(end)
    if any(first.record.get(name) != last.record.get(name) for name in ("kind", "settings", "network")):
        raise InputError(f"{start}, {end}: of other kinds or networks; only those of one can be averaged")
    tensors = {name: between(first.tensors[name], value, share) for name, value in last.tensors.items()}
    averaged = {"share": share, "start": first.record["weights"], "end": last.record["weights"]}
    record = {**last.record, "config": {**last.record["config"], "averaged": averaged}}
    if teacher is not None:
        record["teacher"] = read_record(teacher)["weights"]
    record = write_weights(output, tensors, record, outdated=output.with_suffix(".json"))
    write_json(output.with_suffix(".json"), record)
    return record


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("start", "end", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--teacher", type=Path)
    given = parser.parse_args()
    try:
        average(given.start, given.end, given.output, given.share, given.teacher)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
