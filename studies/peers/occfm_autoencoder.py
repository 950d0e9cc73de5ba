"""An autoencoder of the shape of OccFM's, which makes each frame 16 numbers a column of 4 x 4 voxels, and back.

Sources, each number from: "config" tools/cfgs/compressor_configs/vae_swin_x16_h16.yaml, which tools/cfgs/occfm.yaml of
github.com/Orbis36/OccFM-NeurIPS2025 (9f5e457) names; "embedding" forecast/models/modules/embedding/
voxel_height_sem_embed.py, "encoder" .../encoders/SwinSingleFrameDownV2.py, "decoder" .../decoders/
SwinSingleFrameUpV2.py, "blocks" .../base/{attn_base,res_layersbase,swin_transformerbase,others}.py. That repository
has these modules compiled alone; their text is in its copy github.com/mpourkeshavarz/OccFM (56011af, eaf462e).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from studies.peers.windows import WindowBlock


@dataclass(frozen=True)
class OccFMCoding:
    """Sizes; the defaults are the published ones.

    Args:
        edge: voxels along x and y; a fourth of it is a multiple of `window`.
        heights: voxels above each other.
        encoder_blocks, decoder_blocks: of each level, in the order in which they run.
    """

    edge: int = 200  # config: IMG_SIZE
    heights: int = 16  # config: HEIGHT_NUM
    classes: int = 18  # config: NUM_CATE
    class_channels: int = 8  # config: FEAT_DIM
    height_channels: int = 4  # embedding: half of them
    width: int = 128  # config: ENCODER_DIM, PATCH_EMBED_DIM of encoder and decoder, OUT_DIM of the decoder
    latent_channels: int = 16  # config: LATENT_DIM
    encoder_blocks: tuple[int, ...] = (2, 6)  # config: DEPTH
    decoder_blocks: tuple[int, ...] = (6, 2)
    window: int = 5  # encoder, decoder: window_size
    heads: int = 8  # encoder, decoder: heads
    widening: int = 4  # config: MLP_RATIO
    head_channels: int = 64  # blocks: dim_head of the attention over all columns


PUBLISHED = OccFMCoding()


def normalisation(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32 if channels > 32 else channels // 4, channels, eps=1e-6)


class Residual(nn.Module):
    """Two 3 x 3 convolutions with a normalisation between them, added to what comes in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm = normalisation(channels)

    def forward(self, plane: Tensor) -> Tensor:
        """[F, C, X, Y] -> [F, C, X, Y]."""
        return plane + self.second(functional.silu(self.norm(self.first(plane))))


class PlaneAttention(nn.Module):
    """Attention among all columns of a frame."""

    def __init__(self, channels: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_channels
        self.norm = normalisation(channels)
        self.query, self.key_value = nn.Linear(channels, inner, bias=False), nn.Linear(channels, 2 * inner, bias=False)
        self.mixed = nn.Linear(inner, channels, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, plane: Tensor) -> Tensor:
        """[F, C, X, Y] -> [F, C, X, Y]."""
        columns = self.norm(plane).flatten(2).transpose(1, 2)  # [F, N, C]
        parts = (self.query(columns), *self.key_value(columns).chunk(2, dim=2))
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return plane + self.out(self.mixed(mixed).transpose(1, 2).reshape(plane.shape))


class Level(nn.Module):
    """Window blocks, every second one shifted, and a residual block."""

    def __init__(self, coding: OccFMCoding, channels: int, edge: int, blocks: int) -> None:
        super().__init__()
        shift = coding.window // 2 if edge > coding.window else 0
        self.blocks = nn.Sequential(*(WindowBlock(channels, coding.heads, coding.window, edge, number % 2 * shift,
                                                  coding.widening) for number in range(blocks)))
        self.residual = Residual(channels)

    def forward(self, plane: Tensor) -> Tensor:
        """[F, C, X, Y] -> [F, C, X, Y]."""
        return self.residual(self.blocks(plane.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def middle(coding: OccFMCoding, channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels), PlaneAttention(channels, coding.heads, coding.head_channels),
                         Residual(channels))


class Encoder(nn.Module):
    """Classes of the voxels to mean and logarithm of the variance of the latents."""

    def __init__(self, coding: OccFMCoding) -> None:
        super().__init__()
        width, edge = coding.width, coding.edge
        self.heights = nn.Parameter(torch.randn(coding.heights, coding.height_channels), requires_grad=False)  # waves
        column = coding.heights * (coding.class_channels + coding.height_channels)
        self.columns = nn.Conv2d(column, width, 3, padding=1)
        self.patches, self.patch_norm = nn.Conv2d(width, width, 1), nn.LayerNorm(width)
        self.places = nn.Parameter(torch.zeros(1, edge, edge, width))
        self.levels, self.down = nn.ModuleList(), nn.ModuleList()
        for blocks in coding.encoder_blocks:
            self.levels.append(Level(coding, width, edge, blocks))
            self.down.append(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
            width, edge = 2 * width, edge // 2
        self.narrow = nn.Conv2d(width, width // 4, 3, padding=1)
        self.middle = middle(coding, width // 4)
        self.norm, self.out = normalisation(width // 4), nn.Conv2d(width // 4, 2 * coding.latent_channels, 3, padding=1)

    def forward(self, embedded: Tensor) -> Tensor:
        """Embedded classes [F, X, Y, Z, C] -> [F, 2 * latents, X / 4, Y / 4]."""
        voxels = torch.cat([embedded, self.heights.expand(*embedded.shape[:3], -1, -1)], dim=-1)
        plane = self.patches(self.columns(voxels.permute(0, 4, 3, 1, 2).flatten(1, 2)))
        plane = (self.patch_norm(plane.permute(0, 2, 3, 1)) + self.places).permute(0, 3, 1, 2)
        for level, down in zip(self.levels, self.down):
            plane = down(level(plane))
        return self.out(functional.silu(self.norm(self.middle(self.narrow(plane)))))


class Decoder(nn.Module):
    """Latents to embedded classes."""

    def __init__(self, coding: OccFMCoding) -> None:
        super().__init__()
        width, edge = coding.width, coding.edge // 2 ** len(coding.decoder_blocks)
        self.enter = nn.Conv2d(coding.latent_channels, width, 3, padding=1)
        self.middle = middle(coding, width)
        self.levels, self.up = nn.ModuleList(), nn.ModuleList()
        for blocks in coding.decoder_blocks:
            self.levels.append(Level(coding, width, edge, blocks))
            self.up.append(nn.Conv2d(width, width, 3, padding=1))
            edge *= 2
        self.norm = normalisation(width)
        self.out = nn.Conv2d(width, coding.heights * coding.class_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[F, latents, X / 4, Y / 4] -> [F, Z * C, X, Y]."""
        plane = self.middle(self.enter(latents))
        for level, up in zip(self.levels, self.up):
            plane = up(functional.interpolate(level(plane), scale_factor=2.0, mode="nearest"))
        return self.out(functional.silu(self.norm(plane)))


class OccFMAutoencoder(nn.Module):
    """Frames of classes to latents and back to the similarity of each voxel with each class."""

    def __init__(self, coding: OccFMCoding = PUBLISHED) -> None:
        super().__init__()
        self.coding = coding
        self.classes = nn.Embedding(coding.classes, coding.class_channels)
        self.encoder, self.decoder = Encoder(coding), Decoder(coding)

    def encode(self, classes: Tensor) -> Tensor:
        """[F, X, Y, Z] int64 -> a sample of the latents [F, C, X / 4, Y / 4]."""
        mean, log_variance = self.encoder(self.classes(classes)).chunk(2, dim=1)
        return mean + (log_variance / 2).exp() * torch.randn_like(mean)

    def similarity(self, latents: Tensor) -> Tensor:
        """[F, C, X / 4, Y / 4] -> [F, X, Y, Z, classes]."""
        voxels = self.decoder(latents).permute(0, 2, 3, 1).unflatten(3, (self.coding.heights, -1))
        return voxels @ self.classes.weight.T
