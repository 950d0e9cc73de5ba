"""Which of the proposed sites will hold something: a small dense network that sees the targets from above.

The rule of `models.support` proposes whole columns where no grid was observed and discs about movers, most of which
stay empty. What it proposes beyond the moved present is kept where the head's logit reaches a threshold, calibrated to
a wanted recall after the head's training, on windows that this learnt from. A site within rounding of it may be kept
on one device and not on another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.grid import FLAT_CLASSES, MOVABLE_CLASSES
from occflow.models.support import Proposal
from occflow.sparse.sites import Shape, coarse_keys, pool_shape

CELL_FEATURES = 5  # of a cell: share filled of the moved present, by flat, by movable classes; touched, in reach
COLUMN_FEATURES = 4  # of a column: in the grid, unseen, metres beyond what was observed, time
FAR_M, MAX_FAR = 10.0, 3.0  # unit of those metres, and their most
KEEPS_ALL = torch.finfo(torch.float32).min  # a threshold; finite, as all that is stored
ROUNDING = 1e-6  # sites: a share of them that is a whole number stays one
HALVINGS = 3  # of the columns: features are mixed over 2, 4 and 8 cells


def evidence(proposal: Proposal, held: Tensor) -> Tensor:
    """What the head sees, [F, CELL_FEATURES * Z + COLUMN_FEATURES, X, Y] float32.

    Args:
        held: [3, F, X, Y, Z] of the moved present, as `SupportHead.held` gives it.
    """
    frames, x, y, _ = shape = proposal.shape
    cells = torch.cat([held, torch.stack([proposal.touched, proposal.reach]).view(2, *shape).to(held)])
    outside_m = -proposal.inside_m.view(shape)
    unseen, far = (outside_m > 0).to(held).mean(dim=3), (outside_m.to(held).mean(dim=3) / FAR_M).clamp(0.0, MAX_FAR)
    time = torch.arange(1, frames + 1, device=held.device).to(held) / frames
    columns = torch.stack([torch.ones_like(far), unseen, far, time[:, None, None].expand(frames, x, y)], dim=1)
    return torch.cat([cells.permute(1, 0, 4, 2, 3).flatten(1, 2), columns], dim=1)


class SupportHead(nn.Module):
    """A U-Net of three levels over the columns of cells, heights among the channels: each frame by itself.

    Args:
        channels: of every level.
        levels: Z, cells above each other.

    Attributes:
        threshold: [] float32, logit from which on a site is kept; all are until it is calibrated.
        kinds: [3, 256], what a voxel of a label counts for in `held`.
    """

    threshold: Tensor
    kinds: Tensor

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.embed = nn.Conv2d(4 * (CELL_FEATURES * levels + COLUMN_FEATURES), channels, 1)
        self.mix = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(HALVINGS + 1))
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 2, stride=2) for _ in range(HALVINGS - 1))
        self.up = nn.ModuleList(nn.ConvTranspose2d(channels, channels, 2, stride=2) for _ in range(HALVINGS - 1))
        self.out = nn.Conv2d(channels, 4 * levels, 1)
        self.register_buffer("threshold", torch.tensor(KEEPS_ALL))
        kinds = torch.zeros(3, 256)
        kinds[0], kinds[1, list(FLAT_CLASSES)], kinds[2, list(MOVABLE_CLASSES)] = 1.0, 1.0, 1.0
        self.register_buffer("kinds", kinds, persistent=False)

    def held(self, keys: Tensor, labels: Tensor, shape: Shape, stride: Shape, num_frames: int) -> Tensor:
        """[3, F, X', Y', Z'] float32: share of each coarse cell that voxels [V] of F frames fill: all, of flat classes,
        of movable ones.

        Args:
            keys: [V] int64 (frame * voxels of the grid + place); labels: [V] int64.
            shape: of the grid of voxels.
        """
        cells = pool_shape(shape, stride)
        place = coarse_keys(keys, shape, stride, num_frames)[0]
        found = torch.zeros(3, num_frames * math.prod(cells), device=keys.device)
        found.index_add_(1, place, self.kinds.index_select(1, labels))
        return (found / math.prod(stride)).view(3, num_frames, *cells)

    def forward(self, seen: Tensor) -> Tensor:
        """Evidence [F, C, X, Y] -> logits [F * X * Y * Z] that a cell will hold something."""
        x, y = seen.shape[2:]
        step = 2**HALVINGS
        padded = functional.pad(seen, (0, -y % step, 0, -x % step))
        features = functional.gelu(self.embed(functional.pixel_unshuffle(padded, 2)))
        skips = []
        for depth in range(HALVINGS):
            features = features + functional.gelu(self.mix[depth](features))
            if depth < HALVINGS - 1:
                skips.append(features)
                features = functional.gelu(self.down[depth](features))
        for depth in reversed(range(HALVINGS - 1)):
            features = skips[depth] + functional.gelu(self.up[depth](features))
        features = features + functional.gelu(self.mix[HALVINGS](features))
        logits = functional.pixel_shuffle(self.out(features), 2)[:, :, :x, :y]  # [F, Z, X, Y]
        return logits.permute(0, 2, 3, 1).flatten()

    def thinned(self, proposal: Proposal, held: Tensor) -> Tensor:
        """[F * X * Y * Z] bool: proposed cells that the moved present fills (`held`: see `evidence`), or that are
        likely enough to hold something."""
        likely = self(evidence(proposal, held)) >= self.threshold
        return proposal.proposed & (likely | (held[0] > 0).flatten())


def threshold_for(recall: float, logits: Tensor, kept_anyway: int) -> float:
    """The highest logit from which on at least a share `recall` of the true sites that the rule proposes is kept.

    Args:
        logits: [N] of those of them on which the head decides.
        kept_anyway: number of those that are kept whatever it says.

    Returns:
        one that keeps all where there is nothing to decide, one that keeps none where all of it may be missed.
    """
    missed = int((1.0 - recall) * (len(logits) + kept_anyway) + ROUNDING)
    if not len(logits) or missed >= len(logits):
        return -KEEPS_ALL if len(logits) else KEEPS_ALL
    return float(logits.sort().values[missed])
