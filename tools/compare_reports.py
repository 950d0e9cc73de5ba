"""Say which differences between two reports exceed the 95 % intervals: tools/compare_reports.py A B

A and B are folders of runs, or their report.json. Printed is B minus A.
"""

import sys

from occflow.command_line import run


def main(paths: list[str]) -> None:
    from occflow.errors import InputError
    from occflow.eval.compare import compare_reports

    if len(paths) != 2:
        raise InputError(f"compare_reports.py: two reports are compared, {len(paths)} given; name two folders of runs")
    print(compare_reports(*paths))


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in given]  # paths are no overrides
    run(lambda _: main(given), __doc__)
