"""The mean of the future state, and how far it may be off: "what stays, then what is likely" (docs/design.md 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.errors import InputError
from occflow.models.layout import Layout
from occflow.models.trunk import Trunk, TrunkSettings, place_features
from occflow.sparse.layers import LayerNorm, SubmanifoldConv, TableMix, zero_initialised

MEDIAN_SOFTENING = 0.02  # standard deviations of the state below which a distance is squared, so that it has a slope
CENTRES = ("median", "mean")
MIN_SCALE, MAX_SCALE = 0.05, 2.0  # standard deviations of the state, whose channels have unit variance


@dataclass(frozen=True)
class MeanForecast:
    """Central forecast ("mean": mean or spatial median, `mean_loss`) and standard deviation about it of the state
    [N, C], and the features [N, W] that they were read from."""

    mean: Tensor
    scale: Tensor
    features: Tensor


class MeanNetwork(nn.Module):
    """History encoder, motion-compensated mixing, trunk, and two zero-initialised heads.

    Untrained, the mean is the base: by default the present moved by the ego motion, its tracked movers by theirs too.
    """

    def __init__(self, state_channels: int, latent_channels: int, history_channels: int, num_history: int,
                 num_horizon: int, trunk: TrunkSettings, num_slots: list[int]) -> None:
        super().__init__()
        width = trunk.widths[0]
        self.history_in = nn.Linear(latent_channels, history_channels)
        self.history_conv = SubmanifoldConv(history_channels, history_channels)
        own = state_channels + 3 + num_horizon + 1 + 4 * num_history
        self.mix = TableMix(own, history_channels, num_history, width)
        self.trunk = Trunk(trunk, num_slots, num_horizon)
        self.norm = LayerNorm(width)
        self.mean_head = zero_initialised(nn.Linear(width, state_channels))
        self.scale_head = zero_initialised(nn.Linear(width, state_channels))

    def encode_history(self, latents: Tensor, layout: Layout) -> Tensor:
        """Latents [M, C] of the observed frames -> features [M, H]; each frame by itself."""
        features = self.history_in(latents)
        return features + functional.gelu(self.history_conv(functional.gelu(features), layout.history))

    def forward(self, history_latents: Tensor, base: Tensor, layout: Layout) -> MeanForecast:
        """history_latents [M, C], base state [N, C + 1] (`Observation.base`) -> MeanForecast."""
        history = self.encode_history(history_latents, layout)
        present = (layout.history_table < len(layout.history)).float()
        remainder = layout.history_remainder.flatten(1)
        own = torch.cat([base, place_features(layout), present, remainder], dim=1)
        features = self.norm(self.trunk(self.mix(own, history, layout.history_table), layout))
        scale = torch.exp(self.scale_head(features) - 1.0).clamp(MIN_SCALE, MAX_SCALE)
        return MeanForecast(base + self.mean_head(features), scale, features)


def mean_loss(forecast: MeanForecast, target: Tensor, scale_weight: float, centre: str = "median") -> Tensor:
    """How far the central forecast is off, plus the Gaussian negative log-likelihood of the scale, its error detached.

    Args:
        centre: "median": the distance of a site's state to the truth, whose minimum is the spatial median: it stays at
            one future where the squared error, "mean", goes in between and decodes to none.

    Detaching keeps the centre a plain regression: a heteroscedastic likelihood would neglect uncertain sites
    (Seitzer et al., arXiv 2203.09168).

    Raises:
        InputError: an unknown centre.
    """
    error = (forecast.mean - target) ** 2
    likelihood = error.detach() / (2 * forecast.scale**2) + forecast.scale.log()
    if centre == "median":
        off = (error.mean(dim=1) + MEDIAN_SOFTENING**2).sqrt().mean()
    elif centre == "mean":
        off = error.mean()
    else:
        raise InputError(f"train.mean.centre: '{centre}' is not known; known: {', '.join(CENTRES)}")
    return off + scale_weight * likelihood.mean()
