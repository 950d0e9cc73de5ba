"""Windows for training: drawn in an order fixed by the seed, laid out once and kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch

from occflow.models.forecaster import Condition, FlowForecaster, Observation, join_observations
from occflow.models.layout import join_layouts
from occflow.models.mean import MeanForecast
from occflow.occupancy.store import OccupancyStore
from occflow.occupancy.windows import WindowKey, read_window

MAX_KEPT_BYTES = 3 << 30  # of laid-out windows; beyond it the oldest are laid out anew when their turn comes


def epoch_order(count: int, seed: int):
    """Endless stream of indices 0 .. count - 1, every one once an epoch, in an order fixed by the seed."""
    epoch = 0
    while True:
        yield from np.random.default_rng((seed, epoch)).permutation(count).tolist()
        epoch += 1


@dataclass(frozen=True)
class FlowBatch:
    """A batch for flow trainings: the condition, and the standardised true residual [N, C] (the flow's data)."""

    condition: Condition
    data: torch.Tensor


class ObservationFeed:
    """Batches of observed windows with targets."""

    def __init__(self, store: OccupancyStore, keys: list[WindowKey], forecaster: FlowForecaster, seed: int) -> None:
        self.store, self.keys, self.forecaster = store, keys, forecaster
        self.order = epoch_order(len(keys), seed)
        self.kept: OrderedDict[int, object] = OrderedDict()
        self.kept_bytes = 0

    def _make(self, index: int) -> Observation:
        settings = self.forecaster.settings
        window = read_window(self.store, self.keys[index], settings.num_history, settings.num_horizon)
        return self.forecaster.observe(window, with_target=True)

    def _get(self, index: int):
        if index not in self.kept:
            item = self._make(index)
            self.kept[index] = item
            self.kept_bytes += self._size(item)
            while self.kept_bytes > MAX_KEPT_BYTES and len(self.kept) > 1:
                self.kept_bytes -= self._size(self.kept.popitem(last=False)[1])
        return self.kept[index]

    @staticmethod
    def _size(item) -> int:
        layout = item.layout if isinstance(item, Observation) else item.condition.layout
        return len(layout.support) * 700  # bytes a support site: states, tables, features and rulebooks

    def next(self, windows: int) -> Observation:
        """The next batch of `windows` windows."""
        return join_observations([self._get(next(self.order)) for _ in range(windows)])


class FlowFeed(ObservationFeed):
    """Batches for flow trainings: the frozen mean network is run once a window."""

    @torch.no_grad()
    def _make(self, index: int) -> FlowBatch:
        observation = super()._make(index)
        condition = self.forecaster.condition(observation)
        return FlowBatch(condition, condition.residual(observation.target))

    def next(self, windows: int) -> FlowBatch:
        items = [self._get(next(self.order)) for _ in range(windows)]
        forecasts = [item.condition.forecast for item in items]
        forecast = MeanForecast(*(torch.cat([getattr(one, name) for one in forecasts])
                                  for name in ("mean", "scale", "features")))
        layout = join_layouts([item.condition.layout for item in items])
        return FlowBatch(Condition(layout, forecast), torch.cat([item.data for item in items]))
