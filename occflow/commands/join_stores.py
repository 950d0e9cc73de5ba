"""Join occupancy stores to a new one, so that trainings learn from all their drives: occflow join_stores NEW A B ...

NEW is a folder that is not there yet, A, B, ... are folders (or URLs) of finished stores of one grid; they stay as
they are.
Scene X of A becomes 1.X, of B 2.X; splits of one name become one.
"""

from __future__ import annotations

READS = ()
TAKES_PATHS = True  # arguments are paths, not settings


def main(paths: list[str]) -> None:
    from occflow.errors import InputError
    from occflow.occupancy.storage.join import join_stores

    if len(paths) < 3:
        raise InputError("join_stores: name the folder of the new store, then two or more stores")
    summary = join_stores(paths[0], paths[1:]).summary()
    print(f"{paths[0]}: {summary.scenes} scenes, {summary.frames} frames, {summary.megabytes:.1f} MB")
