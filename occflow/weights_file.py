"""Weights in a safetensors file that tells what it is: a record (JSON) in the header, and digests of both.

Weights and record appear in one file at one instant, so that a crash cannot pair those of two trainings. The record
holds the digest of the tensors and the header that of the record: one flipped bit, and the file is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.records import one_line, parse_json

RECORD, CHECKSUM = "record", "sha256"  # names in the header: the JSON text, and its digest
WEIGHTS = "weights"  # name in the record: the digest of the tensors


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, types, shapes and values, in whatever order they are given."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_weights(path: Path, tensors: Mapping[str, Tensor], record: Mapping, outdated: Path | None = None) -> dict:
    """Write tensors and their record, durably: at any instant the former file or the new one stands whole.

    Args:
        outdated: a file about the former weights, removed just before the new ones appear.

    Returns:
        the record as it was written, the digest of the tensors added.

    Raises:
        InputError: it cannot be written (a full disk); what stood there stands.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    written = {**record, WEIGHTS: weights_digest(kept)}
    text = json.dumps(written, allow_nan=False)
    try:
        with atomic_file(path) as partial:
            save_file(kept, str(partial), {RECORD: text, CHECKSUM: _checksum(text)})
            if outdated is not None:
                outdated.unlink(missing_ok=True)
    except (SafetensorError, OSError) as error:  # safetensors has an error of its own for a full disk
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: cannot be written ({reason}); make room or name another folder, then run again: "
                         "what stood there stands") from None
    return written


def read_record(path: Path) -> dict:
    """The record of a file, without its tensors.

    Raises:
        ValueError: no such record, or not the one that was written.
    """
    return _open(path, with_tensors=False)[0]


def read_weights(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """The record and the tensors of a file, as they were written.

    Raises:
        ValueError: unreadable, without a record, or not as it was written.
    """
    record, tensors = _open(path, with_tensors=True)
    if record.get(WEIGHTS) != weights_digest(tensors):
        raise ValueError("the weights are not those that were written")
    return record, tensors


def _open(path: Path, with_tensors: bool) -> tuple[dict, dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if with_tensors else {}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(one_line(error)) from None
    if RECORD not in header:
        raise ValueError("it has no record of what it is: another program or an older version of occflow wrote it")
    if header.get(CHECKSUM) != _checksum(header[RECORD]):
        raise ValueError("the record is not the one that was written")
    record = parse_json(header[RECORD])
    if not isinstance(record, dict):
        raise ValueError("the record is no object")
    return record, tensors


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
