"""What K draws say about a probability: the share, its interval, and a mean that a few draws do not drive to 0 or 1."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv

JEFFREYS = (0.5, 0.5)  # of the beta prior


def jeffreys_interval(hits: np.ndarray, draws: int, level: float = 0.95) -> np.ndarray:
    """Equal-tailed interval [..., 2] of a probability, of `hits` [...] in `draws`, by Jeffreys's prior: quantiles of
    the beta distribution (hits + 1/2, misses + 1/2), but from 0 where nothing hit and to 1 where everything did
    (Brown, Cai and DasGupta 2001, section 3.1). nan where there was no draw.

    It is what so few draws leave open, and says nothing of whether the forecaster draws rightly.
    """
    hits, tail = np.asarray(hits, dtype=np.float64), (1 - level) / 2
    if not draws:
        return np.full((*hits.shape, 2), np.nan)
    a, b = hits + JEFFREYS[0], draws - hits + JEFFREYS[1]
    low = np.where(hits == 0, 0.0, betaincinv(a, b, tail))
    high = np.where(hits == draws, 1.0, betaincinv(a, b, 1 - tail))
    return np.stack([low, high], axis=-1)


def posterior_mean(hits: np.ndarray, draws: int, prior: tuple[float, float] = JEFFREYS) -> np.ndarray:
    """(hits + a) / (draws + a + b) of a beta prior (a, b): never 0 or 1, which a few draws cannot know. a / (a + b) is
    what one would say without a draw, a + b as many draws as that is worth."""
    a, b = prior
    return (np.asarray(hits, dtype=np.float64) + a) / (draws + a + b)
