"""Two devices on a machine that has one: host tensors are marked, all others are taken to be on the networks' device.

Inside `TwoDevices` an operation on tensors of both fails as it would with a real second device; `.to`, `.cpu()` and the
`device` of a factory move between them. What passes here mixes no devices.
"""

import sys
from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from occflow.sparse import convolution

DEVICE, HOST = torch.device("cpu", 0), torch.device("cpu")  # told apart by their index; torch runs both alike
INDEXING = ("__getitem__",)  # takes indices of the host for values of a device


class Host(torch.Tensor):
    """A tensor in the host's memory."""

    __torch_function__ = torch._C._disabled_torch_function_impl


class Mixed(AssertionError):
    """Tensors of both devices in one operation."""


class TwoDevices(TorchFunctionMode):
    """Use as a context; the networks' device is DEVICE."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        tensors = list(_tensors((args, kwargs)))
        if function == torch.Tensor.device.__get__:
            return HOST if isinstance(args[0], Host) else DEVICE
        if function in _device_constructors():
            return self._made(function, args, kwargs)
        if name in ("to", "cpu", "cuda", "type_as"):
            return _as(function(*args, **kwargs), self._target(name, args, kwargs))
        if name in ("numpy", "__array__") and not isinstance(args[0], Host):
            raise Mixed(f"{name} of a tensor on the device")
        self._refuse_mixed(name, tensors)
        on_host = bool(tensors) and isinstance(tensors[0], Host)
        return _as(function(*args, **kwargs), on_host) if name != "copy_" else function(*args, **kwargs)

    def _made(self, function, args, kwargs):
        asked, generator = kwargs.get("device"), kwargs.get("generator")
        on_host = asked is None or torch.device(asked) != DEVICE
        if not on_host and generator is not None:
            raise Mixed(f"{function.__name__} on the device with a generator of the host")
        return _as(function(*args, **kwargs), on_host)

    def _target(self, name, args, kwargs) -> bool:
        if name == "cpu":
            return True
        for value in (*args[1:], *kwargs.values()):
            if isinstance(value, torch.Tensor):
                return isinstance(value, Host)
            if isinstance(value, (torch.device, str)):
                return torch.device(value) != DEVICE
        return isinstance(args[0], Host)

    def _refuse_mixed(self, name: str, tensors: list) -> None:
        if name in ("copy_", "__get__", "__set__", "load_state_dict"):
            return
        hosts = [isinstance(one, Host) for one in tensors if one.dim() > 0]
        if any(hosts) and not all(hosts) and not (name in INDEXING and not hosts[0]):
            raise Mixed(f"{name} of tensors of both devices")


WAITING = {"item", "tolist", "numpy", "__array__", "cpu", "__bool__", "__float__", "__int__", "__index__", "nonzero",
           "is_nonzero", "unique", "masked_select", "equal", "allclose", "repeat_interleave"}
UNCOUNTED = ("sending.py", "clip_grad.py")  # copies: torch's clipping takes a gradient's device for the host's here


class Waits(TwoDevices):
    """Counts, by name, the calls for which the host's thread waits for a GPU: those that need a value or a size which
    the device alone knows, and copies between the two that are not `sent`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        on_device = [one for one in args if isinstance(one, torch.Tensor) and not isinstance(one, Host)]
        masks = name in ("__getitem__", "__setitem__") and any(
            one.dtype == torch.bool and not isinstance(one, Host) and one.dim() for one in _tensors(args[1:2]))
        if on_device and args[0] is on_device[0] and (name in WAITING or masks):
            self.found[name] += 1
        result = super().__torch_function__(function, types, args, kwargs)
        if name in ("to", "type_as", "copy_") and isinstance(args[0], Host) != isinstance(result, Host) and (
                not sys._getframe(1).f_code.co_filename.endswith(UNCOUNTED)):
            self.found["to the device" if isinstance(args[0], Host) else "to the host"] += 1
        return result


def moved_when_registered(monkeypatch) -> None:
    """Parameters and buffers are on the networks' device from the start: whoever makes a network moves it."""
    modules = torch.nn.Module
    parameter, buffer = modules.register_parameter, modules.register_buffer

    def register_parameter(module, name, value):
        on_device = value is not None and isinstance(value.data, Host)
        parameter(module, name, torch.nn.Parameter(_as(value.data, False), value.requires_grad) if on_device else value)

    monkeypatch.setattr(modules, "register_parameter", register_parameter)
    monkeypatch.setattr(modules, "register_buffer", lambda module, name, value, persistent=True:
                        buffer(module, name, _as(value, False), persistent))


def libraries_of_one_device(monkeypatch) -> None:
    """spconv works where what it is given is."""
    def on_one(name: str) -> None:
        function = getattr(convolution.ops, name)

        def call(*arguments, **options):
            given = [isinstance(one, Host) for one in _tensors((arguments, options)) if name != "get_indice_pairs"]
            if any(given) and not all(given):
                raise Mixed(f"{name} of tensors of both devices")
            with torch._C.DisableTorchFunction():
                return _as(function(*arguments, **options), isinstance(arguments[0], Host))

        monkeypatch.setattr(convolution.ops, name, call)

    for name in ("get_indice_pairs", "indice_conv", "indice_conv_backward") if convolution.SPCONV_ON else ():
        on_one(name)


def _tensors(values):
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list, dict)):
            yield from _tensors(value)


def _as(value, on_host: bool):
    if isinstance(value, torch.Tensor):
        if isinstance(value, Host) == on_host:
            return value
        return value.as_subclass(Host if on_host else torch.Tensor)
    if type(value) in (tuple, list):
        return type(value)(_as(one, on_host) for one in value)
    if isinstance(value, tuple):  # torch.return_types
        return type(value)([_as(one, on_host) for one in value])
    return value
