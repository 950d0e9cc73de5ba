"""Forward-mode derivatives of the sparse layers and of a whole velocity network."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch.func import functional_call, jvp

from occflow.flow.identities import terminal_velocity
from occflow.models.flow_model import FlowModel
from occflow.models.student_networks import around
from occflow.sparse.convolution import submanifold_convolution
from occflow.sparse.layers import LayerNorm
from occflow.sparse.reference import gather_matmul_scatter
from occflow.sparse.sites import Sites, sites_from_keys

SHAPE = (6, 5, 3)
STEP = 1e-5  # of central differences in float64: error some 1e-10


def random_sites() -> Sites:
    volume = torch.rand(2 * 6 * 5 * 3, generator=torch.Generator().manual_seed(1)) < 0.5
    return sites_from_keys(volume.nonzero()[:, 0], SHAPE, 2)


@pytest.fixture()
def case():
    """Sites, then features and weight with a tangent each, float64."""
    torch.manual_seed(0)
    sites = random_sites()
    features, features_tangent = torch.randn(2, len(sites), 4).double().unbind()
    weight, weight_tangent = torch.randn(2, 3, 3, 3, 3, 4).double().unbind()
    return sites, (features, weight), (features_tangent, weight_tangent)


def central_difference(function, inputs, tangents, step=STEP):
    ahead = function(*(x + step * tangent for x, tangent in zip(inputs, tangents)))
    behind = function(*(x - step * tangent for x, tangent in zip(inputs, tangents)))
    return (ahead - behind) / (2 * step)


def test_the_derivative_along_features_is_the_convolution_of_the_tangent(case):
    sites, (features, weight), (tangent, _) = case
    _, derivative = jvp(lambda x: submanifold_convolution(x, weight, sites), (features,), (tangent,))
    assert torch.equal(derivative, submanifold_convolution(tangent, weight, sites))


def test_the_derivative_along_features_and_weight_equals_twin_and_central_differences(case):
    sites, inputs, tangents = case
    value, derivative = jvp(lambda x, w: submanifold_convolution(x, w, sites), inputs, tangents)
    _, of_twin = jvp(lambda x, w: gather_matmul_scatter(x, w, sites), inputs, tangents)
    differences = central_difference(lambda x, w: submanifold_convolution(x, w, sites), inputs, tangents)
    assert torch.allclose(value, gather_matmul_scatter(*inputs, sites), rtol=1e-12)
    assert torch.allclose(derivative, of_twin, rtol=1e-12, atol=1e-12)
    assert torch.allclose(derivative, differences, atol=1e-8)


def test_dual_numbers_give_the_same_derivative(case):
    sites, inputs, tangents = case
    _, expected = jvp(lambda x, w: submanifold_convolution(x, w, sites), inputs, tangents)
    with forward_ad.dual_level():
        dual = submanifold_convolution(*map(forward_ad.make_dual, inputs, tangents), sites)
        assert torch.equal(forward_ad.unpack_dual(dual).tangent, expected)


def test_reverse_mode_passes_gradcheck(case):
    sites, inputs, _ = case
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(lambda x, w: submanifold_convolution(x, w, sites), inputs, fast_mode=True,
                                    check_forward_ad=True)


def test_weights_are_trained_through_a_forward_derivative(case):
    """A loss on du/dt (MeanFlow without stop-gradient) has the twin's gradient."""
    sites, (features, weight), (tangent, _) = case
    found = []
    for convolve in (submanifold_convolution, gather_matmul_scatter):
        trained = weight.clone().requires_grad_()
        value, derivative = jvp(lambda x, w=trained, f=convolve: f(x, w, sites).tanh(), (features,), (tangent,))
        found.append(torch.autograd.grad(value.sum() + derivative.pow(2).sum(), trained)[0])
    assert torch.allclose(*found, rtol=1e-10)


@pytest.fixture()
def velocity_case(small_settings, street_window):
    """u(x, r, t) of a velocity network with no zero-initialised layer left, its inputs and tangents; float64."""
    torch.manual_seed(0)
    model = FlowModel(small_settings).eval()
    condition = model.condition(model.observe(street_window.task))
    for parameter in model.velocity.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    network = model.velocity.double()
    forecast = type(condition.forecast)(*(getattr(condition.forecast, name).detach().double()
                                          for name in ("mean", "scale", "features")))
    x = torch.randn(forecast.mean.shape).double()
    inputs = (x, torch.tensor([0.3]).double(), torch.tensor([0.8]).double())
    tangents = (torch.randn_like(x), torch.tensor([0.5]).double(), torch.tensor([1.0]).double())
    return network, forecast, condition.layout, inputs, tangents


def test_velocity_network_derivative_equals_central_differences(velocity_case):
    network, forecast, layout, inputs, tangents = velocity_case
    with torch.no_grad():
        _, derivative = jvp(lambda x, r, t: network(x, r, t, forecast, layout), inputs, tangents)
        differences = central_difference(lambda x, r, t: network(x, r, t, forecast, layout), inputs, tangents)
    assert derivative.abs().max() > 0.1
    assert torch.allclose(derivative, differences, atol=1e-6, rtol=1e-6)


KINDS = {"norms": ("norm.",), "times": ("time", "interval", "modulation"), "convolutions": ("conv.",),
         "mixing": (".mix.",), "all": ("",)}
RECORDS = {"plain": None, "posterior": {"kind": "posterior"}, "transition": {"kind": "transition"}}


def average_velocity(network, part, context, x):
    """u(x, r, t) of the network, or of the flow that one with parts of its own has beside it."""
    decided = torch.tensor([0.6], dtype=x.dtype)
    if part == "posterior":
        return lambda y, r, s: network.posterior(y, r, s, x.flip(0), decided, *context)
    return network.transition(x.flip(0), decided, *context) if part == "transition" else (
        lambda x, r, t: network(x, r, t, *context))


@pytest.mark.parametrize("part", RECORDS)
@pytest.mark.parametrize("along", ["the later time", "the flow"])
def test_gradients_of_a_derivative_equal_central_differences(velocity_case, part, along):
    """The gradient of <w, du> in the parameters, along a random direction in those of each kind. `terminal_velocity` is
    trained by it."""
    base, forecast, layout, inputs, tangents = velocity_case
    network, context, w = around(base, RECORDS[part]).double(), (forecast, layout), torch.randn_like(inputs[0])
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    tangents = tangents if along == "the flow" else (0 * inputs[0], torch.ones(1).double(), torch.zeros(1).double())

    def moved() -> torch.Tensor:
        return (w * jvp(average_velocity(network, part, context, inputs[0]), inputs, tangents)[1]).sum()

    parameters = dict(network.named_parameters())
    gradients = dict(zip(parameters, torch.autograd.grad(moved(), parameters.values(), allow_unused=True)))
    for kind, words in KINDS.items():
        directions = {name: torch.randn_like(parameter) for name, parameter in parameters.items()
                      if any(word in name for word in words)}
        touched = [name for name in directions if gradients[name] is not None]
        found = sum((gradients[name] * directions[name]).sum().item() for name in touched)
        size = sum(gradients[name].pow(2).sum().item() for name in touched) ** 0.5  # of `found`, which may be near zero
        sums = []
        for step in (STEP, -2 * STEP, STEP):
            for name, direction in directions.items():
                parameters[name].data += step * direction
            with torch.no_grad():
                sums.append(moved().item())
        assert abs(found - (sums[0] - sums[1]) / (2 * STEP)) < 1e-5 * size, kind


def test_the_objective_of_terminal_velocity_has_the_gradient_of_its_differences(velocity_case):
    """As it is trained, |u - (t - r) d/dr u|^2, in the weights of each norm along their gradient."""
    network, forecast, layout, inputs, _ = velocity_case

    def loss() -> torch.Tensor:
        _, _, moving = terminal_velocity(lambda x, r, t: network(x, r, t, forecast, layout), *inputs, layout.sample)
        return moving.pow(2).mean()

    for norm in (module for module in network.modules() if isinstance(module, LayerNorm)):
        [gradient] = torch.autograd.grad(loss(), [norm.weight])
        before, differences = norm.weight.data.clone(), []
        for sign in (1, -1):
            norm.weight.data = before + sign * STEP * gradient / gradient.norm()
            with torch.no_grad():
                differences.append(loss().item())
        norm.weight.data = before
        assert gradient.norm().item() == pytest.approx((differences[0] - differences[1]) / (2 * STEP), rel=1e-5)


def test_every_parameter_is_trained_by_a_loss_on_the_derivative(velocity_case):
    network, forecast, layout, inputs, tangents = velocity_case
    parameters = dict(network.named_parameters())

    def velocity(x, r, t):
        return functional_call(network, parameters, (x, r, t, forecast, layout))

    value, derivative = jvp(velocity, inputs, tangents)
    gradients = torch.autograd.grad((value + derivative).pow(2).mean(), parameters.values(), allow_unused=True)
    untouched = [name for name, gradient in zip(parameters, gradients) if gradient is None or not gradient.any()]
    assert untouched == []
