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

MAX_KEPT_BYTES = 3 << 30  # a feed; beyond it the oldest windows are made anew when their turn comes


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


class WindowFeed:
    """Items by window, made once and kept in memory up to a bound; drawn in epochs."""

    def __init__(self, count: int, seed: int, bytes_a_site: int) -> None:
        self.order, self.bytes_a_site = epoch_order(count, seed), bytes_a_site
        self.kept: OrderedDict[int, tuple[object, int]] = OrderedDict()
        self.kept_bytes = 0

    def make(self, index: int) -> tuple[object, int]:
        """The item of window `index`, and its number of support sites."""
        raise NotImplementedError

    def get(self, index: int):
        """The item of window `index`."""
        if index not in self.kept:
            item, sites = self.make(index)
            self.kept[index] = item, sites * self.bytes_a_site
            self.kept_bytes += sites * self.bytes_a_site
            while self.kept_bytes > MAX_KEPT_BYTES and len(self.kept) > 1:
                self.kept_bytes -= self.kept.popitem(last=False)[1][1]
        return self.kept[index][0]

    def draw(self, windows: int) -> list:
        """The next `windows` items."""
        return [self.get(next(self.order)) for _ in range(windows)]


class ObservationFeed(WindowFeed):
    """Batches of observed windows with targets."""

    def __init__(self, store: OccupancyStore, keys: list[WindowKey], forecaster: FlowForecaster, seed: int) -> None:
        super().__init__(len(keys), seed, bytes_a_site=700)
        self.store, self.keys, self.forecaster = store, keys, forecaster

    def make(self, index: int) -> tuple[Observation, int]:
        settings = self.forecaster.settings
        window = read_window(self.store, self.keys[index], settings.num_history, settings.num_horizon)
        observation = self.forecaster.observe(window, with_target=True)
        return observation, len(observation.layout.support)

    def next(self, windows: int) -> Observation:
        """The next batch of `windows` windows."""
        return join_observations(self.draw(windows))


class FlowFeed(WindowFeed):
    """Batches for flow trainings: the frozen mean network is run once a window."""

    def __init__(self, source: ObservationFeed, seed: int) -> None:
        super().__init__(len(source.keys), seed, bytes_a_site=450)
        self.source, self.forecaster = source, source.forecaster

    @torch.no_grad()
    def make(self, index: int) -> tuple[FlowBatch, int]:
        observation = self.source.get(index)
        condition = self.forecaster.condition(observation)
        return FlowBatch(condition, condition.residual(observation.target)), len(observation.layout.support)

    def next(self, windows: int) -> FlowBatch:
        """The next batch of `windows` windows."""
        items = self.draw(windows)
        forecasts = [item.condition.forecast for item in items]
        forecast = MeanForecast(*(torch.cat([getattr(one, name) for one in forecasts])
                                  for name in ("mean", "scale", "features")))
        layout = join_layouts([item.condition.layout for item in items])
        return FlowBatch(Condition(layout, forecast), torch.cat([item.data for item in items]))
