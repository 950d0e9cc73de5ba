"""Damage to files, as disks, cables and editors do it."""

import numpy as np
import torch


def edited(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one random edit: bits flipped, bytes set, left out, put in, swapped, or the end cut off."""
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 20))
    some = rng.integers(256, size=length, dtype=np.uint8).tobytes()
    digits = str(rng.integers(10**length if length < 15 else 10**15)).encode()
    before, here, after = content[:place], content[place:place + length], content[place + length:]
    return (lambda: before + bytes([content[place] ^ (1 << int(rng.integers(8)))]) + content[place + 1:],
            lambda: before + some + after, lambda: before + digits + after, lambda: before + after, lambda: before,
            lambda: before + some + here + after, lambda: before + here[::-1] + after,
            lambda: content + some, lambda: before + here + here + after)[int(rng.integers(9))]()


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are the same, bit for bit."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(
        torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)))
