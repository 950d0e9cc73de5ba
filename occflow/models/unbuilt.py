"""How large a network would be, before there is memory for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from occflow.records import one_line


class _WithoutValues(TorchFunctionMode):
    """Tensors are not filled (initialisations end in an underscore). The few numbers that networks count out are made
    as ever: without memory that would import a second's worth of torch."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        if name == "arange":
            return function(*args, **{**kwargs, "device": "cpu"})
        if name.endswith("_") and not name.endswith("__") and not name.startswith("_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def unbuilt(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that `build` would make, its weights without memory or values.

    Raises:
        ValueError: sizes of which there can be no tensor.
    """
    try:
        with torch.device("meta"), _WithoutValues():
            return build()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"no network can be of such a size: {one_line(error)}") from None


def sizes_of(network: nn.Module) -> dict[str, str]:
    """Type and shape of every weight, by name."""
    return {name: size_of(tensor) for name, tensor in network.state_dict().items()}


def size_of(tensor: Tensor) -> str:
    """Type and shape, such as "float32[8, 3]"."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
