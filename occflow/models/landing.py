"""Where a present lands in later grids, learnt from how frames of one drive look in each other's grids.

One network says of every voxel of the present in which of its parts matter is (occupancy.parts): of what earlier frames
show there, where returns were met, and what is about it. A second, small one says of every voxel of a later grid that
parts fall into whether something is in it. Both learn together, from later frames of the same drive and, where a store
knows in which parts matter is (data.occupancy.voxel_parts), from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.flow.sending import sent
from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.occupancy.bodies import Body, world_motions
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import centres_moved_apart, moved_voxels
from occflow.occupancy.parts import (
    KINDS,
    LOOKED_BACK,
    OFFSETS,
    PARTS,
    PartsFallen,
    PartsSeen,
    fallen_into,
    looked_back,
    numbers_of,
    parts_fallen,
    parts_seen,
    seen_of_bodies,
)
from occflow.occupancy.warp import Landing, landings, voxels_at

VOXEL_FEATURES = 1 + KINDS + (LOOKED_BACK + 1) * PARTS + 1
FALL_FEATURES = 7  # of a voxel that parts may fall into: what does not depend on how probable they are
TOLD_FEATURES = KINDS + 3  # of it: what does
NEGLIGIBLE = 0.03  # a part that is less probable falls nowhere
SURE = 0.999  # no part is surer
RETURNS_SCALE = 2.0  # of the logarithm of returns
PERCEIVED_WEIGHT = 2.0  # of what is perceived in a later grid beside what lands there (docs/research/perception.md)
DECIDING = 32  # width of the network of later voxels


@dataclass(frozen=True)
class LandingSettings:
    """Sizes of the network.

    Args:
        channels: of the plane that voxels are seen in; 0: no network, voxels are moved as a whole.
        voxel_channels: that each voxel is folded into for that.
        hidden: of the layers before and after.
    """

    channels: int = 0
    voxel_channels: int = 16
    hidden: int = 48


@dataclass(frozen=True)
class VoxelInput:
    """The voxels [N] of a present as the network takes them: features [N, VOXEL_FEATURES] float32, their places [N]
    int64 and kinds [N] int64, which parts returns were met in, [N, PARTS] bool, and the shape of their grid."""

    features: Tensor
    flat: Tensor
    kinds: Tensor
    met: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, seen: PartsSeen) -> VoxelInput:
        count = len(seen.flat)
        features = np.empty((count, VOXEL_FEATURES), np.float32)
        features[:, 0], features[:, -1] = 1, seen.by_returns
        features[:, 1:1 + KINDS] = seen.kinds[:, None] == np.arange(KINDS)
        features[:, 1 + KINDS:-1 - PARTS] = seen.earlier.reshape(count, -1)
        features[:, -1 - PARTS:-1] = seen.met
        return cls(*(torch.from_numpy(part) for part in (features, seen.flat, seen.kinds.astype(np.int64), seen.met)),
                   seen.grid.shape)

    def to(self, device: torch.device) -> VoxelInput:
        parts = self.features, self.flat, self.kinds, self.met
        return VoxelInput(*(sent(part, device) for part in parts), self.shape)


@dataclass(frozen=True)
class FallInput:
    """What may be filled of a later grid, M voxels, as the network takes it.

    Args:
        rows: [K] int64 where each of the chosen parts falls, M: nowhere.
        features: [M, FALL_FEATURES] float32; above, below: [M] int64, as in PartsFallen.
    """

    rows: Tensor
    features: Tensor
    above: Tensor
    below: Tensor

    @classmethod
    def of(cls, fallen: PartsFallen) -> FallInput:
        returns = np.append(np.log1p(fallen.returns) / RETURNS_SCALE, 0)
        columns = [fallen.nearest, returns[:-1], returns[:-1] > 0, returns[fallen.above], returns[fallen.below],
                   np.append(fallen.nearest, False)[fallen.above], np.append(fallen.nearest, False)[fallen.below]]
        features = np.stack(columns, axis=1).astype(np.float32)
        return cls(*(torch.from_numpy(part) for part in (fallen.rows.astype(np.int64), features,
                                                         fallen.above.astype(np.int64), fallen.below.astype(np.int64))))

    def to(self, device: torch.device) -> FallInput:
        return FallInput(*(sent(part, device) for part in vars(self).values()))


@dataclass(frozen=True)
class Matter:
    """What may fall, of K chosen parts: how probably matter is in each, [K], of which kind, [K] int64, and the
    logarithm of that none is, [K]; and whether the frame knows where returns were met, [1, 1]."""

    probability: Tensor
    kinds: Tensor
    log_none: Tensor
    by_returns: Tensor

    @classmethod
    def of(cls, probability: Tensor, shown: VoxelInput, numbers: Tensor) -> Matter:
        """Of some of all the parts, by their numbers [K] int64.

        Args:
            probability: [N, PARTS].
        """
        chosen = probability.flatten()[numbers]
        kinds = shown.kinds[torch.div(numbers, PARTS, rounding_mode="floor")]
        return cls(chosen, kinds, torch.log1p(-chosen.clamp(max=SURE)), shown.features[:1, -1:])


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions about their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, plane: Tensor) -> Tensor:
        """[1, C, X, Y] -> the same shape."""
        return (plane + self.second(self.first(plane).relu())).relu()


class LandingNetwork(nn.Module):
    """See the module.

    Args:
        height: voxels of the grids above each other.

    Attributes:
        threshold: [] float32, probability from which on a voxel is filled.
    """

    threshold: Tensor

    def __init__(self, settings: LandingSettings, height: int) -> None:
        super().__init__()
        channels, voxel, hidden = settings.channels, settings.voxel_channels, settings.hidden
        self.fold = nn.Sequential(nn.Linear(VOXEL_FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, voxel))
        self.stem = nn.Conv2d(height * voxel, channels, 1)
        self.fine, self.out = ResidualBlock(channels), ResidualBlock(channels)
        self.down, self.up = nn.Conv2d(channels, channels, 2, stride=2), nn.Conv2d(channels, channels, 1)
        self.coarse = nn.Sequential(ResidualBlock(channels), ResidualBlock(channels))
        self.about = nn.Conv2d(channels, height * voxel, 1)
        self.head = nn.Sequential(nn.Linear(2 * voxel + VOXEL_FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, PARTS))
        self.decide = nn.Sequential(nn.Linear(FALL_FEATURES + TOLD_FEATURES + 1, DECIDING), nn.ReLU(),
                                    nn.Linear(DECIDING, DECIDING), nn.ReLU(), nn.Linear(DECIDING, 1))
        self.register_buffer("threshold", torch.tensor(0.45))

    @property
    def device(self) -> torch.device:
        return self.threshold.device

    def parts(self, shown: VoxelInput) -> Tensor:
        """How probably matter is in each part, [N, PARTS]; surely where returns were met."""
        return self.probability(self.part_logits(shown), shown)

    def probability(self, logits: Tensor, shown: VoxelInput) -> Tensor:
        """`parts`, of the logits."""
        return torch.where(shown.met, SURE, logits.sigmoid())

    def part_logits(self, shown: VoxelInput) -> Tensor:
        """Of matter in each part, [N, PARTS], whether returns were met or not."""
        x, y, z = shown.shape
        voxels = self.fold(shown.features)
        width = voxels.shape[1]
        dense = voxels.new_zeros(x * y * z, width).index_copy(0, shown.flat, voxels)
        fine = self.fine(self.stem(dense.view(x, y, z * width).permute(2, 0, 1)[None]).relu())
        plane = fine
        if min(x, y) > 1:
            coarse = self.up(self.coarse(self.down(fine).relu()))
            plane = self.out((fine + functional.interpolate(coarse, size=(x, y), mode="nearest")).relu())
        about = self.about(plane)[0].permute(1, 2, 0).reshape(x * y * z, width)[shown.flat]
        return self.head(torch.cat([about, voxels, shown.features], dim=1)).float()  # sums follow

    def forward(self, matter: Matter, falls: FallInput) -> Tensor:
        """Logits [M] that a later voxel is filled."""
        return self.decide(self.told(matter, falls))[:, 0]

    def told(self, matter: Matter, falls: FallInput) -> Tensor:
        """What the second network is told of each later voxel, [M, FALL_FEATURES + TOLD_FEATURES + 1]."""
        chosen, count = matter.probability, len(falls.features)
        sums = chosen.new_zeros((count + 1) * KINDS).index_add(0, falls.rows * KINDS + matter.kinds, chosen)
        none = chosen.new_zeros(count + 1).index_add(0, falls.rows, matter.log_none)
        some = -torch.expm1(none)  # that something is in it, were parts independent
        some = torch.cat([some[:-1], some.new_zeros(1)])  # of what is nowhere: nothing
        told = torch.cat([sums.view(-1, KINDS)[:-1], some[:-1, None], some[falls.above, None], some[falls.below, None],
                          matter.by_returns.expand(count, 1)], dim=1)
        return torch.cat([falls.features, told], dim=1)

    def landings(self, history: Frames, grid: VoxelGrid, poses: Sequence[np.ndarray]) -> tuple[Landing, ...]:
        """As `landed`, of a present whose bodies stand."""
        return self.landed(history, grid, poses)[0]

    @torch.no_grad()
    def landed(self, history: Frames, grid: VoxelGrid, poses: Sequence[np.ndarray], bodies: Sequence[Body] = ()
               ) -> tuple[tuple[Landing, ...], DividedBodies | None]:
        """`occupancy.warp.landings` of a history's present, its voxels and their slots as the networks have them; and
        its bodies as they are laid into later grids, where the frame knows where returns were met. Where it does not,
        there is None: the parts of what moves are told too badly by voxels (docs/research/landing.md).

        Where something is perceived in a later grid itself (WideFrame.views) both have a say in whether a voxel is
        filled, by the logarithms of their odds (PERCEIVED_WEIGHT), and what it is has been perceived there.

        Sums are made on the host, which knows where parts fall: on a GPU they are in no order.
        """
        landed, present = landings(history[-1], grid, poses), history[-1]
        if not len(landed[0].labels):
            return landed, None
        seen, own = parts_seen(history, grid), landed[0].own
        slots = [body.slots[own[body.slots] < len(landed[0].labels)] for body in bodies] if seen.by_returns else []
        moving = [place for place in range(len(slots)) if bodies[place].velocity_m_per_s.any()]
        if moving:
            ages_s = np.array([frame.stamp_s - present.stamp_s for frame in looked_back(history)])
            back = world_motions([bodies[place] for place in moving], ages_s).swapaxes(0, 1)
            seen = seen_of_bodies(seen, history, grid, [own[slots[place]] for place in moving], back)
        shown = VoxelInput.of(seen)
        probability = self.parts(shown.to(self.device)).cpu()
        sure = probability.flatten().numpy()
        chosen = np.flatnonzero(sure > NEGLIGIBLE)
        chosen = chosen[_rising(sure[chosen])]
        of_voxels, matter = chosen // PARTS, Matter.of(probability, shown, torch.from_numpy(chosen))

        wide = present.wide

        def at(one: Landing, pose: np.ndarray) -> Landing:
            target_from_source = invert(pose) @ present.world_from_grid
            fallen = parts_fallen(seen, chosen, grid, target_from_source, one)
            logits, owners = self.decided(fallen, matter, of_voxels)
            view = wide and wide.view_at(pose)
            if view is not None:
                odds = (logits - self.threshold.logit()).cpu().numpy() + PERCEIVED_WEIGHT * view.odds[fallen.voxels]
                filled = fallen.voxels[odds > 0]
                slots = np.where(owners < 0, len(one.labels), owners)[odds > 0]
                return replace(one, voxels=filled, slots=slots, names=view.classes[filled])
            filled = self.filled(logits, owners)
            return replace(one, voxels=fallen.voxels[filled], slots=owners[filled])

        divided = DividedBodies(self, present, grid, slots, own, seen, shown, probability) if slots else None
        return tuple(at(one, pose) for one, pose in zip(landed, poses, strict=True)), divided

    def decided(self, fallen: PartsFallen, matter: Matter, of_voxels: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Of every later voxel [M] the logit that it is filled, and which of the present's voxels names it, -1 where
        none does: that of the last return, else of the last of the parts, which come the most probable one last.

        Args:
            of_voxels: [K] which voxel each of the parts is of.
        """
        logits = self.decide(self.told(matter, FallInput.of(fallen)).to(self.device))[:, 0]
        owners = np.full(len(fallen.voxels) + 1, -1)
        owners[fallen.rows] = of_voxels
        return logits, np.where(fallen.last_owner >= 0, fallen.last_owner, owners[:-1])

    def filled(self, logits: Tensor, owners: np.ndarray) -> np.ndarray:
        """Which later voxels [M] bool are filled, of what is `decided`: likely enough, and with a name."""
        return (logits.sigmoid() > self.threshold).cpu().numpy() & (owners >= 0)


def _rising(probability: np.ndarray) -> np.ndarray:
    """Places [K] in rising order of probabilities [K], to a byte of them: bytes are sorted in linear time."""
    return np.argsort((probability * 255).astype(np.uint8), kind="stable")


@dataclass(frozen=True)
class DividedBodies:
    """The bodies of a present that knows where returns were met, by the parts of their voxels.

    Args:
        slots: places [N] in the frame's arrays of those voxels of each body that have a known place; own: that of each
            of the frame's voxels (Landing.own).
        seen, shown, probability: of all that the frame knows: in which parts matter is, [L, PARTS].
    """

    network: LandingNetwork
    frame: OccupancyFrame
    grid: VoxelGrid
    slots: list[np.ndarray]
    own: np.ndarray
    seen: PartsSeen
    shown: VoxelInput
    probability: Tensor

    @torch.no_grad()
    def lay(self, volume: np.ndarray, bodies: np.ndarray, world_motions: np.ndarray, world_from_target: np.ndarray
            ) -> None:
        """Write bodies into a later grid, at which their parts and the returns of the last sweep arrive with them
        (`occupancy.motion.Lay`)."""
        known = [place for place, body in enumerate(bodies) if len(self.slots[body])]
        if not known:
            return
        slots, world_motions = [self.slots[bodies[place]] for place in known], world_motions[known]
        number = np.repeat(np.arange(len(slots)), [len(one) for one in slots])
        frame, grid, every = self.frame, self.grid, np.concatenate(slots)
        target_from_source = invert(world_from_target) @ world_motions @ frame.world_from_grid  # [B, 4, 4]
        rows, sure = self.own[every], self.probability.numpy()
        of_part, part = np.nonzero(sure[rows] > NEGLIGIBLE)
        order = _rising(sure[rows[of_part], part])
        of_part, part = of_part[order], part[order]
        centres = centres_moved_apart(grid.unflatten(frame.flat[every]), number, grid, target_from_source)
        offsets = target_from_source[:, :3, :3] @ OFFSETS  # [B, 3, PARTS]
        flat, inside = voxels_at((centres[:, of_part] + offsets[number[of_part], :, part].T).astype(np.float32), grid)
        fallen = numbers_of(flat, inside, grid)
        met, owners = self.returns(rows, number, target_from_source)
        whole, _ = moved_voxels(frame, grid, slots, world_motions, world_from_target)
        touched = np.unique(np.concatenate([fallen, met, whole])).astype(np.int64)
        touched = touched[touched < grid.num_voxels]
        found = fallen_into(touched, np.isin(touched, whole), fallen, met, owners, grid)
        matter = Matter.of(self.probability, self.shown, torch.from_numpy(rows[of_part] * PARTS + part))
        logits, owners = self.network.decided(found, matter, rows[of_part])
        filled = self.network.filled(logits, owners)
        volume.reshape(-1)[touched[filled]] = frame.wide.labels[owners[filled]]

    def returns(self, rows: np.ndarray, number: np.ndarray, target_from_source: np.ndarray
                 ) -> tuple[np.ndarray, np.ndarray]:
        """Which later voxels [R] the last sweep's returns from bodies fall into (outside: the number of the grid's
        voxels), and which known voxels they are in.

        Args:
            rows, number: [N] known places of the bodies' voxels, and which body each is of.
        """
        wide = self.frame.wide
        body = np.full(len(wide.flat), -1)
        body[rows] = number
        chosen = np.flatnonzero(wide.lately & (body[wide.owners] >= 0))
        poses = target_from_source[body[wide.owners[chosen]]]
        places_m = np.einsum("nij,jn->in", poses[:, :3, :3], wide.places_m[:, chosen]) + poses[:, :3, 3].T
        flat, inside = voxels_at((places_m - np.array(self.grid.origin_m)[:, None]) / self.grid.voxel_size_m, self.grid)
        return numbers_of(flat, inside, self.grid), wide.owners[chosen]
