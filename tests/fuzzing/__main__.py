"""So many edits of every kind of file, and what became of them, as a table (make fuzz):

    PYTHONPATH=tests python -m fuzzing 500 [PARTS OF THE NAMES OF KINDS ...]
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from fuzzing.files import KINDS
from fuzzing.judging import OTHER, REFUSED, SAME, Bench

SHOWN = 3  # failures of a kind that are printed
SECONDS = 2  # of work that an edit may cost


def main() -> int:
    """Print the table; returns how many edits failed."""
    count, parts = int(sys.argv[1]), sys.argv[2:]
    failed = 0
    print("| kind | edits | refused | same | other | failures |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        if parts and not any(part in kind.name for part in parts):
            continue
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(kind, Path(folder), SECONDS)
            found = Counter(map(bench.outcome, range(count)))
        good = [found.pop(outcome, 0) for outcome in (REFUSED, SAME, OTHER)]
        print(f"| {kind.name} | {count} | {' | '.join(map(str, good))} | {found.total()} |", flush=True)
        for reason, _ in found.most_common(SHOWN):
            print(f"{kind.name}: {reason}", file=sys.stderr)
        failed += found.total()
    return failed


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(1 if main() else 0)
