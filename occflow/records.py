"""What a file claims is checked before it is believed: JSON records against their types, sizes against bounds, and
names against the folder that they may lie in. Every reader goes through here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from occflow.errors import InputError, printable

T = TypeVar("T")
MAX_RECORD_BYTES = 64 << 20  # of JSON; the largest that occflow writes has some 100 kB (tables of nuScenes have more)
MAX_DEPTH = 64               # of lists and objects in one another; the deepest that occflow writes has 8
MAX_NAME = 200               # characters of a name that people read
MAX_PATH, MAX_PART = 1000, 255  # characters of a path below a folder, bytes of one name in it
MAX_DIGITS = 20              # of a whole number, its sign among them: those of 64 bits have no more
MAX_SHOWN = 160              # characters of somebody else's text in a message
SEAL = "sha256"              # name of the digest in a sealed record


def one_line(error: BaseException | str) -> str:
    """The reason of an error as a short line, never empty; what a terminal would obey is spelt out."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = printable(text[:MAX_SHOWN + 1])
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN - 3] + "..."


def parse_json(text: str | bytes, max_bytes: int = MAX_RECORD_BYTES) -> Any:
    """JSON whose size, depth and numbers are sound.

    Raises:
        ValueError: not JSON, too large, nested too deeply, or with a number that is not finite or beyond 64 bits.
    """
    if len(text) > max_bytes:
        raise ValueError(f"JSON of {len(text)} bytes, more than {max_bytes}")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError(f"JSON nested more than {MAX_DEPTH} deep") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise ValueError(f"JSON nested more than {MAX_DEPTH} deep")
    return value


def as_json(values: Mapping) -> dict:
    """A mapping as it comes back from a JSON file: tuples are lists, keys are text."""
    return json.loads(json.dumps(values))


def conform(value: Any, kind: type[T], what: str = "record") -> T:
    """`value` (plain JSON values) as `kind`: a TypedDict, a dataclass, list[float], dict[str, int] | None, ...

    Types are strict: "3" is no number, 3.5 no integer, true no number.

    Raises:
        ValueError: the first field that is missing or of another type, by its path in the record.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or what
        raise ValueError(f"field '{one_line(field)}': {one_line(first['msg'])}") from None


def read_json(path: Path, kind: type[T] | None = None, remedy: str = "write it again",
              max_bytes: int = MAX_RECORD_BYTES) -> T:
    """A JSON file, as `kind` where one is given (see `conform`).

    Raises:
        InputError: no such file, unreadable, or not sound; the message names the file and ends with the remedy.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
        value = parse_json(content, max_bytes)
        return value if kind is None else conform(value, kind, path.name)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or one_line(error)}); {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path}: broken record ({one_line(error)}); {remedy}") from None


def sealed(values: Mapping) -> dict:
    """Plain JSON values with a digest of them all and of their order, which `refuse_broken_seal` asks for."""
    return {**values, SEAL: _digest(values)}


def refuse_broken_seal(values: Mapping) -> None:
    """Raises ValueError where values that were written by `sealed` are not as they were."""
    if values.get(SEAL) != _digest({name: value for name, value in values.items() if name != SEAL}):
        raise ValueError("it is not as it was written")


def bounded(claimed: float, most: float, what: str, least: float = 0) -> float:
    """`claimed` itself, a size or number that a file claims, where it is one that can be.

    Raises:
        ValueError: not a finite number, below `least` or above `most`.
    """
    if not (isinstance(claimed, (int, float)) or hasattr(claimed, "__index__")) or isinstance(claimed, bool):
        raise ValueError(f"{what} is no number")
    if not (math.isfinite(claimed) and least <= claimed <= most):
        raise ValueError(f"{what} of {claimed:g} is not within {least:g} and {most:g}")
    return claimed


def first_difference(stored: Mapping, wanted: Mapping, sides: tuple[str, str] = ("checkpoint", "configured"),
                     prefix: str = "") -> str | None:
    """The first setting that differs, as "name: checkpoint X, configured Y"; None where all agree."""
    for name in sorted(set(stored) | set(wanted)):
        a, b = stored.get(name), wanted.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            difference = first_difference(a, b, sides, f"{prefix}{name}.")
            if difference:
                return difference
        elif a != b:
            return f"{one_line(prefix + name)}: {sides[0]} {one_line(str(a))}, {sides[1]} {one_line(str(b))}"
    return None


def shown_name(name: str) -> str:
    """`name` itself where it can stand in a line, a table or a picture: printable, not empty, not too long.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"{repr(name)[:80]} is no name: 1 to {MAX_NAME} printable characters")
    return name


def file_name(name: str) -> str:
    """`name` itself where it can be the name of a file in any folder: no separators, not hidden, not a way out.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(name, str) or not name or name.startswith(".") or len(name.encode()) > 200 \
            or any(character in "/\\:" or not character.isprintable() for character in name):
        raise ValueError(f"{one_line(repr(name))} cannot be a file name")
    return name


def inside(root: Path, name: str) -> Path:
    """ROOT/NAME for a relative name that a file gave, where that lies under `root`, links followed.

    A folder right below `root` may be a link to another disk, as data sets are often laid out: it is the user's.

    Raises:
        ValueError: an absolute name, or one that leads out of `root`.
    """
    root = Path(root)
    if not isinstance(name, str) or "\0" in name or PurePosixPath(name).is_absolute() \
            or PureWindowsPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{one_line(repr(name))} leads out of {root}")
    if len(name) > MAX_PATH or any(len(part.encode(errors="replace")) > MAX_PART for part in PurePosixPath(name).parts):
        raise ValueError(f"{one_line(repr(name))} is too long for a file")
    path = root / name
    try:
        resolved, bases = path.resolve(), [root.resolve()]
        if len(PurePosixPath(name).parts) > 1:
            bases.append((root / PurePosixPath(name).parts[0]).resolve())
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{one_line(repr(name))} cannot be followed ({one_line(error)})") from None
    if not any(resolved.is_relative_to(base) for base in bases):
        raise ValueError(f"{one_line(repr(name))} leads out of {root}")
    return path


@cache
def _adapter(kind: type):
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _digest(values: Mapping) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number {one_line(text)} is not finite")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"whole number {one_line(text)} is beyond 64 bits")
    return int(text)


def _depth_exceeds(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [item for one in level if isinstance(one, (dict, list))
                 for item in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return False
    return True
