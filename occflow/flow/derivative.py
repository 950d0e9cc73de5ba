"""Derivatives of a network along a direction: forward mode, and central differences where a layer lacks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.func import jvp

CENTRAL_STEP = 5e-3  # float32: error some 4e-5; smaller steps lose digits, larger ones curvature


def directional_derivative(function: Callable[..., Tensor], inputs: Sequence[Tensor], tangents: Sequence[Tensor],
                           mode: str = "forward") -> tuple[Tensor, Tensor]:
    """f(inputs) and its derivative along the tangents, both differentiable in the parameters of f.

    In mode "forward" that holds if f consists of operations whose forward-mode derivative torch differentiates in turn.
    It does not of all, and is silent where it does not: `nn.LayerNorm` is one, for which occflow.sparse.layers has
    another. A new kind of layer belongs into a test against central differences (tests/sparse/test_derivatives.py).

    Args:
        mode: "forward" (exact, about two evaluations) or "central" (differences, three evaluations).
    """
    if mode == "forward":
        return jvp(function, tuple(inputs), tuple(tangents))
    if mode != "central":
        raise ValueError(f"unknown derivative '{mode}': use forward or central")
    ahead, behind = (function(*(x + sign * CENTRAL_STEP * d for x, d in zip(inputs, tangents))) for sign in (1, -1))
    return function(*inputs), (ahead - behind) / (2 * CENTRAL_STEP)
