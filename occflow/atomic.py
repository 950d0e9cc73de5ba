"""Files and folders that appear whole or not at all; files are on the disk when they have appeared."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EROFS)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to beside `path`; renamed to it on success, removed on any failure.

    After a power failure the old or the new file stands whole: contents reach the disk before the name does. An
    OSError that names no file (a full disk) comes out with `path` for its file name. What writers of `path` that were
    killed have left beside it is removed. Whoever writes truncates the file and does not put another in its place.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix, suffix = f".{path.stem}.{_host()}.", f".partial{path.suffix}"
        _remove_abandoned(path.parent, prefix, suffix)
        with _partial(lambda: _new_file(path.parent, prefix, suffix)) as partial:
            try:
                yield partial
                partial.chmod(0o644)
                sync(partial)
                os.replace(partial, path)
                sync(path.parent)
            finally:
                partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path`, which becomes `path` on success and is removed on any failure.

    What writers of `path` that were killed have left beside it is removed.

    Args:
        replace: whether a folder at `path` that is not empty, all that lies in it, goes when the new one is whole.

    Raises:
        OSError: as `atomic_file`; FileExistsError where there is such a folder and `replace` is false.
    """
    path = Path(path).resolve() if Path(path).is_symlink() else Path(path)
    with _naming(path):
        if not replace and path.exists() and any(path.iterdir()):
            raise FileExistsError(errno.EEXIST, "is there already and not empty", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}.partial.{_host()}."
        _remove_abandoned(path.parent, prefix, "")
        with _partial(lambda: Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))) as partial:
            try:
                yield partial
                partial.chmod(0o755)
                if replace and path.exists():
                    _exchange(partial, path, prefix)
                else:
                    os.replace(partial, path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, values: dict) -> None:
    """Write a dictionary as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n")


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays as a compressed .npz file, atomically."""
    with atomic_file(path) as partial:
        partial.write_bytes(npz_bytes(**arrays))


def npz_bytes(**arrays: Any) -> memoryview:
    """The contents of a compressed .npz file of arrays, made in memory: NumPy leaves a half-written file open where the
    disk is full."""
    import numpy as np

    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    return archive.getbuffer()


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


def _host() -> str:
    """Eight digits for this machine: locks of others on a shared disk may not be seen from here."""
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def _new_file(folder: Path, prefix: str, suffix: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
    os.close(handle)
    return Path(name)


def _exchange(new: Path, path: Path, prefix: str) -> None:
    """Put the folder `new` in the place of the folder at `path`, which is removed after it."""
    old = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _partial(make: Callable[[], Path]) -> Iterator[Path]:
    """A new file or folder whose lock is held in the block; a process that ends, however it does, holds none."""
    while True:
        partial = make()
        with _opened(partial) as handle:
            if handle is None or _lock(handle, fcntl.LOCK_SH) is False or not _is_at(handle, partial):
                continue  # it was taken for abandoned before it was locked
            yield partial
            return


def _remove_abandoned(folder: Path, prefix: str, suffix: str) -> None:
    """Remove the partial files and folders of this machine that no living process holds."""
    name = re.compile(re.escape(prefix) + "[a-z0-9_]{8}" + re.escape(suffix))
    for partial in [Path(entry.path) for entry in os.scandir(folder) if name.fullmatch(entry.name)]:
        with _opened(partial) as handle:
            if handle is None or not _lock(handle, fcntl.LOCK_EX) or not _is_at(handle, partial):
                continue
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """A handle of a file or folder, None where it is gone or cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> bool | None:
    """Whether the lock was to be had; None where the file system has no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None


def _is_at(handle: int, path: Path) -> bool:
    """Whether `path` still names what was opened."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
