"""Bodies as networks take them: rows of a ragged batch, each with a view of where it was and of what lies ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from occflow.flow.sending import sent
from occflow.geometry import invert
from occflow.grid import FLAT_CLASSES, MOVABLE_CLASSES, NUM_CLASSES, VoxelGrid
from occflow.occupancy.bodies import Body, arcs
from occflow.occupancy.frame import OccupancyFrame

NEAR_SHAPE, NEAR_STEP_M = (28, 16), 0.5  # of a body's view of itself, along its heading and across, about its centre
AHEAD_SHAPE, AHEAD_STEP_M = (20, 20), 1.6  # of its view of the street
AHEAD_BEHIND_M = 6.4  # of which so much lies behind its centre
COARSER = 2  # columns of the grid along an edge of what it is looked up in
DRIVABLE = 11  # the class of roads
GROUPS = (  # channels of the view of the street; a column shows what is in it, several groups if need be
    (DRIVABLE,), tuple(label for label in FLAT_CLASSES if label != DRIVABLE), MOVABLE_CLASSES,
    tuple(label for label in range(NUM_CLASSES) if label not in (*FLAT_CLASSES, *MOVABLE_CLASSES)))
LENGTH_SCALE_M, SPEED_SCALE_M_PER_S, VIEW_SCALE_M = 5.0, 10.0, 40.0  # what attributes of the size of one mean
FARTHEST_M = 3.0  # a track's remainder that is larger says no more than that it is large
PAIR_FEATURES = 6


@dataclass(frozen=True)
class BodyScene:
    """The N bodies of B windows with P observed frames.

    Args:
        near: [N, P, *NEAR_SHAPE] share of movable matter about a body at every instant of the history, in its own frame
            there, as its track says: what is shifted between them the track has missed.
        ahead: [N, len(GROUPS), *AHEAD_SHAPE] what is in the columns around the body, in its present frame.
        attributes: [N, A] class, size, track, place.
        place: [N, 3] x, y (metres) and heading (radians) in the grid of the present.
        velocity: [N, 2] along and across the heading, m/s.
        sample: [N] int64, which window a body belongs to.
        num_samples: B.
    """

    near: Tensor
    ahead: Tensor
    attributes: Tensor
    place: Tensor
    velocity: Tensor
    sample: Tensor
    num_samples: int

    regions = ()  # bodies belong together as a whole window's alone

    def __len__(self) -> int:
        return len(self.sample)

    def to(self, device: torch.device) -> BodyScene:
        return replace(self, **{name: sent(getattr(self, name), device) for name in TENSORS})

    def pairs(self) -> Tensor:
        """What each body sees of every other, [N, N, PAIR_FEATURES]: place in its frame, heading, velocity."""
        x, y, heading = self.place.unbind(1)
        cos, sin = heading.cos(), heading.sin()
        apart = self.place[None, :, :2] - self.place[:, None, :2]
        turn = heading[None] - heading[:, None]
        own_x = (apart[..., 0] * cos[:, None] + apart[..., 1] * sin[:, None]) / VIEW_SCALE_M
        own_y = (apart[..., 1] * cos[:, None] - apart[..., 0] * sin[:, None]) / VIEW_SCALE_M
        speed = (self.velocity[:, 0] / SPEED_SCALE_M_PER_S).expand(len(x), -1)
        near = 1 / (1 + apart.square().sum(dim=2).sqrt() / LENGTH_SCALE_M)
        return torch.stack([own_x, own_y, turn.cos(), turn.sin(), speed, near], dim=2)

    def together(self) -> Tensor:
        """[N, N] bool: of one window."""
        return self.sample[:, None] == self.sample[None]

    def split(self, most_pairs: int) -> list[BodyScene]:
        """The scene; where its bodies make more pairs, some of its windows after the others, `sample` as it is here.

        A window, whose rows stand together, is never parted.
        """
        if len(self) ** 2 <= most_pairs:
            return [self]
        counts = [0]
        for count in self.sample.bincount().tolist():
            if counts[-1] and (counts[-1] + count) ** 2 > most_pairs:
                counts.append(0)
            counts[-1] += count
        return [replace(self, **dict(zip(TENSORS, part)))
                for part in zip(*(getattr(self, name).split(counts) for name in TENSORS))]


TENSORS = ("near", "ahead", "attributes", "place", "velocity", "sample")
SIDEWAYS = "sideways"  # attributes that change their sign where left is right


def attribute_names(num_history: int) -> list[str]:
    """Names of the attributes, in their order; those that end in SIDEWAYS point to the left."""
    return [*(f"class {label}" for label in MOVABLE_CLASSES), "voxels", "length", "width", "height", "speed",
            f"speed {SIDEWAYS}", f"turn {SIDEWAYS}", "confidence", "distance", "to the border",
            *(f"seen {i}" for i in range(num_history)),
            *(f"off {i}{end}" for i in range(num_history) for end in ("", f" {SIDEWAYS}"))]


def body_scene(history: tuple[OccupancyFrame, ...], bodies: Sequence[Body], grid: VoxelGrid) -> BodyScene:
    """The bodies of one window (B = 1), on the CPU."""
    present, count = history[-1], len(bodies)
    if not count:
        return BodyScene(torch.zeros(0, len(history), *NEAR_SHAPE), torch.zeros(0, len(GROUPS), *AHEAD_SHAPE),
                         torch.zeros(0, len(attribute_names(len(history)))), torch.zeros(0, 3), torch.zeros(0, 2),
                         torch.zeros(0, dtype=torch.int64), 1)
    poses = np.stack([body.world_from_body for body in bodies])
    velocity = np.stack([body.velocity_m_per_s for body in bodies])
    turn = np.array([body.yaw_rate_rad_per_s for body in bodies])
    since_s = np.array([frame.stamp_s - present.stamp_s for frame in history])
    there = poses[:, None] @ arcs(velocity, turn, since_s)  # [N, P, 4, 4]
    in_grid = invert(present.world_from_grid) @ poses
    place = np.stack([in_grid[:, 0, 3], in_grid[:, 1, 3], np.arctan2(in_grid[:, 1, 0], in_grid[:, 0, 0])], axis=1)
    near = torch.stack([_seen(_columns(frame, grid, [MOVABLE_CLASSES]), grid, invert(frame.world_from_grid) @ pose,
                              _points(NEAR_SHAPE, NEAR_STEP_M, NEAR_SHAPE[0] * NEAR_STEP_M / 2))[:, 0]
                        for frame, pose in zip(history, there.swapaxes(0, 1))], dim=1)
    street = functional.avg_pool2d(_columns(present, grid, GROUPS), COARSER, ceil_mode=True, count_include_pad=False)
    ahead = _seen(street, grid, in_grid, _points(AHEAD_SHAPE, AHEAD_STEP_M, AHEAD_BEHIND_M), COARSER)
    attributes = _attributes(bodies, present, grid, place, velocity, turn, there)
    as_tensor = [torch.from_numpy(one.astype(np.float32)) for one in (attributes, place, velocity)]
    return BodyScene(near, ahead, *as_tensor, torch.zeros(count, dtype=torch.int64), 1)


def _columns(frame: OccupancyFrame, grid: VoxelGrid, groups: Sequence[Sequence[int]]) -> Tensor:
    """[1, G, X, Y] float32: which columns hold a voxel of each group of classes."""
    columns = np.zeros((len(groups), grid.shape[0] * grid.shape[1]), dtype=np.float32)
    for row, labels in zip(columns, groups):
        row[frame.flat[np.isin(frame.labels, labels)] // grid.shape[2]] = 1
    return torch.from_numpy(columns).view(1, len(groups), *grid.shape[:2])


def _points(shape: tuple[int, int], step_m: float, behind_m: float) -> np.ndarray:
    """Places [L * W, 2], metres, of a view in a body's frame: along, from `behind_m` behind it, and across."""
    along = (np.arange(shape[0]) + 0.5) * step_m - behind_m
    across = (np.arange(shape[1]) - (shape[1] - 1) / 2) * step_m
    return np.stack(np.meshgrid(along, across, indexing="ij"), axis=-1).reshape(-1, 2)


def _seen(columns: Tensor, grid: VoxelGrid, grid_from_body: np.ndarray, points: np.ndarray, coarser: int = 1) -> Tensor:
    """Columns [1, C, X', Y'], each of so many of the grid along an edge, at points [L * W, 2] of bodies [N, 4, 4] ->
    [N, C, L, W]."""
    shape = NEAR_SHAPE if len(points) == NEAR_SHAPE[0] * NEAR_SHAPE[1] else AHEAD_SHAPE
    extent_m = np.array(columns.shape[2:]) * coarser * grid.voxel_size_m  # of an odd grid one column more
    wanted = np.empty((len(grid_from_body), len(points), 2), np.float32)
    for axis, (low_m, length_m) in enumerate(zip(grid.origin_m, extent_m)):  # einsum takes twelve times as long
        turned = grid_from_body[:, axis, :2, None] * points.T  # [N, 2, L * W]
        places = turned[:, 0] + turned[:, 1] + grid_from_body[:, axis, 3, None]
        wanted[..., 1 - axis] = 2 * (places - low_m) / length_m - 1  # grid_sample's first coordinate is the last axis
    wanted = torch.from_numpy(wanted)
    seen = functional.grid_sample(columns, wanted[None], align_corners=False)[0]  # [C, N, L * W]
    return seen.view(columns.shape[1], len(grid_from_body), *shape).transpose(0, 1)


def _attributes(bodies: Sequence[Body], present: OccupancyFrame, grid: VoxelGrid, place: np.ndarray,
                velocity: np.ndarray, turn: np.ndarray, there: np.ndarray) -> np.ndarray:
    """[N, A], see `attribute_names`."""
    count, sizes = len(bodies), np.array([len(body.slots) for body in bodies])
    labels = np.array([body.label for body in bodies])
    owner = np.repeat(np.arange(count), sizes)
    voxels = grid.centres(grid.unflatten(present.flat[np.concatenate([body.slots for body in bodies])]))
    body_from_grid = np.stack([invert(pose) for pose in there[:, -1]]) @ present.world_from_grid
    own = np.einsum("nij,nj->ni", body_from_grid[owner, :3, :3], voxels) + body_from_grid[owner, :3, 3]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    extents = np.maximum.reduceat(own, starts) - np.minimum.reduceat(own, starts) + grid.voxel_size_m
    centres = np.stack([body.centres_m for body in bodies])  # [N, P, 3]
    seen = np.isfinite(centres[..., 0])
    off = np.einsum("npji,npj->npi", there[..., :2, :2], centres[..., :2] - there[..., :2, 3])
    off = np.clip(np.where(seen[..., None], off, 0.0), -FARTHEST_M, FARTHEST_M)
    half_m = np.array(grid.shape[:2]) * grid.voxel_size_m / 2
    middle = np.array(grid.origin_m)[:2] + half_m
    to_border = (half_m - np.abs(place[:, :2] - middle)).min(axis=1) / LENGTH_SCALE_M
    return np.concatenate([
        labels[:, None] == np.array(MOVABLE_CLASSES), np.log1p(sizes)[:, None] / LENGTH_SCALE_M,
        extents / LENGTH_SCALE_M, velocity / SPEED_SCALE_M_PER_S, turn[:, None],
        np.array([[body.confidence] for body in bodies]),
        np.linalg.norm(place[:, :2], axis=1)[:, None] / VIEW_SCALE_M, np.clip(to_border, -1, 1)[:, None],
        seen, off.reshape(count, -1)], axis=1)


def mirrored_scene(scene: BodyScene, chosen: Tensor, num_history: int) -> BodyScene:
    """The scene with left for right in the windows `chosen` [B] bool."""
    rows = chosen[scene.sample]
    sideways = torch.tensor([name.split(" ")[-1] == SIDEWAYS for name in attribute_names(num_history)])
    signs = torch.where(sideways.to(rows.device), -1.0, 1.0)
    flipped = torch.tensor([1.0, -1.0, -1.0], device=rows.device)

    def where(mirrored: Tensor, plain: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (plain.dim() - 1)), mirrored, plain)

    return replace(scene, near=where(scene.near.flip(3), scene.near), ahead=where(scene.ahead.flip(3), scene.ahead),
                   attributes=where(scene.attributes * signs, scene.attributes),
                   place=where(scene.place * flipped, scene.place),
                   velocity=where(scene.velocity * flipped[:2], scene.velocity))


def join_scenes(scenes: Sequence[BodyScene]) -> BodyScene:
    """Batch the scenes of windows."""
    if len(scenes) == 1:
        return scenes[0]
    joined = {name: torch.cat([getattr(scene, name) for scene in scenes]) for name in TENSORS if name != "sample"}
    before = np.cumsum([0, *(scene.num_samples for scene in scenes)])
    sample = torch.cat([scene.sample + int(first) for scene, first in zip(scenes, before)])
    return BodyScene(**joined, sample=sample, num_samples=int(before[-1]))
