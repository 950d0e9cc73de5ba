"""What a page for the browser holds, read back without the code that wrote it."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np


@dataclass
class PageParts(HTMLParser):
    """The elements of a page as a browser makes them: tags with their attributes, and the text of each script."""

    tags: list[tuple[str, dict]] = field(default_factory=list)
    scripts: list[tuple[dict, str]] = field(default_factory=list)
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag in ("script", "style"):
            self.scripts.append(({"tag": tag, **dict(attrs)}, ""))

    def handle_data(self, data: str) -> None:
        if self.inside in ("script", "style") and self.scripts:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def text_of(self, name: str) -> str:
        """Of the script with an id."""
        return next(text for attributes, text in self.scripts if attributes.get("id") == name)


def page_parts(path: Path) -> PageParts:
    parts = PageParts()
    parts.feed(Path(path).read_text(encoding="utf-8"))
    return parts


def read_page(path: Path) -> tuple[dict, list[list[dict[int, tuple[np.ndarray, np.ndarray]]]]]:
    """The description of a page, and by window and instant {number of the layer: (flat [N], labels [N])}; label 17
    where a voxel has no class."""
    parts = page_parts(path)
    about, packed, blocks, start = json.loads(parts.text_of("about")), base64.b64decode(parts.text_of("voxels")), [], 0
    for size, voxels in about["blocks"]:
        blocks.append((gzip.decompress(packed[start:start + size]), voxels))
        start += size
    assert start == len(packed)
    return about, [[dict(zip(instant["layers"], _layers(*blocks[instant["block"]], len(instant["layers"]))))
                    for instant in window["instants"]] for window in about["windows"]]


def _layers(raw: bytes, voxels: int, layers: int) -> list[tuple[np.ndarray, np.ndarray]]:
    flat, at, last = [], 0, -1
    for _ in range(voxels):
        step = shift = 0
        while True:
            byte, at = raw[at], at + 1
            step, shift = step | (byte & 127) << shift, shift + 7
            if not byte & 128:
                break
        last += step
        flat.append(last)
    planes = np.frombuffer(raw, np.uint8, offset=at).reshape(layers, voxels)
    union, found, codes = np.array(flat, dtype=np.int64), [], np.zeros(voxels, np.uint8)
    for plane in planes:
        codes = codes ^ plane
        found.append((union[codes > 0], codes[codes > 0] - 1))
    return found
