"""The readers of driving logs, each of which registers itself: `@reader("KIND", signs...)` before its class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

from occflow.errors import InputError
from occflow.records import one_line

Log = TypeVar("Log", bound=Callable)


@dataclass(frozen=True)
class Reader:
    """One kind of driving log.

    Args:
        make: the class of its DrivingLog; its parameters are the keys of the configuration group `log`, those without
            a default have to be given.
        signs: patterns of files and folders that only a log of the kind has, below its root.
    """

    make: Callable[..., Any]
    signs: tuple[str, ...]

    def signed(self, root: Path) -> bool:
        """Whether a folder, or a file that is a log, has a sign of the kind."""
        if root.is_dir():
            return any(next(root.glob(sign), None) for sign in self.signs)
        return any(root.match(sign) for sign in self.signs)

    def open(self, log: Mapping) -> Any:
        """The log of a configuration.

        Raises:
            InputError: a key that is missing, and what the class raises.
        """
        parameters = inspect.signature(self.make).parameters.values()
        for one in parameters:
            if one.default is one.empty and not log.get(one.name):
                raise InputError(f"log.{one.name}: missing; set log.{one.name}=... (see configs/log/)")
        return self.make(**{one.name: log[one.name] for one in parameters if one.name in log})


READERS: dict[str, Reader] = {}  # by kind


def reader(kind: str, *signs: str) -> Callable[[Log], Log]:
    """Registers a class of driving logs as what reads logs of a kind; see `Reader`."""
    def register(make: Log) -> Log:
        READERS[kind] = Reader(make, signs)
        return make
    return register


def register_all(package: str) -> None:
    """Import the modules of a package, so that the readers in them register themselves."""
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")


def needs_extra(module: str, extra: str, what: str) -> Any:
    """An optional library.

    Raises:
        InputError: it is not installed, or cannot be loaded; the message names the extra that brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{what} needs {module.partition('.')[0]} ({one_line(error)}); pip install 'occflow[{extra}]'"
                         ) from None
