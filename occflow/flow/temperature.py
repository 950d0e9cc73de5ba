"""Sharper samples: a sample drawn towards the centre of what it is a sample of (docs/methods.md 16)."""

from __future__ import annotations

from torch import Tensor

AS_LEARNT = 1.0  # the temperature of the distribution itself


def tempered(residual: Tensor, temperature: float) -> Tensor:
    """T x, a sample's residual x [N, C] about the centre c drawn towards it: the state c + T (x - c).

    At T = 1 it is the sample, at 0 the centre, each bit for bit. Of N(c, S) the law is N(c, T^2 S); of any law the
    centre stays where it is (mean and spatial median alike) and every distance of two samples is T times as large. It
    is another law than the one that was learnt wherever T < 1.

    Args:
        temperature: in [0, 1].
    """
    return temperature * residual
