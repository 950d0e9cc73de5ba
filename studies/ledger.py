"""What an earlier call of a study has found, which a later one goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from occflow.errors import InputError
from occflow.records import conform, one_line, read_json

REMEDY = "remove it, or name another output"


def earlier_results(path: Path, fresh: Mapping, report: Callable[[dict], object], kind: type = dict[str, Any]) -> dict:
    """The results in a file; `fresh` ones where there is no such file.

    Args:
        report: makes of the results what the study makes of them in the end; those that it cannot read are refused
            now, not after hours of work.
        kind: of the results, for occflow.records.conform.

    Raises:
        InputError: a file that cannot be read, is marked as outdated, or holds no results of this study.
    """
    if not path.is_file():
        return dict(fresh)
    found = read_json(path, dict[str, Any], REMEDY)
    if "outdated" in found:
        raise InputError(f"{path}: outdated, nothing is added to it; {REMEDY}")
    try:
        report(conform(found, kind))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path}: no results of this study ({type(error).__name__}: {one_line(error)}); "
                         f"{REMEDY}") from None
    return found
