"""How well the autoencoder reconstructs frames that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from occflow.errors import InputError
from occflow.eval.iou import IoUCounts
from occflow.eval.sections import table
from occflow.models.flow_model import FlowModel
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.store import OccupancyStore

EVERY = 7  # frames of a held-out scene from one to the next that is reconstructed


@torch.no_grad()
def reconstruction(model: FlowModel, frames: Sequence[OccupancyFrame], noise: float = 0.0) -> dict:
    """IoU, mIoU and movable IoU of decoded codes, counts summed over the frames, and latent numbers a frame.

    Args:
        noise: standard deviations by which the latents are disturbed.
    """
    counts, numbers, generator = IoUCounts(1), 0, torch.Generator().manual_seed(0)
    for frame in frames:
        sites, latents = model.encode_frames((frame,))
        numbers += latents.numel()
        disturbance = torch.randn(latents.shape, generator=generator).to(latents)
        voxels, labels = model.autoencoder.decode(sites, latents + noise * disturbance, model.settings.grid.shape)
        decoded = OccupancyFrame(voxels.keys.cpu().numpy(), labels.cpu().numpy().astype("uint8"),
                                 frame.world_from_grid, frame.stamp_s)
        counts.add(0, decoded, frame)
    return {"iou": float(counts.iou()[0]), "miou": float(counts.miou(released_rule=False)[0]),
            "movable_iou": float(counts.movable_iou()[0]), "latent_numbers_a_frame": numbers / len(frames),
            "frames": len(frames)}


def held_out_frames(store: OccupancyStore, split: str = "val") -> list[OccupancyFrame]:
    """Every 7th frame of the held-out scenes, or of another split.

    Raises:
        InputError: there is none.
    """
    frames = [store.frame(scene, index) for scene, numbers in store.parts(split) for index in numbers[::EVERY]]
    if not frames:
        raise InputError(f"{store.path}: no frame of split '{split}' to reconstruct; build it from a log with held-out "
                         "drives, or name another data.store")
    return frames


def reconstruction_markdown(found: Mapping[str, Mapping]) -> str:
    """A table of reconstructions by the standard deviations that the latents were disturbed by."""
    rows = [[noise, *(f"{100 * one[name]:.1f}" for name in ("iou", "miou", "movable_iou")),
             f"{one['latent_numbers_a_frame']:.0f}", str(one["frames"])] for noise, one in found.items()]
    head = ("latents disturbed by", "IoU", "mIoU", "movable IoU", "latent numbers a frame", "frames")
    return "\n".join(table(head, rows)).rstrip()
