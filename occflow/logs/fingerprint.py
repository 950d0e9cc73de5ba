"""Which state of a folder of files a store was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

TEXT_SUFFIXES = (".txt", ".xml")  # poses, calibration, time stamps: their contents count
TEXT_BYTES = 1 << 24  # poses of a long sequence have 1 MB; larger ones and all others count by name and size


def fingerprint_of(root: Path, files: Iterable[Path]) -> str:
    """Eight characters that change with the names, sizes and (where they are short texts) contents of files."""
    digest = hashlib.sha256()
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(root)}:{size}\n".encode())
        if path.suffix in TEXT_SUFFIXES and size <= TEXT_BYTES:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
