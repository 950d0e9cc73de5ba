"""Random numbers of a training: a function of (seed, rank, step), so that a resumed run draws the same ones."""

from __future__ import annotations

import numpy as np
import torch

from occflow.training.processes import rank


def step_rng(seed: int, step: int) -> np.random.Generator:
    """NumPy's generator of one step in this process."""
    return np.random.default_rng((seed, rank(), step))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Torch's generator (CPU) of one step in this process."""
    state = np.random.SeedSequence((seed, rank(), step)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
