"""The training of the head that thins out the support, and the threshold that keeps a wanted share of what is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from occflow.models.coarse_cells import cell_grid
from occflow.models.flow_model import FlowModel
from occflow.models.support import propose
from occflow.models.support_head import SupportHead, evidence, threshold_for
from occflow.occupancy.windows import WindowKey, WindowSource
from occflow.sparse.sites import cells_held
from occflow.training.engine import step_rng, train
from occflow.training.feeding import ObservationFeed, Variety
from occflow.training.optimiser import OptimiserSettings
from occflow.training.processes import share_of_items
from occflow.training.run import TrainingRun
from occflow.training.validation import HeldOut, Validation, evenly

BYTES_A_CELL = 30  # of what is seen, and of the masks


@dataclass(frozen=True)
class ProposedCells:
    """What the head is told of one window, and what it is to say.

    Args:
        seen: as `evidence` gives it.
        true: [F * X * Y * Z] bool, cells that truly hold something.
        undecided: [F * X * Y * Z] bool, proposed cells that the moved present does not fill: those that the head
            decides on.
        kept: [] int64, true ones that are kept whatever it says.
    """

    seen: Tensor
    true: Tensor
    undecided: Tensor
    kept: Tensor

    def turned(self, way: int) -> ProposedCells:
        """The same seen from elsewhere, where streets look alike: one of eight ways to mirror a window and to swap its
        axes (of four, where it is no square)."""
        frames, _, x, y = self.seen.shape

        def turn(planes: Tensor) -> Tensor:  # [F, C, X, Y]
            planes = planes.flip([axis for bit, axis in ((1, 2), (2, 3)) if way & bit])
            return planes.transpose(2, 3).contiguous() if way & 4 and x == y else planes

        def turn_cells(cells: Tensor) -> Tensor:
            return turn(cells.view(frames, x, y, -1).movedim(3, 1)).movedim(1, 3).flatten()

        return replace(self, seen=turn(self.seen), true=turn_cells(self.true), undecided=turn_cells(self.undecided))


class ProposalFeed(ObservationFeed):
    """Whole windows, as far as the head sees them. Its own words are not heard: it learns from all that the rule
    proposes."""

    with_forced, lays_out = False, False

    def __init__(self, windows: WindowSource, keys: list[WindowKey], forecaster: FlowModel, seed: int,
                 variety: Variety | None = None, workers: int = 0) -> None:
        whole = replace(variety or Variety(), crop_voxels=0, a_window=1)
        super().__init__(windows, keys, forecaster, seed, whole, workers)
        self.bytes_a_site = BYTES_A_CELL

    def tells(self) -> bool:
        """Whether a window has a site to decide on."""
        return any(self._made(place)[1] for place in range(self.count))

    def make(self, index: int) -> tuple[ProposedCells, int]:
        forecaster, prepared = self.forecaster, self.fetcher.get(index)
        device, grid, num_horizon = forecaster.device, prepared.grid, prepared.num_frames[1]
        settings, stride = forecaster.settings, forecaster.settings.autoencoder.total_stride
        with torch.no_grad():
            proposal = propose(prepared.outline.to(device), grid, cell_grid(grid, stride), settings.support)
            held = forecaster.preparation.held(prepared.base.to(device), grid, num_horizon)
            true = cells_held(prepared.truth.to(device).keys.long(), grid.shape, stride, num_horizon)
            filled = (held[0] > 0).flatten()
            undecided = proposal.proposed & ~filled
            kept = (proposal.proposed & filled & true).sum()
            item = ProposedCells(evidence(proposal, held), true, undecided, kept)
        return item, len(true) if bool(undecided.any()) else 0


def train_support(forecaster: FlowModel, feed: ProposalFeed, values: Mapping, seed: int, run: TrainingRun,
                  held_out: HeldOut | None = None) -> None:
    """Learn which proposed cells hold something, by weighted cross-entropy on windows that are turned each time, then
    set the threshold by windows that were learnt from. Held out are items of a feed of the same kind."""
    head, windows = forecaster.support, values["windows"]

    def loss_of(item: ProposedCells) -> Tensor:
        return undecided_loss(head, item, values["positive_weight"])

    def loss_of_step(step: int) -> tuple[Tensor, dict]:
        samples = share_of_items(windows)
        ways = samples.part(step_rng(seed, step).integers(8, size=windows).tolist())
        losses = torch.stack([loss_of(item.turned(way)) for item, way in zip(feed.draw(windows), ways, strict=True)])
        return samples.mean(losses), {}

    average = train(run, "support", head, OptimiserSettings.from_config(values), loss_of_step, forecaster, feed,
                    windows, validation=held_out and Validation(held_out, lambda index: loss_of(
                        held_out.items.get(index))))
    head.load_state_dict(average.state_dict())
    places = evenly(range(feed.count), values["calibration_windows"], "train.support")
    calibrate(head, [feed.get(place) for place in places], values["recall"])
    head.eval().requires_grad_(False)


def undecided_loss(head: SupportHead, item: ProposedCells, positive_weight: float) -> Tensor:
    """Mean cross-entropy over the cells that the head decides on; a true one counts `positive_weight` times."""
    logits = head(item.seen)
    weight = logits.new_full((), positive_weight)
    losses = functional.binary_cross_entropy_with_logits(logits, item.true.to(logits), pos_weight=weight,
                                                         reduction="none")
    undecided = item.undecided.to(logits)
    return (losses * undecided).sum() / undecided.sum().clamp(min=1.0)


@torch.no_grad()
def calibrate(head: SupportHead, items: list[ProposedCells], recall: float) -> None:
    """Set the head's threshold so that it keeps a share `recall` of the true cells that the rule proposes."""
    logits = torch.cat([head(item.seen)[item.true & item.undecided] for item in items])
    head.threshold.fill_(threshold_for(recall, logits, sum(int(item.kept) for item in items)))
