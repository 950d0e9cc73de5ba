"""Windows for training: drawn in an order fixed by the seed, laid out once, by worker processes ahead of their turn
where there are any, and kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Generic, TypeVar

import numpy as np
import torch

from occflow.errors import InputError
from occflow.flow.share import Share
from occflow.grid import VoxelGrid
from occflow.models.flow_model import Condition, FlowModel, Observation, join_observations
from occflow.models.layout import join_layouts
from occflow.models.networks import MeanForecast
from occflow.models.preparation import CPU, Bases, Preparation, Prepared, moved_as
from occflow.models.settings import crop_step
from occflow.occupancy.augmentation import cropped, mirrored, part_of, random_corner, voxels_in
from occflow.occupancy.frame import Frames
from occflow.occupancy.tasks import Task
from occflow.occupancy.warp import Landing
from occflow.occupancy.windows import Window, WindowKey, WindowSource
from occflow.training.fetching import Fetcher
from occflow.training.forcing import forced_motions, rigid_truth
from occflow.training.precision import in_full_precision
from occflow.training.processes import own_part, share_of_items, share_of_rows, world_size

MAX_KEPT_BYTES = 3 << 30  # a feed; beyond it the oldest windows are made anew when their turn comes
LARGE_ITEM_BYTES = 64 << 20  # on a CPU the step of such an item takes several times as long as making it anew:
MAX_KEPT_LARGE_BYTES = 128 << 20  # one of the full size is kept; of a log's thousands of windows none comes soon again
HELD_BACK = 3  # beside the seed, of what is never drawn
Batch = TypeVar("Batch")
KEPT_SHARE = 0.25  # of the free memory of a CUDA device, where that is more


def epoch_order(count: int, seed: int, position: int = 0) -> Iterator[int]:
    """Endless stream of indices 0 .. count - 1 from a position on: each once an epoch, in the seed's order."""
    epoch, passed = divmod(position, count)
    while True:
        yield from np.random.default_rng((seed, epoch)).permutation(count)[passed:].tolist()
        epoch, passed = epoch + 1, 0


@dataclass(frozen=True)
class FlowBatch:
    """A batch for flow trainings: the condition, and the standardised true residual [N, C] (the flow's data); `samples`
    says what its windows are of a batch that several processes share, None: all."""

    condition: Condition
    data: torch.Tensor
    samples: Share | None = None

    @property
    def weight(self) -> torch.Tensor:
        """Of errors against the data, [N, C]."""
        return self.condition.weight


def max_kept_bytes(device: torch.device) -> int:
    """Memory that a feed may take for what it keeps on a device."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    return max(MAX_KEPT_BYTES, int(KEPT_SHARE * free))


class HeldBack(Generic[Batch]):
    """Batches that a training never draws, to judge it by: the same ones every time. None is kept here: each is made
    when its turn comes, of items that the feed keeps, or makes anew where these are too many.

    Args:
        batches: the windows of each, those of all processes.
    """

    def __init__(self, batches: list[list[int]], make: Callable[[list[int]], Batch]) -> None:
        self.batches, self.make = batches, make

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.make, self.batches)


class WindowFeed:
    """Items by window, made once and kept in memory up to a bound; drawn in epochs.

    Args:
        fetcher: what `make` gets the host's part of its items from, ahead of their turn; None where it makes them.
        device: where items are kept.

    Raises:
        InputError: no windows.
    """

    parts = 1  # items of one window, that follow each other

    def __init__(self, count: int, seed: int, bytes_a_site: int, fetcher: Fetcher | None = None,
                 device: torch.device = CPU) -> None:
        if count < 1:
            raise InputError("no windows to train on: crop.a_window must be at least 1")
        self.count, self.order_seed, self.bytes_a_site = count, seed, bytes_a_site
        self.fetcher, self.device, self.max_kept_bytes = fetcher, device, max_kept_bytes(device)
        self.kept: OrderedDict[int, tuple[object, int]] = OrderedDict()
        self.kept_bytes = 0
        self.drawable: Sequence[int] = range(count)
        self.seek(0)

    def hold_back(self, batches: int, windows: int) -> list[list[int]]:
        """Items of so many batches of `windows`, which are drawn no more from now on; before the first draw.

        The seed chooses them; all parts of a window are held back with the first. Fewer batches where they would be
        more than half of all; where not even one is left, one that is drawn as well.

        Raises:
            InputError: a batch has none for some process.
        """
        order = np.random.default_rng((self.order_seed, HELD_BACK)).permutation(self.count // self.parts).tolist()
        batches = min(batches, len(order) // 2 // windows)
        held = order[:batches * windows]
        self.drawable = [index for index in range(self.count) if index // self.parts not in held]
        self.seek(0)
        held = [index * self.parts for index in held or islice(cycle(order), windows)]
        found = [held[start:start + windows] for start in range(0, len(held), windows)]
        self.follow([index for batch in found for index in share_of_items(windows).part(batch)])
        return found

    def seek(self, draws: int) -> None:
        """Go to where `draws` items have been drawn, by all processes together."""
        self.drawn, self.batch = draws, 0
        self.order = self._order_from(draws)

    def _order_from(self, draws: int) -> Iterator[int]:
        return map(self.drawable.__getitem__, epoch_order(len(self.drawable), self.order_seed, draws))

    def _own_order(self, draws: int, batch: int) -> Iterator[int]:
        """This process's items after so many draws, of batches of `batch` that all processes share."""
        order, part = self._order_from(draws), own_part(batch)
        while True:
            yield from list(islice(order, batch))[part.start:part.stop]

    def follow(self, coming: Iterable[int]) -> None:
        """Have the items of `coming` made ahead that are not kept."""
        if self.fetcher is not None:
            self.fetcher.follow(coming, self.places(), self.count * world_size())

    def places(self) -> tuple[OrderedDict, ...]:
        """Where items are kept that need not be made."""
        return (self.kept,)

    def make(self, index: int) -> tuple[object, int]:
        """The item of window `index`, and its number of support sites."""
        raise NotImplementedError

    def get(self, index: int):
        """The item of window `index`; of the next one that has a site where nothing is and nothing may come (a crop).

        Raises:
            InputError: no window has one.
        """
        for place in range(index, index + self.count):
            item, sites = self._made(place % self.count)
            if sites:
                return item
        raise InputError("no training window has a site where anything is or may come; build data.store from a log "
                         "that shows something")

    @in_full_precision
    def _made(self, index: int) -> tuple[object, int]:
        """As `make`, once."""
        if index not in self.kept:
            item, sites = self.make(index)
            self.kept[index] = item, sites
            self.kept_bytes += sites * self.bytes_a_site
            self.make_room(sites * self.bytes_a_site)
            return item, sites
        return self.kept[index]

    def make_room(self, item_bytes: int) -> None:
        """Keep within bounds, the newest item in any case, which has so many bytes."""
        while self.kept_bytes > self.bound(item_bytes) and len(self.kept) > 1:
            self.forget(next(iter(self.kept)))

    def bound(self, item_bytes: int) -> int:
        """Of what is kept, where items have about so many bytes."""
        large = self.device.type == "cpu" and item_bytes > LARGE_ITEM_BYTES
        return MAX_KEPT_LARGE_BYTES if large else self.max_kept_bytes

    def forget(self, index: int) -> None:
        """Keep the item of window `index` no longer."""
        if index in self.kept:
            self.kept_bytes -= self.kept.pop(index)[1] * self.bytes_a_site

    def draw(self, windows: int) -> list:
        """This process's items of the next batch of `windows`, which all processes draw in one order.

        Raises:
            InputError: there is none for some process.
        """
        share = share_of_items(windows)
        if windows != self.batch:
            self.batch = windows
            self.follow(self._own_order(self.drawn, windows))
        drawn = list(islice(self.order, windows))
        self.drawn += windows
        return [self.get(index) for index in share.part(drawn)]

    def chosen(self, indices: list[int]) -> list:
        """This process's items of the batch of these windows, out of the order of the draws.

        Raises:
            InputError: there is none for some process.
        """
        return [self.get(index) for index in share_of_items(len(indices)).part(indices)]


@dataclass(frozen=True)
class Variety:
    """What a training makes of a window.

    Args:
        crop_voxels: edge of a part along x and y, cheaper steps and more of them in the same time; 0: whole windows.
        a_window: parts drawn of every window.
        perceived_share: of the windows have a history as perceived of raw sweeps, whatever the input of their source.
        mirrored_share: of the windows are mirrored, left for right.
        true_motions: the flow of the voxels learns about bodies that were moved as they truly moved (teacher forcing),
            not as is foreseen.
    """

    crop_voxels: int = 0
    a_window: int = 1
    perceived_share: float = 0.0
    mirrored_share: float = 0.0
    true_motions: bool = True

    @classmethod
    def from_config(cls, values: Mapping) -> Variety:
        """From group `train` or `distill`."""
        voxels = values["crop"]["voxels"]
        return cls(voxels, values["crop"]["a_window"] if voxels else 1, values["perceived_share"],
                   values["mirrored_share"], values["true_motions"])


@dataclass(frozen=True)
class WholeWindows:
    """The whole windows of a training, some of them perceived: what of a feed's items is made on the host, by a
    `__call__` of one's own."""

    windows: WindowSource
    keys: list[WindowKey]
    seed: int
    perceived_share: float

    def read(self, index: int) -> tuple[np.random.Generator, Window]:
        """A window, and what chance its item is made by."""
        rng = np.random.default_rng((self.seed, index))
        return rng, self.windows.read(self.keys[index], "lidar" if rng.random() < self.perceived_share else None)


class WholeWindowFeed(WindowFeed):
    """What is made of whole windows, on a device."""

    made_by: type[WholeWindows]
    item_bytes: int  # of each of what an item's size counts

    def __init__(self, windows: WindowSource, keys: list[WindowKey], seed: int, perceived_share: float,
                 workers: int = 0, device: torch.device = CPU) -> None:
        self.windows = windows
        prepare = self.made_by(windows, keys, seed, perceived_share)
        super().__init__(len(keys), seed, self.item_bytes, Fetcher(prepare, workers, device), device)


@dataclass(frozen=True)
class MovedWindow:
    """How the bodies of a whole window move to its targets.

    Args:
        slots: places of each body's voxels in the present's arrays.
        central, forced: [N, F, 4, 4] in the world, as is foreseen, and what the flow of the voxels learns about.
        truth: the F frames that it learns then.
    """

    slots: list[np.ndarray]
    central: np.ndarray
    forced: np.ndarray
    truth: Frames

    def bases(self, window: Window, region: VoxelGrid, shown: np.ndarray, truth: Frames,
              landings: Callable[[Task, VoxelGrid], Sequence[Landing]]) -> Bases:
        """A present with its bodies moved to the targets: of a part of a window what it shows of them alone, for what
        comes into its view is to be learnt.

        Args:
            landings: where a task's present lands (Preparation.landings).
            shown: [N] bool, voxels of the whole present that are in the part; truth: what the part shows of it.
        """
        places = np.cumsum(shown) - 1
        slots = [places[one[shown[one]]] for one in self.slots]
        landed = landings(window.task, region)
        return Bases(*(moved_as(window.task, region, slots, moved, landed) for moved in (self.central, self.forced)),
                     truth)


@dataclass(frozen=True)
class WindowPreparation:
    """The windows of a training (or parts of them), varied and laid out: what the host does of an observation.

    Args:
        windows, keys: where they are cut.
        preparation: of the forecaster.
        seed, variety: of what is made of them.
        with_forced: whether the flow of the voxels is to learn of them.
    """

    windows: WindowSource
    keys: list[WindowKey]
    preparation: Preparation
    seed: int
    variety: Variety
    with_forced: bool = True

    def __call__(self, index: int) -> Prepared:
        """That of an item."""
        window, region, bases = self.window(index)
        if bases is not None and not self.with_forced:
            bases = Bases(bases.central)
        prepared = self.preparation.prepare(window.task, window.truth, region=region, bases=bases)
        return replace(prepared, moved=())  # a training decodes nothing

    def window(self, index: int) -> tuple[Window, VoxelGrid, Bases | None]:
        """The window (or part of it) of an item, the grid of its frames, and in that grid its `bases`."""
        rng, grid = np.random.default_rng((self.seed, index)), self.preparation.settings.grid
        kind = "lidar" if rng.random() < self.variety.perceived_share else None
        window = self.windows.read(self.keys[index // self.variety.a_window], kind)
        if rng.random() < self.variety.mirrored_share:
            window = mirrored(window, grid)
        moved = self._moved(window, kind is None)
        if not self.variety.crop_voxels:
            return window, grid, moved and moved.bases(window, grid, np.ones(len(window.present.flat), dtype=bool),
                                                       moved.truth, self.preparation.landings)
        first, region = self._part(rng)
        part = cropped(window, grid, first, region)
        if moved is None:
            return part, region, None
        truth = cropped(replace(window, truth=moved.truth), grid, first, region).truth
        return part, region, moved.bases(part, region, voxels_in(window.present, grid, first, region), truth,
                                         self.preparation.landings)

    def _moved(self, window: Window, in_hindsight: bool) -> MovedWindow | None:
        """How the bodies of a whole window move; None where the forecaster makes its base itself."""
        if self.preparation.motion is None:
            return None
        grid, motions = self.preparation.settings.grid, self.preparation.motions(window.task)
        slots = motions.slots
        central = motions.world_motions(motions.condition.forecast.mean)
        if not self.variety.true_motions:
            return MovedWindow(slots, central, central, window.truth)
        forced = forced_motions(window, motions, grid)
        # what is perceived of a body is to be completed, what was seen whole keeps its voxels
        truth = rigid_truth(window, motions.bodies, forced, grid) if in_hindsight else window.truth
        return MovedWindow(slots, central, forced, truth)

    def _part(self, rng: np.random.Generator) -> tuple[tuple[int, int], VoxelGrid]:
        """First column and grid of a random part of a window."""
        grid = self.preparation.settings.grid
        size = tuple(min(self.variety.crop_voxels, cells) for cells in grid.shape[:2])
        first = random_corner(grid, size, crop_step(self.preparation.settings), rng)
        return first, part_of(grid, first, size)


class ObservationFeed(WindowFeed):
    """Batches of observed windows (or parts of them) with targets; `workers` processes lay them out, on a CPU and where
    the feed wants layouts."""

    with_forced, lays_out = True, True

    def __init__(self, windows: WindowSource, keys: list[WindowKey], forecaster: FlowModel, seed: int,
                 variety: Variety = Variety(), workers: int = 0) -> None:
        preparation = forecaster.preparation  # a GPU lays out faster than a process can send what it has laid out
        if workers:
            preparation = preparation.on_host(lays_out=self.lays_out and forecaster.device == CPU)
        prepare = WindowPreparation(windows, keys, preparation, seed, variety, self.with_forced)
        self.windows, self.forecaster, self.window, self.parts = windows, forecaster, prepare.window, variety.a_window
        super().__init__(len(keys) * variety.a_window, seed, 700, Fetcher(prepare, workers, forecaster.device),
                         forecaster.device)

    def make(self, index: int) -> tuple[Observation, int]:
        observation = self.forecaster.observed(self.fetcher.get(index))
        return observation, len(observation.layout.support)

    def next(self, windows: int) -> Observation:
        """This process's part of the next batch of `windows` windows."""
        return join_observations(self.draw(windows))


class FlowFeed(WindowFeed):
    """Batches for flow trainings: the frozen mean network is run once a window, whose observation is not kept then."""

    def __init__(self, source: ObservationFeed, seed: int) -> None:
        self.source, self.forecaster, self.parts = source, source.forecaster, source.parts
        super().__init__(source.count, seed, 1000, source.fetcher, source.forecaster.device)

    def places(self) -> tuple[OrderedDict, ...]:
        return self.kept, self.source.kept

    def make_room(self, item_bytes: int) -> None:
        """What its source has kept for a training before goes first."""
        while self.kept_bytes + self.source.kept_bytes > self.bound(item_bytes) and self.source.kept:
            self.source.forget(next(iter(self.source.kept)))
        super().make_room(item_bytes)

    @torch.no_grad()
    def make(self, index: int) -> tuple[FlowBatch, int]:
        observation = self.source.get(index)
        condition, target = self.forecaster.condition(observation), observation.target
        if observation.forced is not None:
            condition, target = condition.about(observation.forced), observation.forced_target
        data = condition.residual(target)
        self.source.forget(index)
        return FlowBatch(condition, data), len(observation.layout.support)

    def next(self, windows: int) -> FlowBatch:
        """This process's part of the next batch of `windows` windows."""
        return self._joined(self.draw(windows), windows)

    def held_back(self, conditions: int, windows: int) -> HeldBack[FlowBatch]:
        """At least so many windows that `next` does not give from now on, in batches of `windows`; see `hold_back`."""
        batches = self.hold_back(-(-conditions // windows), windows)
        return HeldBack(batches, lambda indices: self._joined(self.chosen(indices), len(indices)))

    def _joined(self, items: list[FlowBatch], windows: int) -> FlowBatch:
        """A batch of this process's items of a joint one of so many windows."""
        forecasts = [item.condition.forecast for item in items]
        forecast = MeanForecast(*(torch.cat([getattr(one, name) for one in forecasts])
                                  for name in ("mean", "scale", "features")))
        layout = join_layouts([item.condition.layout for item in items])
        conditions = [item.condition for item in items]
        condition = replace(conditions[0], layout=layout, forecast=forecast,
                            base=torch.cat([one.base for one in conditions]), rows=share_of_rows(len(forecast.mean)))
        return FlowBatch(condition, torch.cat([item.data for item in items]), share_of_items(windows))
