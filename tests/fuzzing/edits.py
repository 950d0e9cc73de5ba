"""Random edits of files: each follows from the contents, the forms that they have, and a number.

A form is a way to look at a file: as bytes, as lines of text, as JSON, as an archive of arrays and so on. The edits of
`bytes` and `text` know nothing of what they break; those of the other forms leave the outside whole and break what lies
within, checksums of archives made anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fuzzing.archive_edits import edit_npz
from fuzzing.byte_edits import LONG, edit_bytes
from fuzzing.json_edits import edit_json
from fuzzing.number_edits import edit_float32, edit_words
from fuzzing.scene_edits import edit_scene
from fuzzing.sweep_edits import edit_sweep
from fuzzing.tensor_edits import edit_safetensors
from fuzzing.xml_edits import edit_xml

Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Edit:
    """What became of a file.

    Args:
        form: the way in which it was looked at.
        content: its bytes, other than before.
    """

    form: str
    content: bytes


def edited(content: bytes, name: str, forms: Sequence[str], number: int) -> Edit:
    """Edit `number` of the file that `name` stands for; forms take turns."""
    rng, form = random.Random(f"{name} {number}"), forms[number % len(forms)]
    for _ in range(100):
        found = FORMS[form](content, rng)
        if found != content:
            return Edit(form, found)
    raise AssertionError(f"no edit of form {form} changes {name}")


def edit_text(content: bytes, rng: random.Random) -> bytes:
    """Lines lost, doubled, moved, cut or made strange."""
    lines = content.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    line = lines[place]
    cut = rng.randrange(len(line) + 1)
    change = rng.choice(("lose", "double", "swap", "cut", "word", "long", "strange", "number", "number", "number"))
    if change == "number":
        return edit_words(content, rng)
    if change == "swap":
        lines[place], lines[other] = lines[other], lines[place]
        return b"\n".join(lines)
    stranger = rng.choice((b"\xff\xfe", b"\0", b"\r", b"\x1b[31m", "\u2028\u0663".encode(), b"\xc3", b"\t \v"))
    lines[place:place + 1] = {"lose": [], "double": [line, line], "cut": [line[:cut]],
                              "word": [line[:cut] + b" word " + line[cut:]], "long": [line + b"9" * LONG],
                              "strange": [line[:cut] + stranger + line[cut:]]}[change]
    return b"\n".join(lines)


FORMS: dict[str, Change] = {"bytes": edit_bytes, "text": edit_text, "json": edit_json, "npz": edit_npz,
                            "float32": edit_float32, "safetensors": edit_safetensors, "xml": edit_xml,
                            "scene": edit_scene, "sweep": edit_sweep}
