"""Flows to what is still open: from fresh noise to p(x | x_t), where x_t is a noised, partly decided point.

Beside x_t = (1 - t) x + t e a second path y_s = (1 - s) x + s e' runs from noise (s = 1) to x (s = 0). What x_t and y_s
tell of x, one point of the teacher's path tells too: two views of x with Gaussian noise join into one. So the
teacher's velocity there is the velocity of the second path, exactly ("GLASS", used by Meta Flow Maps, arXiv 2601.14430;
docs/methods.md 10, in our clock).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from occflow.flow.closed_form import GaussianFlow
from occflow.flow.path import AverageVelocity, Velocity, data_prediction, per_row

MIN_TIME, MAX_TIME = 1e-3, 1 - 1e-6  # closer to the ends the joined point is a quotient of numbers without digits

PosteriorVelocity = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""u(y [N, C], r [B], s [B], x_t [N, C], t [B]) -> [N, C]: average velocity over [r, s] of the flow to p(x | x_t)."""

Transition = Callable[[Tensor, Tensor], AverageVelocity]
"""(x_t [N, C], t [B]) -> average velocity u(w, r, s) of the flow to p(eps - x | x_t)."""


def joined(y: Tensor, s: Tensor, x_t: Tensor, t: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """The one point (x* [N, C], t* [B]) of the path that tells of x what y_s and x_t tell together.

    1 / t* = 1 + sqrt((1 - t)^2 / t^2 + (1 - s)^2 / s^2), written so that neither t = 1 nor s = 1 is a special case.
    """
    s, t = s.clamp(MIN_TIME, MAX_TIME), t.clamp(min=MIN_TIME)
    certainty = torch.sqrt((s * (1 - t)) ** 2 + (t * (1 - s)) ** 2)
    known = certainty + s * t
    shares = (s**2 * (1 - t) / (certainty * known), t**2 * (1 - s) / (certainty * known))
    return per_row(shares[0], sample) * x_t + per_row(shares[1], sample) * y, s * t / known


def posterior_mean(velocity: Velocity, y: Tensor, s: Tensor, x_t: Tensor, t: Tensor, sample: Tensor) -> Tensor:
    """E[x | y_s, x_t] [N, C] by one evaluation of the velocity."""
    point, time = joined(y, s, x_t, t, sample)
    return data_prediction(point, velocity(point, time), time, sample)


def posterior_velocity(velocity: Velocity, y: Tensor, s: Tensor, x_t: Tensor, t: Tensor, sample: Tensor) -> Tensor:
    """E[e' - x | y_s, x_t] [N, C]: the exact velocity of the flow to p(x | x_t)."""
    return (y - posterior_mean(velocity, y, s, x_t, t, sample)) / per_row(s, sample).clamp(min=MIN_TIME)


def transition_velocity(velocity: Velocity, w: Tensor, s: Tensor, x_t: Tensor, t: Tensor, sample: Tensor) -> Tensor:
    """The exact velocity at w_s = (1 - s) v + s n [N, C] of the flow to p(v | x_t), v = eps - x: with x_t given, v is
    a linear function of x (Transition Matching, arXiv 2601.09881)."""
    s = s.clamp(MIN_TIME, MAX_TIME)
    scale = t * s + 1 - s
    y = (per_row(1 - s, sample) * x_t - per_row(t, sample) * w) / per_row(scale, sample)
    mean = posterior_mean(velocity, y, t * s / scale, x_t, t, sample)
    return (w - (x_t - mean) / per_row(t, sample)) / per_row(s, sample)


def unit_gaussian_posterior(x_t: Tensor, t: Tensor) -> GaussianFlow:
    """p(x | x_t) where data are N(0, I); x_t [N, C], t [N, 1]."""
    t = t.clamp(min=MIN_TIME)
    variance = (1 - t) ** 2 + t**2
    return GaussianFlow((1 - t) / variance * x_t, t / variance.sqrt())


def unit_gaussian_transition(mean: Tensor, t: Tensor) -> GaussianFlow:
    """p(eps - x | x_t) about a given mean [N, C], with the spread that it has where data are N(0, I); t [N, 1]."""
    return GaussianFlow(mean, ((1 - t) ** 2 + t**2).rsqrt())


def joined_share(s: Tensor, t: Tensor) -> Tensor:
    """t* / s [B], at most 1: what a change of the velocity at the joined point changes in `posterior_velocity`."""
    s, t = s.clamp(MIN_TIME, MAX_TIME), t.clamp(min=MIN_TIME)
    return t / (s * t + torch.sqrt((s * (1 - t)) ** 2 + (t * (1 - s)) ** 2))
