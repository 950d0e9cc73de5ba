"""The console command `occflow`: the tools as subcommands, each a module of this package that says what it does, which
groups of the configuration it reads (READS), and does it (main)."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module

from occflow import __version__
from occflow.command_line import HELP, run, say

COMMANDS = {
    "Data": ("simulate_log", "branch_futures", "build_occupancy", "join_stores", "inspect_store", "index_windows",
             "pack_log"),
    "Training": ("train_perception", "train_autoencoder", "train_teacher", "train_regression", "distill_mfd",
                 "distill"),
    "Forecasts": ("forecast", "realtime_demo", "resample_future"),
    "Scores": ("evaluate", "compare_reports", "benchmark"),
    "Pictures": ("player", "render", "export"),
}
SHELLS = ("bash", "zsh", "fish")
NAMES = tuple(name for names in COMMANDS.values() for name in names)


def main() -> None:
    """occflow SUBCOMMAND [KEY=VALUE ...]; exit status 2 where there is no such subcommand, else the subcommand's."""
    first, *rest = sys.argv[1:] or ["--help"]
    name = first.replace("-", "_")
    if first in HELP:
        say(overview())
    elif first == "--version":
        print(f"occflow {__version__}")
    elif name in NAMES:
        sys.argv = [f"occflow {name}", *rest]
        start(name)
    elif first == "completion" and len(rest) == 1 and rest[0] in SHELLS:
        from occflow.commands.completion import completion

        say(completion(rest[0]))
    elif first == "completion":
        _refuse(f"completion: write `occflow completion SHELL` with one of {', '.join(SHELLS)}")
    else:
        near = get_close_matches(name, NAMES, 1)
        _refuse(f"{' '.join(first.split())}: no such subcommand{f'; did you mean {near[0]}?' if near else ''} "
                "(occflow --help lists them)")


def start(name: str) -> None:
    """Run a subcommand on the arguments of this process."""
    command = import_module(f"occflow.commands.{name}")
    run(command.main, command.__doc__, getattr(command, "ARGUMENT", None), reads=command.READS,
        takes_paths=getattr(command, "TAKES_PATHS", False))


def overview() -> str:
    """What `occflow --help` prints: every subcommand with the first line of its description."""
    width = max(map(len, NAMES))
    lines = ["occflow: sparse occupancy forecasting from driving logs", "",
             "Usage: occflow SUBCOMMAND [KEY=VALUE ...]   (occflow SUBCOMMAND --help: its keys)"]
    for section, names in COMMANDS.items():
        lines += ["", f"{section}:", *(f"  {name:<{width}}  {_summary(name)}" for name in names)]
    return "\n".join([*lines, "", "occflow --version; tab completion: eval \"$(occflow completion bash)\"; "
                      "zsh likewise, after compinit; occflow completion fish | source"])


def _summary(name: str) -> str:
    return (import_module(f"occflow.commands.{name}").__doc__ or "").splitlines()[0].rstrip(".")


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
