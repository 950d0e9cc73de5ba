"""Derivatives of a network along a direction: forward mode, and central differences where a layer lacks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.func import jvp

CENTRAL_STEP = 5e-3  # float32: error some 4e-5; smaller steps lose digits, larger ones curvature


def directional_derivative(function: Callable[..., Tensor], inputs: Sequence[Tensor], tangents: Sequence[Tensor],
                           mode: str = "forward") -> tuple[Tensor, Tensor]:
    """f(inputs) and its derivative along the tangents, both differentiable in the parameters of f.

    Args:
        mode: "forward" (exact, about two evaluations) or "central" (differences, three evaluations).
    """
    if mode == "forward":
        return jvp(function, tuple(inputs), tuple(tangents))
    if mode != "central":
        raise ValueError(f"unknown derivative '{mode}': use forward or central")
    ahead, behind = (function(*(x + sign * CENTRAL_STEP * d for x, d in zip(inputs, tangents))) for sign in (1, -1))
    return function(*inputs), (ahead - behind) / (2 * CENTRAL_STEP)
