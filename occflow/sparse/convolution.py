"""The submanifold convolution, by spconv on CPUs and as one matrix product on GPUs, with both derivatives.

The only file where spconv is imported, whichever build of it; without it all runs by sparse.gathered. `ConvAlgo.Native`
is its algorithm that runs on CPUs.
"""

from __future__ import annotations

import functools
import itertools
import math
import multiprocessing
import warnings

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from occflow.sparse import gathered
from occflow.sparse.sites import Rulebook, Sites

with warnings.catch_warnings():  # spconv 2.3.6 uses torch.cuda.amp.custom_fwd, deprecated but working
    warnings.simplefilter("ignore", FutureWarning)
    try:
        from spconv.core import ConvAlgo
        from spconv.pytorch import ops
        SPCONV_ON = ("cpu",)  # types of devices where spconv computes; by one product GPUs are faster
    except ModuleNotFoundError:
        SPCONV_ON, ConvAlgo, ops = (), None, None

KERNEL = [3, 3, 3]
ONES, ZEROS = [1, 1, 1], [0, 0, 0]


class KernelWeight(nn.Module):
    """The holder of a kernel: `weight` [C_out, 3, 3, 3, C_in], its layout and initialisation spconv's (Kaiming's
    for 27 C_in inputs, as torch's convolutions have it)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, *KERNEL, in_channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))


def rulebook_of(sites: Sites) -> Rulebook:
    """The rulebook of the 3 x 3 x 3 kernel on `sites`, built at the first call and kept with them."""
    if sites.rulebook is None:
        _, pairs, counts = ops.get_indice_pairs(sites.coords, sites.num_blocks, list(sites.shape), ConvAlgo.Native,
                                                KERNEL, ONES, ONES, ONES, ZEROS, subm=True)
        sites.rulebook = Rulebook(pairs, counts)
    return sites.rulebook


def submanifold_convolution(features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
    """Features [N, C_in] on `sites`, weight [C_out, 3, 3, 3, C_in] -> [N, C_out].

    Differentiable once in reverse (features and weight), in forward mode (torch.func.jvp, torch.autograd.forward_ad),
    and in reverse through a forward-mode derivative. Computed in the weight's precision, by a product under autocast in
    that of autocast; spconv knows no bfloat16.
    """
    if len(sites) == 0:  # spconv refuses; the product keeps both derivatives
        return features @ weight[:, 1, 1, 1].t()
    if torch.is_inference_mode_enabled() and not features.is_cuda and fills_its_volume(sites):
        return convolution_of_volume(features, weight, sites)
    device = features.device.type
    halved = not by_spconv(features) and weight.dtype == torch.float32 and torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False):
        return _Submanifold.apply(features.to(torch.get_autocast_dtype(device) if halved else weight.dtype), weight,
                                  sites)


def by_spconv(features: Tensor) -> bool:
    """Whether spconv computes the convolution of these."""
    return features.device.type in SPCONV_ON


@functools.cache
def say_that_spconv_lacks() -> None:
    """Warn once, in the main process and not in its workers, that the slower way is taken on a CPU."""
    if multiprocessing.parent_process() is None:
        warnings.warn("spconv is not installed (it has wheels for x86-64 alone): sparse convolutions run by torch, "
                      "slower on a CPU", stacklevel=2)


def fills_its_volume(sites: Sites) -> bool:
    """Whether a dense convolution, with the layers along z folded into the channels, does less than twice the work that
    the sites need: then it is faster on a CPU, whose sparse one gathers and scatters for every kernel offset."""
    x, y, z = sites.shape
    return 2 * len(sites) * (3 * z - 2) > sites.num_blocks * x * y * z**3


def convolution_of_volume(features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
    """`submanifold_convolution` by a dense one in the plane; sums are in another order. Holds the whole volume."""
    shape, depth = (sites.num_blocks, *sites.shape[:2], -1), sites.shape[2]
    volume = features.new_zeros(sites.num_blocks * math.prod(sites.shape), features.shape[1])
    volume = volume.index_copy_(0, sites.keys, features).view(shape).permute(0, 3, 1, 2)  # [blocks, Z * C, X, Y]
    kernel = weight.new_zeros(depth, len(weight), depth, weight.shape[4], 3, 3)
    for own, other in itertools.product(range(depth), repeat=2):
        if abs(own - other) <= 1:
            kernel[own, :, other] = weight[:, :, :, other - own + 1].permute(0, 3, 1, 2)
    kernel = kernel.flatten(2, 3).flatten(0, 1).to(memory_format=torch.channels_last)
    result = functional.conv2d(volume, kernel, padding=1).permute(0, 2, 3, 1)
    return result.reshape(-1, len(weight)).index_select(0, sites.keys)


class _Submanifold(Function):
    """The convolution. It is bilinear in features and weight, so its derivative along a tangent is the same call.

    Rulebook and table are fetched in here and not by the caller: under torch.func's transforms the caller's tensors are
    wrapped, and a library behind a pointer cannot fill wrapped ones.
    """

    @staticmethod
    def forward(features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        if not by_spconv(features):
            if features.device.type == "cpu":
                say_that_spconv_lacks()
            return gathered.convolved(features, weight, gathered.neighbour_table(sites))
        book = rulebook_of(sites)
        return ops.indice_conv(features.contiguous(), weight.contiguous(), book.pairs, book.counts, len(features),
                               False, True, algo=ConvAlgo.Native)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        features, weight, ctx.sites = inputs
        ctx.save_for_backward(features, weight)
        ctx.save_for_forward(features, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple:
        features, weight = ctx.saved_tensors
        if not by_spconv(features):
            table, (for_features, for_weight, _) = gathered.neighbour_table(ctx.sites), ctx.needs_input_grad
            return (gathered.gradient_in_features(gradient, weight, table) if for_features else None,
                    gathered.gradient_in_weight(features, gradient, weight, table) if for_weight else None, None)
        book = rulebook_of(ctx.sites)
        of_features, of_weight = ops.indice_conv_backward(features.contiguous(), weight.contiguous(),
                                                          gradient.contiguous(), book.pairs, book.counts, False, True,
                                                          algo=ConvAlgo.Native)
        return of_features, of_weight, None

    @staticmethod
    def jvp(ctx, features_tangent: Tensor | None, weight_tangent: Tensor | None, _: None) -> Tensor:
        features, weight = ctx.saved_tensors
        tangents = []
        if features_tangent is not None:
            tangents.append(_Submanifold.apply(features_tangent, weight, ctx.sites))
        if weight_tangent is not None:
            tangents.append(_Submanifold.apply(features, weight_tangent, ctx.sites))
        return sum(tangents)
