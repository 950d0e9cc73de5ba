"""Edits of JSON that stay JSON, or nearly: a value of another type, a key less, a list too long, too deep."""

from __future__ import annotations

import json
import random
from typing import Any

DEEP = 100_000  # lists in one another
LONG = 100_000  # characters of a text
PLACEHOLDER = "what is too deep for json.dumps"
VALUES = (None, True, False, 0, -1, 1, 2, 3.5, 1e300, -1e300, 1e-300, 10 ** 30, -(10 ** 30), 2 ** 31, 2 ** 63,
          10 ** 400, float("nan"), float("inf"), float("-inf"), "", "x", "3", "nan", "../x", "../../../etc/passwd",
          "/etc/passwd", "a/b", "C:\\x", ".", "..", "\0", "\n", "\u2028", "\ud800", "a" * LONG, [], {}, [[]],
          [None], {"": None}, [1] * 1000, {"a": {"a": {"a": 1}}}, PLACEHOLDER)
Place = tuple[list | dict, "int | str"]


def edit_json(content: bytes, rng: random.Random) -> bytes:
    """One place of a JSON text changed; the whole of it, now and then."""
    document = json.loads(content)
    if rng.random() < 0.05:
        return written(rng.choice(VALUES))
    places = list(walk(document))
    if not places:
        return written(rng.choice(VALUES))
    change_place(*rng.choice(places), rng)
    return written(document)


def walk(value: Any) -> list[Place]:
    """Every place of a document, as what holds it and its key there; those of lower levels count as much as others."""
    found: list[Place] = []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *walk(value[key])]
    return found


def change_place(holder: list | dict, key: int | str, rng: random.Random) -> None:
    """Change what stands at one place of a list or an object."""
    value = holder[key]
    change = rng.choice(("another", "another", "another", "like", "like", "lose", "double", "swap", "empty"))
    if change == "lose":
        del holder[key]
    elif change == "like":
        holder[key] = like(value, rng)
    elif change == "double" and isinstance(holder, list):
        holder.insert(key, value)
    elif change == "double":
        holder[f"{key} too"] = holder.pop(key) if rng.random() < 0.5 else value
    elif change == "swap":
        other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[key], holder[other] = holder[other], value
    elif change == "empty":
        holder.clear()
    else:
        holder[key] = rng.choice(VALUES)


def like(value: Any, rng: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, -value, value * 10, value * 1000, value / 3 or 1, float(value)))
    if isinstance(value, str):
        place = rng.randrange(len(value) + 1)
        return rng.choice((value[:place], value[:place] + "x" + value[place:], value.upper(), value[::-1], value + " "))
    if isinstance(value, list):
        return rng.choice((value[1:], value[:-1], value * 2, value[::-1], [value]))
    return {} if isinstance(value, dict) else 0


def written(value: Any) -> bytes:
    """The value as JSON text, with the placeholder unfolded."""
    text = json.dumps(value).replace(json.dumps(PLACEHOLDER), "[" * DEEP + "]" * DEEP)
    return text.encode()
