"""Bytes <-> fewer bytes, without trust in what a file says of their size: frames of occupancy, sweeps of recordings."""

from __future__ import annotations

import lzma

# A small dictionary bounds the memory of a reader; a larger effort than this saves 6 % and takes five times as long.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 4, "dict_size": 1 << 18, "lc": 3, "lp": 0, "pb": 0, "nice_len": 32,
            "mf": lzma.MF_BT4}]
PACKING_BYTES = 1 << 16  # what compressing may add to what it cannot compress, beside a hundredth of it


def most_packed(size: int) -> int:
    """What so many bytes take at most when they are compressed, by `pack` or deflated: some cannot be."""
    return size + size // 100 + PACKING_BYTES


def pack(payload: bytes) -> bytes:
    """Compressed bytes."""
    return lzma.compress(payload, lzma.FORMAT_RAW, filters=FILTERS)


def unpack(data: bytes, size: int) -> bytes:
    """Bytes that must be `size` long, and are not unpacked further if they are not.

    Raises:
        ValueError, lzma.LZMAError: other bytes than `pack` made, or of another size.
    """
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    payload = decompressor.decompress(data, max_length=size + 1)
    if len(payload) != size or not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"does not unpack to the {size} bytes that it should")
    return payload
