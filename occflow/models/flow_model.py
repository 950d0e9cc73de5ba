"""The forecaster: a task in, samples of its future out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from occflow.flow.share import Share
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.models.autoencoder import UNKNOWN, Autoencoder, at_sites
from occflow.models.coarse_cells import cell_grid, cell_of_voxel, cells_that_differ
from occflow.models.landing import LandingNetwork
from occflow.models.layout import Layout, join_layouts, joined_sites, move_layout
from occflow.models.motion import BodyMotions, MotionCondition, MotionModel
from occflow.models.networks import ConditionalFlow, MeanForecast, MeanNetwork, VelocityNetwork
from occflow.models.preparation import CPU, Bases, ModelSettings, Preparation, Prepared, Voxels
from occflow.models.support_head import SupportHead
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import BodiesApart
from occflow.occupancy.tasks import Target, Task
from occflow.sparse.sites import Sites, sites_from_keys

Encoding = tuple[Sites, Tensor]  # coarse sites of frames (block = frame) and their latents [M, C]

EXISTS, EMPTY = 1.0, -1.0  # values of the state's existence channel; the latent of an empty site is zero
STAYS, CHANGES = 1.0, -1.0  # values of its last channel, where it has one
SAME = 1e-3  # two codes that differ by less are of the same patch
ABOUT = 0.5  # standard deviation, in those of the latents, about a base that is not the one which the mean started from


def corrected(decoded: Voxels, decoded_base: Voxels, base: Voxels) -> Voxels:
    """`decoded` where it differs from `decoded_base`, and the base itself everywhere else.

    The autoencoder errs alike on a state and on the base that it hardly differs from. Decoding the difference takes
    that error out where nothing changes: a forecast that leaves the base as it is equals it exactly, in any code.
    Whether matter stays is the state's to say, what it is the base's: a voxel that both fill has the base's label
    (a code a little off names its voxels anew, each alone). Voxels of the base without a label take what was decoded
    there.
    """
    size = max(int(one.keys[-1]) + 1 if len(one.keys) else 0 for one in (decoded, decoded_base, base))
    found, coded, true = (one.volume(size) for one in (decoded, decoded_base, base))
    kept = (found == coded) | ((found != FREE) & (true != FREE))
    labels = torch.where(kept & (true != UNLABELLED), true, found)
    keys = (labels != FREE).nonzero()[:, 0]
    return Voxels(keys, labels[keys].long())


def classes_of(labels: Tensor) -> Tensor:
    """[NUM_CLASSES] bool, those that occur among labels [N] int64."""
    return torch.zeros(NUM_CLASSES, dtype=torch.bool, device=labels.device).index_fill_(0, labels, True)


@dataclass(frozen=True)
class Observation:
    """Windows as the networks take them.

    Args:
        layout: where things are.
        history_latents: [M, C] latents of the observed frames on layout.history.
        base: [N, S] on the support, the state that the mean starts from.
        target: [N, S] true state on the support; None where the future is not known.
        moved: the voxels that `base` encodes, F frames a window.
        forced, forced_target: [N, S] the base that the flow learns about, that of bodies moved as they truly moved,
            and the state that it learns; None: about `base`, and `target`.
        motions: of the bodies of one window; None where the base does not come from them.
        apart: the present of one window and its bodies, taken apart for samples of their motions.
    """

    layout: Layout
    history_latents: Tensor
    base: Tensor
    target: Tensor | None
    moved: tuple[OccupancyFrame, ...] = ()
    forced: Tensor | None = None
    forced_target: Tensor | None = None
    motions: BodyMotions | None = None
    apart: BodiesApart | None = None


def restated(state: Tensor, base: Tensor) -> Tensor:
    """A state [N, C + 2] with its last channel told anew: whether a site is exactly as in `base` [N, C + 2]."""
    same = (state[:, :-1] - base[:, :-1]).abs().amax(dim=1, keepdim=True) < SAME
    return torch.cat([state[:, :-1], torch.where(same, STAYS, CHANGES).to(state)], dim=1)


@dataclass(frozen=True)
class Condition:
    """What the flow is conditioned on: the layout, the mean forecast, and the base [N, S] that these are about.

    Most sites end up exactly as their base: the residual is a spike with rare far values, of which a sampled state is
    a noisy picture. With `stays` the state's last channel is the spike's own: where it is above zero the state is the
    base. Without, a state whose root mean square difference from the base is below `keep_within` is the base (hard
    thresholding: Donoho and Johnstone, Biometrika 81, 1994).

    `rows` says what the sites are of a batch that several processes share; None: all.
    """

    layout: Layout
    forecast: MeanForecast
    base: Tensor | None = None
    keep_within: float = 0.0
    stays: bool = False
    rows: Share | None = None

    @property
    def sample(self) -> Tensor:
        return self.layout.sample

    @property
    def weight(self) -> Tensor:
        """Weight [N, S] of the squared error in residual space: the state's own units, mean one.

        Without it a flow spends its capacity on the standardised noise of sites where nothing happens.
        """
        variance = self.forecast.scale**2
        return variance / (self.rows or Share.whole(len(variance))).joint_mean(variance)

    def residual(self, state: Tensor) -> Tensor:
        """State [N, S] -> standardised residual about the mean, the flow's data."""
        return (state - self.forecast.mean) / self.forecast.scale

    def state(self, residual: Tensor) -> Tensor:
        """The inverse of `residual`, with the base kept where it stays or is near."""
        state = self.forecast.mean + self.forecast.scale * residual
        if self.stays:
            return torch.where(state[:, -1:] > 0, self.base, state)
        if not self.keep_within:
            return state
        near = (state - self.base).square().mean(dim=1, keepdim=True) < self.keep_within**2
        return torch.where(near, self.base, state)

    def occupied(self, residual: Tensor) -> Tensor:
        """Sites [N] bool where something is in the state that a residual is of."""
        return self.state(residual)[:, -2 if self.stays else -1] > 0

    def about(self, base: Tensor) -> Condition:
        """The condition of a sample whose bodies move otherwise: where its base [N, S] is another one the flow goes
        about that, everywhere else about the mean."""
        other = (base - self.base).abs().amax(dim=1, keepdim=True) >= SAME
        mean, scale = self.forecast.mean, self.forecast.scale
        moved = replace(self.forecast, mean=torch.where(other, base, mean),
                        scale=torch.where(other, torch.full_like(scale, ABOUT), scale))
        return replace(self, forecast=moved, base=base)

    def without_history(self, dropped: Tensor) -> Condition:
        """What a network is shown where the history is dropped, [B] bool."""
        return replace(self, forecast=self.forecast.hidden(dropped[self.sample][:, None]))


class FlowModel(ConditionalFlow):
    """Autoencoder, mean network and velocity network, with the steps that join them."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        slots = [x * y * z for x, y, z in settings.support.level_strides]
        self.autoencoder = Autoencoder(settings.autoencoder)
        self.mean = MeanNetwork(settings.state_channels, settings.autoencoder.latent_channels,
                                settings.history_channels, settings.num_history, settings.num_horizon,
                                settings.mean_trunk, slots)
        self.velocity = VelocityNetwork(settings.state_channels, settings.mean_trunk.widths[0],
                                        settings.num_horizon, settings.velocity_trunk, slots)
        self.motion = MotionModel(settings.motion, settings.num_history, settings.num_horizon) \
            if settings.base == "bodies" else None
        levels = cell_grid(settings.grid, settings.autoencoder.total_stride).shape[2]
        self.support = SupportHead(settings.support.head_channels, levels) if settings.support.head_channels else None
        self.landing = LandingNetwork(settings.landing, settings.grid.shape[2]) if settings.landing.channels else None

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def preparation(self) -> Preparation:
        """What prepares windows for it."""
        return Preparation(self.settings, self.motion, support=self.support, landing=self.landing)

    def voxel_sites(self, frames: Frames, grid: VoxelGrid | None = None) -> tuple[Sites, Tensor]:
        """Voxels of the frames as one ragged batch: sites (block = frame), labels [N] int64 (UNLABELLED: UNKNOWN)."""
        grid = grid or self.settings.grid
        return self.sites_of(Voxels.of(frames, grid.num_voxels, CPU), grid, len(frames))

    def sites_of(self, voxels: Voxels, grid: VoxelGrid, num_frames: int) -> tuple[Sites, Tensor]:
        """As `voxel_sites`, of the voxels of so many frames."""
        voxels = voxels.to(self.device)
        return sites_from_keys(voxels.keys.long(), grid.shape, num_frames), voxels.labels.long().clamp(max=UNKNOWN)

    def encode_frames(self, frames: Frames, grid: VoxelGrid | None = None) -> Encoding:
        """Coarse sites and latents [M, C] of frames in the forecaster's grid, or in `grid`, a part of it."""
        return self._encode(*self.voxel_sites(frames, grid))

    def _encode(self, sites: Sites, labels: Tensor) -> Encoding:
        fast = torch.is_inference_mode_enabled() and not self.training
        return (self.autoencoder.encode_repeating if fast else self.autoencoder.encode)(sites, labels)

    def state_of(self, frames: Frames, support: Sites, grid: VoxelGrid) -> Tensor:
        """The state [N, S] of F frames on a support: latents (zero where empty) and existence; as a base it stays."""
        return self._state(self.encode_frames(frames, grid), support)

    def _state(self, encoding: Encoding, support: Sites) -> Tensor:
        sites, latents = encoding
        latents, found = at_sites(latents, sites, support)
        existence = torch.where(found, EXISTS, EMPTY)[:, None].to(latents)
        parts = [latents, existence] + ([torch.full_like(existence, STAYS)] if self.settings.stays else [])
        return torch.cat(parts, dim=1)

    def observe(self, task: Task, truth: Frames | None = None, encoded: Sequence[Encoding] | None = None,
                region: VoxelGrid | None = None, bases: Bases | None = None) -> Observation:
        """Lay out and encode a task, and for trainings the F true frames at its targets.

        Args:
            encoded: the encodings of the history's frames one by one, where a stream has kept them.
            region: the grid of the task's frames where they show a part of the forecaster's grid only (crops).
            bases: in that grid, where they are made already.
        """
        return self.observed(self.preparation.prepare(task, truth, encoded is None, region, bases), encoded)

    @torch.no_grad()
    def observed(self, prepared: Prepared, encoded: Sequence[Encoding] | None = None) -> Observation:
        """The second half of `observe`: lay out and encode what is prepared."""
        grid, (num_history, num_horizon) = prepared.grid, prepared.num_frames
        moved = prepared.base.to(self.device)

        def state(voxels: Voxels | None) -> Tensor | None:
            if voxels is None:
                return None
            return self._state(self._encode(*self.sites_of(voxels, grid, num_horizon)), layout.support)

        sites, latents = join_encodings(encoded) if encoded is not None else \
            self._encode(*self.sites_of(prepared.history, grid, num_history))
        layout = move_layout(prepared.layout, self.device) if prepared.layout is not None else \
            self.preparation.layout(prepared.outline.to(self.device), sites, grid, moved)
        base, target = state(moved), state(prepared.truth)
        if target is not None and self.settings.stays:
            target = restated(target, base)
        forced, forced_target = state(prepared.forced), state(prepared.forced_truth)
        if forced_target is not None and self.settings.stays:
            forced_target = restated(forced_target, forced)
        return Observation(layout, latents, base, target, prepared.moved, forced, forced_target,
                           prepared.motions, prepared.apart)

    def drawn(self, observation: Observation, condition: Condition, draw: Callable[[Tensor, MotionCondition], Tensor],
              generator: torch.Generator) -> tuple[Observation, Condition]:
        """An observed window and its condition for one sample of how its bodies move; itself where it has none.

        Args:
            draw: makes standardised motions [N, 3 F] of noise.
        """
        motions = observation.motions
        if motions is None or not motions.bodies:
            return observation, condition
        noise = torch.randn(motions.condition.forecast.mean.shape, generator=generator).to(self.device)
        return self.about(observation, condition, motions.condition.state(draw(noise, motions.condition)))

    @torch.no_grad()
    def about(self, observation: Observation, condition: Condition, motion: Tensor) -> tuple[Observation, Condition]:
        """An observed window and its condition for one sample of how its bodies move, [N, 3 F]: what is another patch
        than in the central base is encoded."""
        grid, stride = self.settings.grid, self.settings.autoencoder.total_stride
        moved, support = observation.apart.moved(observation.motions.world_motions(motion)), observation.layout.support
        other = [cells_that_differ(one, central, grid, stride) for one, central in zip(moved, observation.moved)]
        rows = torch.from_numpy(np.concatenate(other)).to(self.device)[support.keys]
        sites = sites_from_keys(support.keys[rows], support.shape, support.num_blocks)
        shown = tuple(frame.within(cells[cell_of_voxel(grid, stride)]) for frame, cells in zip(moved, other))
        base = observation.base.clone()
        base[rows] = self.state_of(shown, sites, grid)
        return replace(observation, base=base, moved=moved), condition.about(base)

    def condition(self, observation: Observation) -> Condition:
        """The mean forecast of observed windows."""
        forecast = self.mean(observation.history_latents, observation.base, observation.layout)
        return Condition(observation.layout, forecast, observation.base, self.settings.keep_within,
                         self.settings.stays)

    @torch.no_grad()
    def decode_state(self, state: Tensor, support: Sites, repeating: bool = False, classes: Tensor | None = None
                     ) -> Voxels:
        """The voxels of a state [N, S] of one window, by the autoencoder alone, of whatever class or of some
        [NUM_CLASSES] bool; `repeating`: the code of frames, in which the same patches come again and again."""
        channels = self.settings.autoencoder.latent_channels
        exists = state[:, channels] > 0
        kept = sites_from_keys(support.keys[exists], support.shape, support.num_blocks)
        decode = self.autoencoder.decode_repeating if repeating else self.autoencoder.decode
        sites, labels = decode(kept, state[exists, :channels], self.settings.grid.shape, classes)
        return Voxels(sites.keys, labels)

    def decoder(self, observation: Observation, targets: tuple[Target, ...]
                ) -> Callable[[Tensor], tuple[OccupancyFrame, ...]]:
        """What makes frames of states [N, S] of one observed window (`corrected`), at its `targets`.

        Nothing is of a class that nothing of the present is of: a sampled code that is a little off would else name
        a bicycle now and then where no bicycle is, in every street.
        """
        num_voxels, support = self.settings.grid.num_voxels, observation.layout.support
        base, whole = Voxels.of(observation.moved, num_voxels, self.device), observation.base

        def decode(state: Tensor) -> tuple[OccupancyFrame, ...]:
            other = (state != whole).any(dim=1) if known else torch.ones_like(state[:, 0], dtype=torch.bool)
            sites = sites_from_keys(support.keys[other], support.shape, support.num_blocks)
            decoded = self.decode_state(state[other], sites, classes=classes)
            decoded_base = self.decode_state(whole[other], sites, repeating=True)
            return corrected(decoded, decoded_base, base).frames(targets, num_voxels)

        known = not bool((base.labels == UNLABELLED).any())  # what has no label takes what is decoded there
        classes = classes_of(base.labels) if known and len(base.labels) else None
        return decode


def join_encodings(encodings: Sequence[Encoding]) -> Encoding:
    """Encodings of frames one by one -> that of all of them, as `encode_frames` gives it."""
    return joined_sites([sites for sites, _ in encodings]), torch.cat([latents for _, latents in encodings])


def join_observations(observations: list[Observation]) -> Observation:
    """Batch windows."""

    def joined(name: str) -> Tensor | None:
        parts = [getattr(observation, name) for observation in observations]
        return None if parts[0] is None else torch.cat(parts)

    return Observation(join_layouts([observation.layout for observation in observations]), joined("history_latents"),
                       joined("base"), joined("target"),
                       tuple(frame for observation in observations for frame in observation.moved), joined("forced"),
                       joined("forced_target"))
