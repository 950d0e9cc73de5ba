"""The precision that trainings compute in, and the data's, which is full."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps

import torch

DEVICE_TYPES = ("cpu", "cuda")


def in_full_precision(function: Callable) -> Callable:
    """The function outside of autocast and without TF32: what is drawn inside of a step's autocast is not rounded as
    the step's own products are."""
    @wraps(function)
    def call(*arguments, **options):
        precision = torch.get_float32_matmul_precision()
        with ExitStack() as stack:
            for device in filter(torch.is_autocast_enabled, DEVICE_TYPES):
                stack.enter_context(torch.autocast(device, enabled=False))
            if precision != "highest":
                torch.set_float32_matmul_precision("highest")
                stack.callback(torch.set_float32_matmul_precision, precision)
            return function(*arguments, **options)

    return call
