"""A forecaster of the shape of OccWorld (Zheng et al., arXiv:2311.16038), its networks untrained.

Sources: "config" config/occworld.py, "network" model/transformer/PlanUtransformer.py, "poses" .../pose_{encoder,
decoder}.py, "model" model/TransVQVAE.py (forward_autoreg_with_pose) of github.com/wzzheng/OccWorld (2c76bac, f728c9c).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from studies.peers import occworld_autoencoder
from studies.peers.occworld_autoencoder import OccWorldAutoencoder, OccWorldCoding

HISTORY, HORIZON = 5, 6  # frames: config, mid_frame and eval_length


@dataclass(frozen=True)
class OccWorldShape:
    """Sizes; the defaults are the published ones. `edge` is of the codes."""

    edge: int = 50  # config: img_shape
    frames: int = 15  # config: num_frames_
    code_channels: int = 128  # config: img_shape, pose_shape, tpe_dim
    widths: tuple[int, ...] = (128, 256, 512)  # config: channels
    codes: int = 512  # config: output_channel
    layers: int = 6  # config: temporal_attn_layers
    pose_layers: int = 2  # config: pose_attn_layers
    heads: int = 8  # network: num_heads
    modes: int = 3  # config: num_modes of a pose


PUBLISHED = OccWorldShape()


class AddedAttention(nn.Module):
    """Attention to a source, added and normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(width, heads, batch_first=True), nn.LayerNorm(width)

    def forward(self, rows: Tensor, source: Tensor, later: Tensor | None = None) -> Tensor:
        """[B, N, C], source [B, M, C], `later` [N, M] bool that is not seen -> [B, N, C]."""
        return self.norm(rows + self.attention(rows, source, source, need_weights=False, attn_mask=later)[0])


class AddedNetwork(nn.Module):
    """Two layers, four times as wide between, added and normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.norm(rows + self.network(rows))


class PlaneBlock(nn.Module):
    """Two 3 x 3 convolutions with ReLU and a skip; what comes in is normalised over `normed`, its last axes."""

    def __init__(self, normed: tuple[int, ...], channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(normed)
        self.first, self.second = (nn.Conv2d(wide, width, 3, padding=1) for wide in (channels, width))
        self.skip = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()

    def forward(self, plane: Tensor) -> Tensor:
        """[F, C, X, Y] -> [F, width, X, Y]."""
        return functional.relu(self.second(functional.relu(self.first(self.norm(plane)))) + self.skip(plane))


class WorldLevel(nn.Module):
    """What one level of the U-Net does with queries and tokens, planes [F, C, X, Y] and poses [1, F, C].

    Args:
        channels, width: that come in, and go out.
        edge: of the planes.
    """

    def __init__(self, channels: int, width: int, edge: int, shape: OccWorldShape) -> None:
        super().__init__()
        self.frames = nn.ModuleList(nn.ModuleList([AddedAttention(channels, shape.heads), AddedNetwork(channels)])
                                    for _ in range(shape.layers))
        self.planes = nn.Sequential(PlaneBlock((edge, edge), channels, width), PlaneBlock((edge, edge), width, width))
        self.poses = nn.ModuleList(nn.ModuleList([AddedAttention(channels, shape.heads),
                                                  AddedAttention(channels, shape.heads), AddedNetwork(channels)])
                                   for _ in range(shape.pose_layers))
        self.pose_out = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def forward(self, queries: Tensor, tokens: Tensor, poses: Tensor, pose_tokens: Tensor, later: Tensor, first: str
                ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same four; poses look at the queries as they come in ("poses" are `first`), or after these have looked at
        other frames ("frames")."""
        if first == "poses":
            poses = self.looked(poses, pose_tokens, queries, later)
        queries = self.over_frames(queries, tokens, later)
        if first == "frames":
            poses = self.looked(poses, pose_tokens, queries, later)
        return self.planes(queries), self.planes(tokens), self.pose_out(poses), self.pose_out(pose_tokens)

    def looked(self, poses: Tensor, pose_tokens: Tensor, queries: Tensor, later: Tensor) -> Tensor:
        """Poses that have looked at former ones and at the plane of their frame."""
        places = queries.flatten(2).transpose(1, 2)  # [F, X * Y, C]
        for over_time, over_places, network in self.poses:
            poses = over_time(poses, pose_tokens, later).transpose(0, 1)  # [F, 1, C]
            poses = network(over_places(poses, places)).transpose(0, 1)
        return poses

    def over_frames(self, queries: Tensor, tokens: Tensor, later: Tensor) -> Tensor:
        """Queries [F, C, X, Y] that have looked at the tokens of their place in former frames."""
        frames, channels, x, y = queries.shape
        rows, source = (plane.flatten(2).permute(2, 0, 1) for plane in (queries, tokens))  # [X * Y, F, C]
        for attention, network in self.frames:
            rows = network(attention(rows, source, later))
        return rows.permute(1, 2, 0).reshape(frames, channels, x, y)


class OccWorldTransformer(nn.Module):
    """Codes and poses of some frames, in; logits of the codes and poses of the frame after each of them, out."""

    def __init__(self, shape: OccWorldShape = PUBLISHED) -> None:
        super().__init__()
        widths, code = shape.widths, shape.code_channels
        edges = [shape.edge // 2**depth for depth in range(len(widths))]
        self.times, self.pose_times = (nn.Embedding(shape.frames + 1, code) for _ in range(2))
        self.down = nn.ModuleList(WorldLevel(*pair, edge, shape) for pair, edge in
                                  zip(pairwise((code, *widths[:-1])), edges))
        self.halve = nn.ModuleList(nn.Conv2d(width, width, 2, stride=2) for width in widths[:-1])
        before, last, edge = widths[-2], widths[-1], edges[-1]
        self.middle = nn.Sequential(PlaneBlock((before, edge, edge), before, last),
                                    PlaneBlock((last, edge, edge), last, last))
        self.pose_middle = nn.Sequential(nn.Linear(before, last), nn.ReLU(), nn.Linear(last, last), nn.ReLU())
        rising = list(pairwise(reversed(widths)))  # (512, 256), (256, 128)
        self.widen = nn.ModuleList(nn.ConvTranspose2d(*pair, 2, stride=2) for pair in rising)
        self.pose_up = nn.ModuleList(nn.Linear(*pair) for pair in rising)
        self.up = nn.ModuleList(WorldLevel(2 * width, width, edge, shape) for (_, width), edge in
                                zip(rising, reversed(edges[:-1])))
        self.out, self.pose_out = nn.Conv2d(widths[0], shape.codes, 3, padding=1), nn.Linear(widths[0], code)

    def forward(self, codes: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """[F, C, X, Y], [1, F, C] -> [F, codes, X, Y], [1, F, C]."""
        frames = len(codes)
        later = torch.ones(frames, frames, dtype=torch.bool, device=codes.device).triu(1)
        now, then = slice(frames), slice(1, frames + 1)
        queries, tokens = (codes + self.times.weight[part, :, None, None] for part in (then, now))
        poses, pose_tokens = (poses + self.pose_times.weight[part] for part in (then, now))
        skips = []
        for level, halve in zip(self.down, self.halve):
            queries, tokens, poses, pose_tokens = level(queries, tokens, poses, pose_tokens, later, "poses")
            skips.append((queries, tokens, poses, pose_tokens))
            queries, tokens = halve(queries), halve(tokens)
        queries, tokens = self.middle(queries), self.middle(tokens)
        poses, pose_tokens = self.pose_middle(poses), self.pose_middle(pose_tokens)
        for level, widen, pose_up in zip(self.up, self.widen, self.pose_up):
            skip = skips.pop()
            queries, tokens = (joined(widen(plane), other) for plane, other in zip((queries, tokens), skip))
            poses, pose_tokens = (torch.cat([pose_up(pose), other], dim=2) for pose, other in
                                  zip((poses, pose_tokens), skip[2:]))
            queries, tokens, poses, pose_tokens = level(queries, tokens, poses, pose_tokens, later, "frames")
        return self.out(queries), self.pose_out(poses)


def joined(plane: Tensor, skip: Tensor) -> Tensor:
    """[F, C, X, Y], padded to the plane [F, C', X', Y'] that it is joined with."""
    x, y = (wide - narrow for wide, narrow in zip(skip.shape[2:], plane.shape[2:]))
    return torch.cat([functional.pad(plane, (y // 2, y - y // 2, x // 2, x - x // 2)), skip], dim=1)


class OccWorld(nn.Module):
    """Classes and poses of some frames, in; classes of the frames to come, out, one after the other."""

    def __init__(self, coding: OccWorldCoding = occworld_autoencoder.PUBLISHED,
                 shape: OccWorldShape = PUBLISHED) -> None:
        super().__init__()
        code, self.modes = shape.code_channels, shape.modes
        self.autoencoder, self.transformer = OccWorldAutoencoder(coding), OccWorldTransformer(shape)
        self.pose_encoder = nn.Sequential(nn.Linear(2 + shape.modes, code), nn.ReLU(), nn.Linear(code, code))
        self.pose_decoder = nn.Sequential(nn.Linear(code, code), nn.ReLU(), nn.Linear(code, 2 * shape.modes))

    def encode(self, classes: Tensor) -> Tensor:
        """[F, X, Y, Z] int64 -> [F, C, X / 4, Y / 4]."""
        return self.autoencoder.encode(classes)

    def forecast(self, codes: Tensor, steps: Tensor, horizon: int = HORIZON) -> Tensor:
        """As published: frame by frame, each time from all before -> codes [horizon, C, X, Y].

        Args:
            codes: [F, C, X, Y]; steps: [1, F, 2] of the car, metres.
        """
        mode = functional.one_hot(torch.zeros(1, 1, dtype=torch.long, device=codes.device), self.modes).float()
        poses = self.pose_encoder(torch.cat([steps, mode.expand(-1, steps.shape[1], -1)], dim=2))
        for _ in range(horizon):
            logits, told = self.transformer(codes, poses)
            codes = torch.cat([codes, self.autoencoder.of_codes(logits[-1:].argmax(dim=1))])
            step = self.pose_decoder(told[:, -1:])[:, :, :2]
            poses = torch.cat([poses, self.pose_encoder(torch.cat([step, mode], dim=2))], dim=1)
        return codes[-horizon:]

    def labels(self, codes: Tensor) -> Tensor:
        """As published: all frames at once -> [F, X, Y, Z] int64."""
        return self.autoencoder.similarity(codes).argmax(dim=-1)

    def lean_labels(self, codes: Tensor) -> Tensor:
        """Frame by frame -> [F, X, Y, Z] int64."""
        return torch.cat([self.labels(one) for one in codes.split(1)])
