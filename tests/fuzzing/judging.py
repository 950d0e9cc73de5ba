"""What a reader does with an edited file: it refuses it in one line, reads the same or, where nothing can tell, other
things. Whatever else happens is a failure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import resource
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import numpy as np
import torch
from fuzzing.edits import edited

from occflow.errors import InputError

MOST_CHARACTERS = 500  # of a message
MOST_BYTES = 1 << 30  # of memory that a small file may cost
MOST_SECONDS = 10  # of the processor's time, to end what would never end
REFUSED, SAME, OTHER = "refused", "same", "other"
OUT_OF_MEMORY = ("Unable to allocate", "can't allocate memory", "Cannot allocate memory")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file that the project reads.

    Args:
        name: of the kind.
        write: makes a small sound file, and what belongs to it, in an empty folder; returns the file to edit.
        read: what the product reads from that file, through its public functions, up to where it would be used.
        forms: the ways in which it is edited (fuzzing.edits).
        told: those of them after which other contents must be refused: a checksum tells.
        named: texts of which a message must have one, by the folder that was written to: they name the file, or
            where it lies, for of two files that do not agree each may be the broken one.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    forms: tuple[str, ...]
    told: tuple[str, ...] = ()
    named: Callable[[Path], tuple[str, ...]] | None = None  # None: the name of the file


class TooSlow(BaseException):
    """Beyond MOST_SECONDS; no reader expects it."""


@dataclasses.dataclass
class Bench:
    """A kind's file in a folder, edited again and again."""

    kind: Kind
    folder: Path
    seconds: float = MOST_SECONDS

    def __post_init__(self) -> None:
        with quiet():
            self.path = self.kind.write(self.folder)
        self.content = self.path.read_bytes()
        self.sound = self._read()

    def outcome(self, number: int) -> str:
        """REFUSED, SAME or OTHER after edit `number`; any other text says what failed."""
        edit = edited(self.content, self.kind.name, self.kind.forms, number)
        self.path.write_bytes(edit.content)
        try:
            with bounded(self.seconds):
                found = self._read()
        except InputError as error:
            return self._flaw_of(error) or REFUSED
        except (Exception, TooSlow) as error:
            return f"{edit.form} edit {number}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        finally:
            self.path.write_bytes(self.content)
        if found == self.sound:
            return SAME
        return f"{edit.form} edit {number}: read as something else" if edit.form in self.kind.told else OTHER

    def _read(self) -> str:
        with quiet():
            return digest(self.kind.read(self.path))

    def _flaw_of(self, error: InputError) -> str | None:
        """What is wrong with a refusal."""
        message = str(error)
        if exhausted(error):
            return f"memory was asked for before a size was checked: {message[:200]}"
        if not message.isprintable() or len(message) > MOST_CHARACTERS:
            return f"a message of {len(message)} characters that is no line to read: {message[:200]!r}"
        names = self.kind.named(self.folder) if self.kind.named else (self.path.name,)
        if not any(name in message for name in names):
            return f"names no file: {message[:200]}"
        return None


def exhausted(error: BaseException | None) -> bool:
    """Whether memory ran out where an error comes from."""
    while error is not None:
        if isinstance(error, MemoryError) or any(text in str(error) for text in OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no progress bars within the block."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Within the block, memory beyond MOST_BYTES cannot be had, and TooSlow is raised after seconds of work."""
    def give_up(*_: object) -> None:
        raise TooSlow(f"no end after {seconds:g} s of work")

    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, give_up)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + MOST_BYTES, limits[1]))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, handler)


def address_space() -> int:
    """Bytes of memory that this process has asked for."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def digest(value: object) -> str:
    """A digest of all that a value holds."""
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found, value: object) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value):
        _add(found, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        found.update(f"{len(value)} entries".encode())
        for key, one in value.items():
            _add(found, key)
            _add(found, one)
    elif isinstance(value, list | tuple):
        found.update(f"{len(value)} items".encode())
        for one in value:
            _add(found, one)
    elif value is None or isinstance(value, bool | int | float | str | np.generic):
        found.update(f"{type(value).__name__} {value!r}\n".encode(errors="backslashreplace"))
    else:
        raise TypeError(f"no digest of {type(value)}")
