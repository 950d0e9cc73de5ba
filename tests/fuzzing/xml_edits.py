"""Edits of XML: elements lost, doubled, renamed, nested too deeply; entities that unfold."""

from __future__ import annotations

import random
import re

ELEMENT = re.compile(rb"<(\w+)[^<>]*>[^<>]*</\1>")
TAG = re.compile(rb"</?\w+")
DEEP = 100_000
VALUES = (b"", b"nan", b"inf", b"-1", b"1e300", b"9" * 5000, b"x", b"1.5", b" 2 ", b"&amp;", b"<a/>", b"&#0;", b"&b;")
BOMB = b'<!DOCTYPE b [<!ENTITY a "%s">%s]>' % (b"a" * 100, b"".join(
    b'<!ENTITY %s "%s">' % (b"abcdefghij"[i + 1:i + 2], b"&%s;" % b"abcdefghij"[i:i + 1] * 10) for i in range(8)))
EXTERNAL = b'<!DOCTYPE b [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


def edit_xml(content: bytes, rng: random.Random) -> bytes:
    """One element or the declaration changed."""
    match, tag = rng.choice(list(ELEMENT.finditer(content))), rng.choice(list(TAG.finditer(content)))
    start, end = match.span()
    name, element = match[1], match[0]
    change = rng.choice(("value", "value", "value", "lose", "double", "rename", "deep", "bomb", "external", "order"))
    if change == "rename":
        return content[:tag.end()] + b"x" + content[tag.end():]
    if change in ("bomb", "external"):
        entity, declared = (b"&i;", BOMB) if change == "bomb" else (b"&b;", EXTERNAL)
        broken = content[:start] + b"<%s>%s</%s>" % (name, entity, name) + content[end:]
        return re.sub(rb"<!DOCTYPE[^>]*>", lambda _: declared, broken, count=1)
    if change == "order":
        return content[:start] + content[end:].replace(b"</item>", element + b"</item>", 1)
    value = b"<%s>%s</%s>" % (name, rng.choice(VALUES), name)
    return content[:start] + {"value": value, "lose": b"", "double": element * 2,
                              "deep": b"<d>" * DEEP + element + b"</d>" * DEEP}[change] + content[end:]
