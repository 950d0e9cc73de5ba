"""Where the files lie that come with the project: in a checkout at its top level, in a wheel within the package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def pretrained_folder() -> Path:
    """Holds the weights that come with the project, NAME.safetensors."""
    return _folder("pretrained")


def config_folder() -> Path:
    """Holds the configuration, config.yaml and its groups."""
    return _folder("configs")


def _folder(name: str) -> Path:
    checkout = PACKAGE.parent / name
    return checkout if checkout.is_dir() else PACKAGE / "_data" / name
