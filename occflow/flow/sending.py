"""From the host's memory to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, place: torch.device | Tensor) -> Tensor:
    """Values on a device, or on a tensor's and of its type. Of a GPU, whose work is queued, the host's thread waits for
    none of it."""
    device = place.device if isinstance(place, Tensor) else place
    if isinstance(place, Tensor):
        values = values.to(place.dtype)
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
