"""Slow studies: each is run as python -m studies.NAME. The product never imports them."""

from pathlib import Path


def config_of(study: str) -> Path:
    """The file of what a study adds to the product's configuration: a group of its own."""
    return Path(__file__).parent / study / "config.yaml"
