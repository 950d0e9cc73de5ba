"""Random cases of the submanifold convolution, and all that is to be right of it."""

import torch
from torch.func import jvp

from occflow.sparse.sites import Sites, sites_from_keys

SHAPE = (6, 5, 3)


def random_sites(shape=SHAPE, num_blocks: int = 2, share: float = 0.5, seed: int = 1) -> Sites:
    cells = num_blocks * shape[0] * shape[1] * shape[2]
    volume = torch.rand(cells, generator=torch.Generator().manual_seed(seed)) < share
    return sites_from_keys(volume.nonzero()[:, 0], shape, num_blocks)


def random_case(sites: Sites, dtype=torch.float64, channels: tuple[int, int] = (4, 5)):
    """Features and weight, and a tangent of each; results are about one."""
    features, features_tangent = torch.randn(2, len(sites), channels[0], dtype=dtype).unbind()
    weight, weight_tangent = torch.randn(2, channels[1], 3, 3, 3, channels[0], dtype=dtype).unbind()
    scale = (27 * channels[0]) ** -0.5
    return (features, scale * weight), (features_tangent, scale * weight_tangent)


def everything_of(convolve, sites: Sites, inputs, tangents) -> list[torch.Tensor]:
    """Value and gradients of a convolution, its forward-mode derivative along both, and the gradients of that."""
    inputs = [one.clone().requires_grad_() for one in inputs]
    value = convolve(*inputs, sites)
    plain = torch.autograd.grad(value.sin().sum(), inputs)
    _, derivative = jvp(lambda x, w: convolve(x, w, sites).tanh(), tuple(inputs), tangents)
    return [value.detach(), *plain, derivative.detach(), *torch.autograd.grad(derivative.square().sum(), inputs)]
