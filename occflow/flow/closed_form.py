"""Velocities and flows known exactly: oracles of the tests, and what networks start from (docs/methods.md 0)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GaussianFlow:
    """The flow from unit noise to N(mean, diag std^2); mean and std are [C]."""

    mean: Tensor
    std: Tensor

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_t, [N, C] each, for times [N, 1]."""
        return (1 - t) * self.mean, ((1 - t) ** 2 * self.std**2 + t**2).sqrt()

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """v(x, t) [N, C] for x [N, C], t [N, 1]."""
        mean, std = self.marginal(t)
        return -self.mean + (t - (1 - t) * self.std**2) / std**2 * (x - mean)

    def flow_map(self, x: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """The exact x_r [N, C] of x_t = x."""
        mean_t, std_t = self.marginal(t)
        mean_r, std_r = self.marginal(r)
        return mean_r + std_r / std_t * (x - mean_t)

    def mean_velocity(self, x: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """The exact u(x, r, t) [N, C], written so that r = t is no special case (sd_t^2 - sd_r^2 holds t - r)."""
        (mean, std_t), (_, std_r) = self.marginal(t), self.marginal(r)
        slope = (t + r - (2 - t - r) * self.std**2) / (std_t * (std_t + std_r))
        return -self.mean + slope * (x - mean)


@dataclass(frozen=True)
class MixtureFlow:
    """The flow from unit noise to a mixture sum_k w_k N(m_k, s^2 I): weights [K], means [K, C], a scalar std."""

    weights: Tensor
    means: Tensor
    std: float

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """v(x, t) [N, C] for x [N, C], t [N, 1]: the component velocities, weighted by responsibility."""
        variance = (1 - t) ** 2 * self.std**2 + t**2  # [N, 1]
        offsets = x[:, None] - (1 - t)[:, None] * self.means  # [N, K, C]
        scores = self.weights.log() - (offsets**2).sum(-1) / (2 * variance)
        slopes = -self.means + ((t - (1 - t) * self.std**2) / variance)[:, None] * offsets
        return (scores.softmax(1)[..., None] * slopes).sum(1)


def unit_gaussian_factor(r: Tensor, t: Tensor) -> Tensor:
    """The k in u(x, r, t) = k x when data are N(0, I); at r = t the velocity (2t - 1) / ((1 - t)^2 + t^2).

    From the Gaussian row of docs/methods.md 0, written so that r = t is no special case:
    k = 2 (t + r - 1) / (sd_t (sd_t + sd_r)), sd_t^2 = (1 - t)^2 + t^2.
    """
    std_r, std_t = ((1 - r) ** 2 + r**2).sqrt(), ((1 - t) ** 2 + t**2).sqrt()
    return 2 * (t + r - 1) / (std_t * (std_t + std_r))
