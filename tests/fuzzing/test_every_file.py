"""Every kind of file that the project reads, edited at random: refused in one line, or read as it was.

`make fuzz` makes many more edits of each.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from fuzzing.edits import FORMS, edited
from fuzzing.files import KINDS
from fuzzing.judging import OTHER, REFUSED, SAME, Bench, Kind

from occflow.errors import InputError

EDITS = 25  # of a kind
GOOD = {REFUSED, SAME, OTHER}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_edited_file_is_refused_in_one_line_or_read_as_it_was(kind, tmp_path):
    bench = Bench(kind, tmp_path)
    failures = [found for found in map(bench.outcome, range(EDITS)) if found not in GOOD]
    assert not failures, "\n".join(failures)


def test_every_edit_follows_from_its_number_and_changes_the_file(tmp_path):
    for form in FORMS:
        kind = next(one for one in KINDS if form in one.forms)
        (tmp_path / form).mkdir()
        content = kind.write(tmp_path / form).read_bytes()
        edits = [edited(content, "one", (form,), number).content for number in range(20)]
        assert edits == [edited(content, "one", (form,), number).content for number in range(20)]
        assert content not in edits and len(set(edits)) > 10


def _refuses(message: str):
    def read(path: Path) -> object:
        if path.read_bytes() != b"0123456789":
            error = InputError()
            error.args = (message.format(path=path),)  # as it is: the class would mend it
            raise error
        return 0
    return read


def _allocates(path: Path) -> object:
    if path.read_bytes() == b"0123456789":
        return 0
    try:
        return len(np.ones(1 << 31, np.uint8))
    except MemoryError as error:
        raise InputError(f"{path}: too large ({error})") from None


def _never_ends(path: Path) -> object:
    while path.read_bytes() != b"0123456789":
        time.process_time()
    return 0


@pytest.mark.parametrize("read, outcome", [
    (lambda path: 0, SAME), (lambda path: path.read_bytes().hex(), "read as something else"),
    (lambda path: path.read_bytes().index(b"0123456789"), "ValueError: "),
    (_refuses("{path}: broken; copy it again"), REFUSED), (_refuses("broken"), "names no file"),
    (_refuses("{path}: a\nb"), "no line to read"), (_refuses("{path}: " + "a" * 500), "no line to read"),
    (_allocates, "memory was asked for"),
    (_never_ends, "TooSlow")])
def test_what_is_no_good_outcome_is_told(read, outcome, tmp_path):
    def write(folder: Path) -> Path:
        (folder / "file").write_bytes(b"0123456789")
        return folder / "file"

    bench = Bench(Kind("ten digits", write, read, ("bytes",), told=("bytes",)), tmp_path, seconds=0.05)
    assert outcome in bench.outcome(2)
    assert (tmp_path / "file").read_bytes() == b"0123456789"
