"""Say which differences between two reports exceed the 95 % intervals: occflow compare_reports A B

A and B are folders of runs, or their report.json. Printed is B minus A.
"""

from __future__ import annotations

READS = ()
TAKES_PATHS = True  # arguments are paths, not settings


def main(paths: list[str]) -> None:
    from occflow.errors import InputError
    from occflow.eval.compare import compare_reports

    if len(paths) != 2:
        raise InputError(f"compare_reports: two reports are compared, {len(paths)} given; name two folders of runs")
    print(compare_reports(*paths))
