"""Laws that several parts of the simulation draw from."""

from __future__ import annotations

import numpy as np


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> float | np.ndarray:
    """A value, or an array of `size`, every octave from `low` to `high` as probable."""
    return np.exp(rng.uniform(*np.log((low, high)), size))
