"""Stores at a URL (s3://BUCKET/STORE), through fsspec: a file is copied to a cache on this machine when it is first
asked for, and read there. The one place where fsspec is imported.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from occflow.atomic import atomic_file
from occflow.errors import InputError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # also where a Path has made one slash of two


def is_url(place: str | Path) -> bool:
    return isinstance(place, str) and "://" in place


def refuse_url(place: str | Path) -> None:
    """Raises InputError where a folder that is to be written is a URL."""
    if URL.match(str(place)):
        raise InputError(f"{place}: stores are built on a disk, where a scene appears whole or not at all; name a "
                         "folder, and upload it when it is finished")


def cache_folder() -> Path:
    """Where copies are kept; nothing but disk is lost with it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "occflow" / "stores"


def local_folder(url: str, name: str) -> Path:
    """A folder of this machine that holds the file NAME of the folder at a URL as it is now; another state of the file,
    told by time, size or entity tag, is in another folder. Copies appear whole, so that processes can share them.

    Raises:
        InputError: no fsspec, or no file system for this kind of URL; it cannot be read.
    """
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{url}: is read through fsspec; install it with pip install 'occflow[remote]'") from None
    file = f"{url.rstrip('/')}/{name}"
    try:
        system, path = fsspec.url_to_fs(file)
        state = system.ukey(path)
        folder = cache_folder() / hashlib.sha256(f"{file} {state}".encode()).hexdigest()[:32]
        if not (folder / name).is_file():
            with atomic_file(folder / name) as partial:
                system.get_file(path, str(partial))
        return folder
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; name another store, or upload the whole folder") from None
    except OSError as error:
        if str(error.filename or "").startswith(str(cache_folder())):  # a full disk
            raise
        raise InputError(f"{file}: cannot be read ({error})") from None
    except Exception as error:  # of whatever library speaks to the place
        raise InputError(f"{file}: cannot be read ({type(error).__name__}: {error})") from None
