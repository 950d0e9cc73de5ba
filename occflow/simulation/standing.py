"""What stands already where the simulator is to write: left as it is, replaced where that was asked for, or refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from occflow.errors import InputError
from occflow.records import one_line, read_json

REPLACE = "simulation.replace=true replaces it"


@dataclass(frozen=True)
class Output:
    """A folder that the simulator writes.

    Args:
        kind: what it is, for messages ("log").
        record: name of the file in it that says what it was made with.
        names: from the record to what matches the whole name, relative to the folder, of every file that the simulator
            writes there.
        remedy: how to name another folder.
    """

    kind: str
    record: str
    names: Callable[[Mapping], re.Pattern]
    remedy: str

    def stands(self, folder: Path, wanted: Mapping, replace: bool) -> bool:
        """Whether the wanted output is at `folder` already; False where it may be written there.

        Args:
            wanted: its record, plain values.
            replace: whether an output of another record may be replaced.

        Raises:
            InputError: something else is there: of another record, without `replace`; or a file that the simulator has
                not written, whatever was asked.
        """
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: a file, not a folder; {self.remedy}")
        if not folder.exists() or not any(folder.iterdir()):
            return False
        found = self.read(folder)
        if found == wanted:
            return True
        if found is None and not replace:
            raise InputError(f"{folder}: is not empty and holds no simulated {self.kind}; {self.remedy}")
        if not replace:
            raise InputError(f"{folder}: holds a {self.kind} with {one_line(first_difference(found, wanted))}; "
                             f"{REPLACE}, or {self.remedy}")
        names = self.names(found or wanted)
        for name in _files(folder):
            if not names.fullmatch(name):
                raise InputError(f"{folder / name}: is not of the simulated {self.kind} and would be lost; move it "
                                 f"away, or {self.remedy}")
        return False

    def read(self, folder: Path) -> dict | None:
        """The record of what is at `folder`; None where there is none, or none that can be read."""
        try:
            found = read_json(folder / self.record)
        except InputError:
            return None
        return found if isinstance(found, dict) else None


def first_difference(found: Mapping, wanted: Mapping, before: str = "") -> str:
    """The first field in which a record is not the wanted one, such as "seed 0, not 5"."""
    for name in dict.fromkeys([*wanted, *found]):
        one, other = found.get(name), wanted.get(name)
        if one != other:
            if isinstance(one, Mapping) and isinstance(other, Mapping):
                return first_difference(one, other, f"{before}{name}.")
            return f"{before}{name} {one!r}, not {other!r}"
    return "no difference"


def _files(folder: Path) -> Iterator[str]:
    """Names of everything below a folder that is no folder itself, relative to it, with / between; links are not
    followed."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted(files + links):
            yield (Path(parent) / name).relative_to(folder).as_posix()
