"""A record with tensors as two pieces: its tensors' bytes one after the other, and all else. So it goes through a pipe
without shared memory or a file a tensor, and onto a device by one copy."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 16  # bytes; every tensor begins at a multiple


@dataclass(frozen=True)
class Packed:
    """A record from this or another process of this program, never from a file.

    Args:
        rest: the record pickled, with places in `tensors` in place of tensors.
        tensors: [N] uint8.
    """

    rest: bytes
    tensors: Tensor | np.ndarray

    @classmethod
    def of(cls, record: Any) -> Packed:
        """Tensors must be on the host."""
        stream = io.BytesIO()
        pickler = _Pickler(stream)
        pickler.dump(record)
        return cls(stream.getvalue(), np.frombuffer(pickler.tensors, dtype=np.uint8))

    @property
    def num_bytes(self) -> int:
        return len(self.rest) + self.tensors.nbytes

    def pin_memory(self) -> Packed:
        """The same in page-locked memory, from which copies to a CUDA device overlap with work."""
        return replace(self, tensors=_as_tensor(self.tensors).pin_memory())

    def record(self, device: torch.device) -> Any:
        """The record with all its tensors on a device; they share one block of memory."""
        return _Unpickler(self.rest, _as_tensor(self.tensors).to(device, non_blocking=True)).load()


def _as_tensor(tensors: Tensor | np.ndarray) -> Tensor:
    return torch.from_numpy(tensors) if isinstance(tensors, np.ndarray) else tensors


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=5)
        self.tensors = bytearray()

    def persistent_id(self, value: Any) -> tuple[int, torch.dtype, tuple[int, ...]] | None:
        if not isinstance(value, Tensor):
            return None
        start = len(self.tensors)
        self.tensors += value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        self.tensors += bytes(-len(self.tensors) % ALIGNMENT)
        return start, value.dtype, tuple(value.shape)


class _Unpickler(pickle.Unpickler):
    def __init__(self, rest: bytes, tensors: Tensor) -> None:
        super().__init__(io.BytesIO(rest))
        self.tensors = tensors

    def persistent_load(self, place: tuple[int, torch.dtype, tuple[int, ...]]) -> Tensor:
        start, dtype, shape = place
        stop = start + dtype.itemsize * int(np.prod(shape))
        return self.tensors[start:stop].view(dtype).view(shape)
