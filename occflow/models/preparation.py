"""What the host does of a forecast or a training item: bodies are found and moved, frames made ready for a device that
lays them out and encodes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from occflow.grid import FREE, VoxelGrid
from occflow.models.autoencoder import AutoencoderSettings
from occflow.models.body_scene import body_scene
from occflow.models.coarse_cells import cells_of
from occflow.models.landing import DividedBodies, LandingNetwork, LandingSettings
from occflow.models.layout import Layout, build_layout
from occflow.models.motion import BodyMotions, MotionModel, MotionSettings, shown_bodies
from occflow.models.networks import TrunkSettings
from occflow.models.support import Outline, Proposal, SupportSettings, outline_of
from occflow.models.support_head import SupportHead
from occflow.occupancy.bodies import Body, world_motions
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import BodiesApart, Lay
from occflow.occupancy.tasks import Target, Task
from occflow.occupancy.warp import Landing, landings
from occflow.sparse.sites import Sites, cells_held, pool_shape, sites_from_keys

CPU = torch.device("cpu")
BASES = ("bodies", "tracked", "persistence", "empty")  # what the mean starts from: bodies moved as the motion networks
# foresee, or as they were tracked, a static world, nothing


@dataclass(frozen=True)
class ModelSettings:
    """All that shapes the networks; stored beside the weights and compared when they are loaded."""

    grid: VoxelGrid
    num_history: int
    num_horizon: int
    frame_interval_s: float
    autoencoder: AutoencoderSettings
    support: SupportSettings
    history_channels: int
    mean_trunk: TrunkSettings
    velocity_trunk: TrunkSettings
    base: str = "tracked"  # one of BASES
    keep_within: float = 0.0  # see Condition
    stays: bool = False  # whether the state tells by a channel of its own that a site is exactly its base
    motion: MotionSettings = MotionSettings()  # of the networks behind base "bodies"
    landing: LandingSettings = LandingSettings()  # of the network that moves the present into later grids

    @property
    def state_channels(self) -> int:
        return self.autoencoder.latent_channels + 1 + self.stays


@dataclass(frozen=True)
class Voxels:
    """Occupied voxels of F frames: sorted keys [V] int64 (frame * voxels of the grid + place), labels [V] int64; fewer
    bytes each where they are `compact`."""

    keys: Tensor
    labels: Tensor

    @classmethod
    def of(cls, frames: tuple[OccupancyFrame, ...], num_voxels: int, device: torch.device) -> Voxels:
        keys = np.concatenate([frame.flat + i * num_voxels for i, frame in enumerate(frames)])
        labels = np.concatenate([frame.labels for frame in frames]).astype(np.int64)
        return cls(torch.from_numpy(keys).to(device), torch.from_numpy(labels).to(device))

    def to(self, device: torch.device) -> Voxels:
        return Voxels(self.keys.to(device), self.labels.to(device))

    def compact(self) -> Voxels:
        """For the way to a device: a third of the bytes."""
        last = int(self.keys[-1]) if len(self.keys) else 0
        return Voxels(self.keys.int() if last < 2**31 else self.keys, self.labels.to(torch.uint8))

    def volume(self, size: int) -> Tensor:
        """Labels [size] uint8 at the keys 0, 1, ...; FREE where nothing is."""
        volume = torch.full((size,), FREE, dtype=torch.uint8, device=self.keys.device)
        return volume.index_copy_(0, self.keys, self.labels.to(torch.uint8))

    def frames(self, targets: tuple[Target, ...], num_voxels: int) -> tuple[OccupancyFrame, ...]:
        """As frames at the targets, whose voxels are numbered one frame after the other."""
        keys, labels = self.keys.cpu().numpy(), self.labels.cpu().numpy().astype(np.uint8)
        bounds = np.searchsorted(keys, np.arange(len(targets) + 1) * num_voxels)
        return tuple(OccupancyFrame(keys[a:b] - i * num_voxels, labels[a:b], target.world_from_grid, target.stamp_s)
                     for i, (target, a, b) in enumerate(zip(targets, bounds[:-1], bounds[1:])))


@dataclass(frozen=True)
class Bases:
    """What a training makes of a window's present itself: F frames each at the targets.

    Args:
        central: what the mean starts from.
        forced, truth: what the flow learns about, and the future that it learns then; None: about `central`.
    """

    central: Frames
    forced: Frames | None = None
    truth: Frames | None = None


@dataclass(frozen=True)
class Prepared:
    """A window whose frames are still to be laid out and encoded: all that needs no large network.

    Args:
        grid: of the frames.
        outline: what the layout is made of, besides the history; layout: where it is made already, in place of it.
        history, base, truth, forced, forced_truth: voxels to encode, of the P observed and of F frames; None where
            there is nothing to encode. See Observation, as for `moved`, `motions` and `apart`.
    """

    grid: VoxelGrid
    outline: Outline | None
    layout: Layout | None
    history: Voxels | None
    base: Voxels
    truth: Voxels | None
    forced: Voxels | None
    forced_truth: Voxels | None
    moved: Frames
    motions: BodyMotions | None = None
    apart: BodiesApart | None = None

    @property
    def num_frames(self) -> tuple[int, int]:
        """P and F."""
        shape = self.outline or self.layout
        return shape.num_history, shape.num_horizon


@dataclass(frozen=True)
class Preparation:
    """What prepares windows: the forecaster's settings, its networks of motions, the head that thins out the support,
    and the network that moves the present (None: it has none).

    Args:
        lays_out: whether it builds the layouts too; else whoever encodes the frames does, on the networks' device.
    """

    settings: ModelSettings
    motion: MotionModel | None
    lays_out: bool = False
    support: SupportHead | None = None
    landing: LandingNetwork | None = None

    def on_host(self, lays_out: bool) -> Preparation:
        """The same with a copy of the networks on the CPU."""
        motion, support, landing = (one and copy.deepcopy(one).cpu() for one in (self.motion, self.support,
                                                                                  self.landing))
        return replace(self, motion=motion, lays_out=lays_out, support=support, landing=landing)

    def landings(self, task: Task, grid: VoxelGrid) -> tuple[Landing, ...]:
        """Where a task's present lands at its targets, its bodies too."""
        return self.landed(task, grid)[0]

    def landed(self, task: Task, grid: VoxelGrid, bodies: Sequence[Body] = ()
               ) -> tuple[tuple[Landing, ...], DividedBodies | None]:
        """Where a task's present lands at its targets, and what its bodies are moved by: as the network has it, where
        there is one."""
        if self.landing is None:
            return landings(task.present, grid, task.poses), None
        return self.landing.landed(task.history, grid, task.poses, bodies)

    @torch.no_grad()
    def layout(self, outline: Outline, history: Sites, grid: VoxelGrid, base: Voxels) -> Layout:
        """That of a window, on the device of its outline.

        Args:
            history: the coarse sites of its observed frames.
            base: the voxels of its moved present, F frames.
        """
        settings = self.settings

        def thinned(proposal: Proposal) -> Tensor:
            return self.support.thinned(proposal, self.held(base, grid, proposal.shape[0]))

        return build_layout(outline, history, grid, settings.autoencoder.total_stride, settings.support, settings.grid,
                            thinned if self.support is not None else None)

    def held(self, base: Voxels, grid: VoxelGrid, num_frames: int) -> Tensor:
        """What the voxels of a moved present fill of the coarse cells, for the head (`SupportHead.held`)."""
        stride = self.settings.autoencoder.total_stride
        return self.support.held(base.keys.long(), base.labels.long(), grid.shape, stride, num_frames)

    @torch.no_grad()
    def prepare(self, task: Task, truth: Frames | None = None, with_history: bool = True,
                region: VoxelGrid | None = None, bases: Bases | None = None) -> Prepared:
        """Make a task ready; see `FlowModel.observe`. All but `motions` is on the host.

        Args:
            with_history: whether the history is to be encoded.
        """
        settings, grid = self.settings, region or self.settings.grid
        motions, apart = self.motions(task, grid) if bases is None and self.motion is not None else None, None
        if bases is None:
            landed, divided = self.landed(task, grid, motions.bodies if motions else ())
            apart = taken_apart(task, grid, motions.slots, landed, divided and divided.lay) if motions else None
            bases = Bases(self._base(task, grid, landed) if apart is None else
                          apart.moved(motions.world_motions(motions.condition.forecast.mean)))
        else:
            landed = landings(task.present, grid, task.poses)
        moved = bases.central
        stride = settings.autoencoder.total_stride
        cells = [cells_of([one.touched, *(frames[index].flat for frames in (moved, bases.forced) if frames)], grid,
                          stride) for index, one in enumerate(landed)]
        outline = outline_of(task.history, task.poses, task.seconds, torch.from_numpy(np.concatenate(cells)), grid,
                             stride, settings.support)
        if settings.base == "empty":
            moved = tuple(replace(frame, flat=frame.flat[:0], labels=frame.labels[:0]) for frame in moved)
        voxels = [None if frames is None else Voxels.of(frames, grid.num_voxels, CPU).compact()
                  for frames in (task.history if with_history else None, moved, truth, bases.forced, bases.truth)]
        layout = None
        if self.lays_out:
            sites = self._history_sites(voxels[0], len(task.history), grid)
            layout, outline = self.layout(outline, sites, grid, voxels[1]), None
        return Prepared(grid, outline, layout, *voxels, moved, motions, apart)

    def _history_sites(self, voxels: Voxels, num_frames: int, grid: VoxelGrid) -> Sites:
        """Coarse sites of observed frames, as the encoder finds them."""
        stride = self.settings.autoencoder.total_stride
        held = cells_held(voxels.keys.long(), grid.shape, stride, num_frames)
        return sites_from_keys(held.nonzero()[:, 0], pool_shape(grid.shape, stride), num_frames)

    @torch.no_grad()
    def motions(self, task: Task, grid: VoxelGrid | None = None) -> BodyMotions:
        """The bodies of a task's present, and the central forecast of how they move."""
        grid = grid or self.settings.grid
        bodies = shown_bodies(task, grid)
        scene = body_scene(task.history, bodies, grid).to(self.motion.device)
        return BodyMotions(bodies, task.seconds, self.motion.condition(scene))

    def _base(self, task: Task, grid: VoxelGrid, landed: Sequence[Landing]) -> Frames:
        """The present at a task's targets where no network moves its bodies: by rules, as `settings.base` says."""
        bodies = shown_bodies(task, grid) if self.settings.base == "tracked" else ()
        followed = world_motions(bodies, task.seconds).swapaxes(0, 1)
        return moved_as(task, grid, [body.slots for body in bodies], followed, landed)


def moved_as(task: Task, grid: VoxelGrid, slots: list[np.ndarray], motions: np.ndarray,
             landed: Sequence[Landing] | None = None) -> Frames:
    """The present of a task at its targets, bodies, given by their `slots` in it, moved by motions [N, F, 4, 4] in the
    world."""
    return taken_apart(task, grid, slots, landed or landings(task.present, grid, task.poses)).moved(motions)


def taken_apart(task: Task, grid: VoxelGrid, slots: list[np.ndarray], landed: Sequence[Landing],
                lay: Lay | None = None) -> BodiesApart:
    """The present of a task and its bodies, given by their `slots` in it."""
    return BodiesApart(task.present, grid, slots, task.poses, [target.stamp_s for target in task.targets], landed, lay)
