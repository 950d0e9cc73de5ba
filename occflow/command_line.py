"""How every tool starts: Hydra configuration in and checked, one job called, errors and warnings as one line each.

The only place where hydra is imported.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from occflow.choices import check_names
from occflow.configuration import check, check_key, find, is_no_text
from occflow.configuration_help import annotated
from occflow.errors import InputError
from occflow.records import one_line
from occflow.resources import config_folder, shipped_path
from occflow.warning_line import show_warnings_as_lines

KEYED = re.compile(r"[~+]{0,2}[A-Za-z_][\w./@]*=")  # what Hydra takes for an override
CONFIG_DIR = config_folder()
CONFIG = "config"  # the file in it that names the groups
HELP = ("-h", "--help")
SEE_HELP = "(--help shows every key)"


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end: what Ctrl-C would clean up is cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def compose_config(overrides: list[str], addition: Path | None = None) -> dict:
    """The resolved configuration for Hydra overrides such as `log.root=PATH`, as plain dictionaries and lists.

    Args:
        addition: a YAML file of further groups, which stand beside those in configs/.

    Raises:
        InputError: an unknown key, group or name, a malformed override, a value of another kind or out of its range.
    """
    return _with_shipped_paths(_checked(overrides, addition)[0])


def describe_config(overrides: list[str], reads: tuple[str, ...] | None = None, addition: Path | None = None) -> str:
    """The configuration as commented YAML: the groups and keys named in `reads`, all where it is None.

    Raises:
        InputError: as `compose_config`.
    """
    config, choices = _checked(overrides, addition)
    shown = config if reads is None else {name: config[name] for name in reads}
    return annotated(shown, choices, CONFIG_DIR, addition)


def _checked(overrides: list[str], addition: Path | None) -> tuple[dict, dict[str, str]]:
    """The composed configuration, and the file that was chosen for each group."""
    groups, values = _parsed(overrides)
    config, default, choices = _composed(tuple(groups), addition)
    config = config.copy()
    for override in values:
        _apply(override, config, default)
    plain = _plain(config)
    for override in values:  # first: a value that others are made of is wrong in itself
        check_key(plain, default, override.key_or_group)
    check(plain, default)
    check_names(plain, default)
    return plain, choices


def _with_shipped_paths(value: Any) -> Any:
    """A configuration that works from any directory: see `occflow.resources.shipped_path`."""
    if isinstance(value, dict):
        return {key: _with_shipped_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_shipped_paths(entry) for entry in value]
    return shipped_path(value) if isinstance(value, str) else value


def _parsed(overrides: list[str]) -> tuple[list[str], list[Any]]:
    """The overrides that choose groups, as they are, and Hydra's objects of the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    groups, values, parser = [], [], OverridesParser.create()
    for text in overrides:
        if not KEYED.match(text):
            raise InputError(_unkeyed(text))
        with _hydra_errors():
            override = parser.parse_override(text)
        if override.is_delete() or override.is_sweep_override() or override.package is not None:
            raise InputError(f"{one_line(text)}: gives no single value to a key; write {override.key_or_group}=VALUE")
        group = override.key_or_group
        if group in _group_names():
            if not isinstance(override.value(), str) and not (group == "experiment" and override.value() is None):
                raise InputError(f"{one_line(text)}: names none of the files in configs/{group}")
            groups.append(f"{group}={text.partition('=')[2]}")
        else:
            values.append(override)
    return groups, values


def _unkeyed(text: str) -> str:
    """What is wrong with an argument that has no key, or dashes before it."""
    name, _, value = text.lstrip("-").partition("=")
    wanted = f"{name}={value or 'VALUE'}" if text.startswith("-") and name else "KEY=VALUE, such as run_dir=PATH"
    return f"{one_line(text)}: is no setting; write {one_line(wanted)} {SEE_HELP}"


@cache
def _group_names() -> frozenset[str]:
    """The groups that a file can be chosen for; other folders hold what the files of a group share."""
    from omegaconf import OmegaConf

    entries = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / f"{CONFIG}.yaml"))["defaults"]
    return frozenset(name for entry in entries if isinstance(entry, dict) for name in entry)


@cache
def _composed(groups: tuple[str, ...], addition: Path | None) -> tuple[Any, dict, dict[str, str]]:
    """The configuration of the chosen groups; its plain values without those of an experiment, which are checked
    against it; the file chosen for each group."""
    import hydra
    from omegaconf import OmegaConf, open_dict

    with _hydra_errors(), hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = hydra.compose(CONFIG, list(groups), return_hydra_config=True)
        choices = {name: choice for name, choice in config.hydra.runtime.choices.items()
                   if name in _group_names()}
        experiment = choices.pop("experiment", None)
        with open_dict(config):
            del config["hydra"]
        default = config if experiment is None else hydra.compose(
            CONFIG, [f"{name}={choice}" for name, choice in choices.items()])
        if addition is not None:
            config, default = (OmegaConf.merge(OmegaConf.load(addition), one) for one in (config, default))
        plain = _plain(default)
        check(_plain(config), plain)
    return config, plain, choices


def _apply(override: Any, config: Any, default: dict) -> None:
    """Put the value of an override into a configuration, whatever + signs stand before its key."""
    from omegaconf import OmegaConf

    key, value = override.key_or_group, override.value()
    text = isinstance(find(default, key), str | None)
    if text and isinstance(value, bool | int | float) and not is_no_text(key, value):
        value = override.input_line.partition("=")[2]  # log.version=1.10 is a name, not 1.1
    with _hydra_errors():
        _unfold(config, key)
        OmegaConf.update(config, key, value, merge=True, force_add=True)


def _unfold(config: Any, key: str) -> None:
    """Where a group on the way to a key stands for another (crop: ${train.crop}), let its keys stand for the other's,
    so that one of them can be changed."""
    from omegaconf import OmegaConf

    group = config
    for part in key.split("."):
        if not OmegaConf.is_dict(group) or part not in group:
            return
        if OmegaConf.is_interpolation(group, part) and OmegaConf.is_dict(group[part]):
            other = OmegaConf.to_container(group, resolve=False)[part].removeprefix("${").removesuffix("}")
            OmegaConf.update(group, part, {name: f"${{{other}.{name}}}" for name in group[part]}, force_add=True)
        group = group[part]


def _plain(config: Any) -> dict:
    from omegaconf import OmegaConf

    with _hydra_errors():
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@contextmanager
def _hydra_errors() -> Iterator[None]:
    """What Hydra and OmegaConf raise comes out as one line."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()).partition(" Config search path:")[0]
        raise InputError(f"configuration: {reason} {SEE_HELP}") from None


def run(job: Callable[[Any], None], description: str | None = None, argument: str | None = None,
        addition: Path | None = None, reads: tuple[str, ...] | None = None, takes_paths: bool = False) -> None:
    """Compose the configuration from the command line and run `job(config)`.

    SIGTERM and SIGHUP end it as Ctrl-C does; a job that handles them itself sets its own handlers.

    Args:
        argument: the key that a first argument without a key stands for (player RUN).
        addition: see `compose_config`.
        reads: the groups and keys that the job reads, which --help shows; None: all.
        takes_paths: the arguments are paths, no settings: `job(paths)`.

    Exit status: 0 success, 2 bad input (one line on stderr), 130 interrupted, 143 and 129 by SIGTERM and SIGHUP.
    """
    arguments = sys.argv[1:]
    show_warnings_as_lines()
    try:
        with _signals_interrupt():
            if any(word in arguments for word in HELP):
                text = (description or "").strip()
                if not takes_paths:
                    keys = describe_config([word for word in arguments if word not in HELP], reads, addition)
                    text += f"\n\nUsage: {_program(Path(sys.argv[0]))} [KEY=VALUE ...]   (Hydra overrides)\n\n{keys}"
                say(text)
                return
            if takes_paths:
                job(arguments)
                return
            if argument and arguments and not arguments[0].startswith("-") and not KEYED.match(arguments[0]):
                quoted = arguments[0].replace("\\", "\\\\").replace("'", "\\'")  # Hydra's own quoting
                arguments[0] = f"{argument}='{quoted}'"
            job(compose_config(arguments, addition))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        number = interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT
        word = "interrupted" if number == signal.SIGINT else "terminated"
        print(f"{word}: nothing half-written was left behind", file=sys.stderr)
        sys.exit(128 + number)
    except OSError as error:
        place = "" if error.filename is None else f": {error.filename}"
        print(f"error: {error.strerror or one_line(error)}{place}", file=sys.stderr)
        sys.exit(2)


def say(text: str) -> None:
    """Print a text for people, who may have seen enough (| head) before its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer


def _program(file: Path) -> str:
    """What the program is called with: a file's name, or that of a package (python -m studies.toy)."""
    package = file.parent
    return f"python -m {package.parent.name}.{package.name}" if file.name == "__main__.py" else file.name


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """In the block SIGTERM and SIGHUP raise Terminated, unless they are ignored (nohup)."""
    def interrupt(number: int, frame: Any) -> NoReturn:
        raise Terminated(number)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP) if main}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
