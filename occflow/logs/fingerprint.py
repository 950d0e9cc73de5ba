"""Which state of a folder of files a store was made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

TEXT_SUFFIXES = (".txt", ".xml", ".json")  # poses, calibration, stamps, tables: their contents count
TEXT_BYTES = 4 << 30  # larger ones, which no reader takes, count by name and size alone
BLOCK_BYTES = 1 << 20


def fingerprint_of(root: Path, files: Iterable[Path | str], settings: object = None) -> str:
    """Eight characters that change with the names and sizes of files, and with the contents of the texts among them.

    Args:
        root: the folder that names are relative to.
        files: below it; one that is not there counts as missing. Hundreds of thousands of scans take seconds.
        settings: plain values that the log is read by, too.
    """
    digest = hashlib.sha256(b"" if settings is None else repr(settings).encode())
    for name in sorted(os.path.relpath(path, root) for path in files):
        path = os.path.join(root, name)
        size = os.stat(path).st_size if os.path.isfile(path) else "missing"
        digest.update(f"{name}:{size}\n".encode(errors="surrogateescape"))
        if name.endswith(TEXT_SUFFIXES) and size != "missing" and size <= TEXT_BYTES:
            with open(path, "rb") as stream:
                while block := stream.read(BLOCK_BYTES):
                    digest.update(block)
    return digest.hexdigest()[:8]
