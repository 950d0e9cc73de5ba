"""The results of a study: OUTPUT.json, which a later call goes on from, and OUTPUT.md, which people read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.records import conform, one_line, read_json

REMEDY = "remove it, or name another output"
Place = tuple[str, ...]
Job = Callable[[], object]


class Ledger:
    """What earlier calls have found, and what this one adds; both files are written after every result.

    Args:
        output: the files' path without .json and .md.
        page: makes OUTPUT.md of the results; those that it cannot read are refused now, not after hours of work.
        same: entries of OUTPUT.json that must be as they are now, such as the settings; `what` they are, in words.
        fresh: entries that are there before any result, beside `same`.
        notes: entries that are always of the last call, such as the machine.
        kind: of the results, for occflow.records.conform.

    Raises:
        InputError: a file that cannot be read, is marked as outdated, or holds no results of this study, or others
            than `same` ones.
    """

    def __init__(self, output: Path, page: Callable[[dict], str], same: Mapping | None = None, what: str = "settings",
                 fresh: Mapping | None = None, notes: Mapping | None = None, kind: type = dict[str, Any]) -> None:
        self.json, self.markdown = Path(f"{output}.json"), Path(f"{output}.md")
        self.write_page, same = page, same or {}
        self.found = self._read(kind, notes or {}) if self.json.is_file() else {**same, **(fresh or {})}
        if any(self.found.get(name) != value for name, value in same.items()):
            raise InputError(f"{self.json}: results of other {what}; {REMEDY}")
        self.found |= notes or {}

    def _read(self, kind: type, notes: Mapping) -> dict:
        found = read_json(self.json, dict[str, Any], REMEDY)
        if "outdated" in found:
            raise InputError(f"{self.json}: outdated, nothing is added to it; {REMEDY}")
        try:
            self.write_page({**conform(found, kind), **notes})
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise InputError(f"{self.json}: no results of this study ({type(error).__name__}: {one_line(error)}); "
                             f"{REMEDY}") from None
        return found

    @property
    def page(self) -> str:
        """OUTPUT.md of what there is."""
        return self.write_page(self.found)

    def __contains__(self, place: Place) -> bool:
        group = self.found
        for name in place:
            if name not in group:
                return False
            group = group[name]
        return True

    def add(self, place: Place, result: object) -> None:
        """Put a result at a place, such as ("seeds", "0"), and write both files."""
        group = self.found
        for name in place[:-1]:
            group = group.setdefault(name, {})
        group[place[-1]] = result
        self.write()

    def make(self, jobs: Iterable[tuple[Place, Job]]) -> str:
        """Make the results that are not there yet; returns the page."""
        for place, job in jobs:
            if place not in self:
                self.add(place, job())
        self._write_markdown()
        return self.page

    def write(self) -> None:
        """Write OUTPUT.json and OUTPUT.md."""
        write_json(self.json, self.found)
        self._write_markdown()

    def _write_markdown(self) -> None:
        with atomic_file(self.markdown) as partial:
            partial.write_text(self.page)
