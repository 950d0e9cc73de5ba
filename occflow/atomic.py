"""Files and folders that appear whole or not at all, and are on the disk when they have appeared."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EROFS)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to beside `path`; renamed to it on success, removed on any failure.

    After a power failure the old or the new file stands whole: contents reach the disk before the name does. An
    OSError that names no file (a full disk) comes out with `path` for its file name.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".partial{path.suffix}", dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o644)
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; it takes the place of `path` on success, removed on any failure."""
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial.", dir=path.parent))
        try:
            yield partial
            partial.chmod(0o755)
            if path.exists():
                shutil.rmtree(path)
            os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, values: dict) -> None:
    """Write a dictionary as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n")


def sync(path: Path) -> None:
    """Contents of a file, or the names in a folder, to the disk; where a file system cannot, nothing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
