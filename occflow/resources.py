"""Where the configurations and the weights that come with the project lie: in a checkout at its top level, in an
installed wheel inside the package (setup.py puts them there)."""

from __future__ import annotations

from pathlib import Path, PurePath

INSTALLED = Path(__file__).resolve().parent / "_data"
SHIPPED = "pretrained"  # the first part of the paths that name weights of the project


def config_folder() -> Path:
    """The folder of config.yaml and of the groups."""
    return _folder("configs")


def pretrained_folder() -> Path:
    """The folder of the weights that come with the project."""
    return _folder(SHIPPED)


def shipped_path(path: str) -> str:
    """pretrained/NAME that is not there in the working directory is the file that comes with the project."""
    parts = PurePath(path).parts
    if len(parts) == 2 and parts[0] == SHIPPED and not Path(path).exists():
        shipped = pretrained_folder() / parts[1]
        return str(shipped) if shipped.is_file() else path
    return path


def _folder(name: str) -> Path:
    installed = INSTALLED / name
    return installed if installed.is_dir() else INSTALLED.parents[1] / name
