"""Convolution and networks on a GPU: as on the CPU."""

import copy
from dataclasses import replace

import pytest
import torch
from convolution_cases import everything_of, random_case, random_sites
from small_bodies import disturbed
from torch.func import jvp

from occflow.grid import OCC3D_GRID
from occflow.models.flow_model import FlowModel
from occflow.models.networks import TrunkSettings, mean_loss
from occflow.sparse import gathered
from occflow.sparse.convolution import submanifold_convolution
from occflow.sparse.reference import gather_matmul_scatter
from studies.sparse_dense.street import street_window as street_window_of

pytestmark = pytest.mark.cuda
DEVICE = "cuda"
NEAR = 1e-3  # of the largest value


@pytest.fixture(autouse=True)
def in_float32():
    """Without TF32, whatever a training before has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far values are off, relative to the largest."""
    assert found.isfinite().all() and found.shape == expected.shape
    return float((found.double().cpu() - expected.double().cpu()).abs().max() / expected.abs().max().clamp(min=1e-6))


def on_gpu(values):
    return tuple(one.to(DEVICE) for one in values)


@pytest.mark.parametrize("bound", [gathered.MAX_GATHERED_BYTES, 27 * 4 * 16 * 100])
@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_the_convolution_and_all_its_derivatives(monkeypatch, dtype, near, bound):
    """At once, and a hundred rows at a time."""
    monkeypatch.setattr(gathered, "MAX_GATHERED_BYTES", bound)
    sites = random_sites((20, 18, 5), share=0.4)
    inputs, tangents = random_case(sites, dtype, (16, 32))
    expected = everything_of(gather_matmul_scatter, sites, inputs, tangents)
    found = everything_of(submanifold_convolution, sites.to(DEVICE), on_gpu(inputs), on_gpu(tangents))
    assert max(map(off, found, expected)) < near


def test_the_convolution_under_autocast():
    sites = random_sites((20, 18, 5), share=0.4)
    inputs, tangents = random_case(sites, torch.float32, (16, 32))
    expected = everything_of(gather_matmul_scatter, sites, inputs, tangents)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert submanifold_convolution(*on_gpu(inputs), sites.to(DEVICE)).dtype == torch.bfloat16
        found = everything_of(submanifold_convolution, sites.to(DEVICE), on_gpu(inputs), on_gpu(tangents))
    assert [one.dtype for one in found[1:3]] == [torch.float32] * 2
    assert max(map(off, found, expected)) < 0.05


def test_the_convolution_gives_the_same_twice():
    sites = random_sites((20, 18, 5), share=0.4).to(DEVICE)
    inputs, tangents = map(on_gpu, random_case(sites, torch.float32, (16, 32)))
    once, again = (everything_of(submanifold_convolution, sites, inputs, tangents) for _ in range(2))
    assert all(map(torch.equal, once, again))


@pytest.fixture()
def networks(small_settings):
    """A forecaster with the trunks of model=demo on the CPU, and the same on the GPU."""
    settings = replace(small_settings, history_channels=32, mean_trunk=TrunkSettings((32, 64, 96), (1, 2, 2)),
                       velocity_trunk=TrunkSettings((32, 64, 64), (1, 2, 2)))
    torch.manual_seed(0)
    own = disturbed(FlowModel(settings), 0.02).eval()
    return own, copy.deepcopy(own).to(DEVICE)


@pytest.mark.parametrize("grid", [None, OCC3D_GRID])
def test_a_layout_is_that_of_the_cpu(small_settings, grid):
    """To the last bit: tables, remainders, levels, neighbours."""
    settings = replace(small_settings, grid=grid or small_settings.grid)
    window = street_window_of(settings.grid, settings.num_history, settings.num_horizon, settings.frame_interval_s)
    own = FlowModel(settings).eval()
    expected, found = (one.observe(window.task).layout for one in (own, copy.deepcopy(own).to(DEVICE)))
    pairs = [(getattr(expected, name), getattr(found, name)) for name in
             ("history_table", "history_remainder", "unseen", "position")]
    for one, other in zip(expected.levels, found.levels):
        pairs += [(one.table, other.table), (one.sites.coords, other.sites.coords),
                  (gathered.neighbour_table(one.sites), gathered.neighbour_table(other.sites))]
        if one.pooling is not None:
            pairs += [(one.pooling.parent, other.pooling.parent), (one.pooling.slot, other.pooling.slot)]
    assert all(other.is_cuda and torch.equal(one, other.cpu()) for one, other in pairs)


def of_mean(forecaster: FlowModel, window) -> list[torch.Tensor]:
    """Mean and loss of a window, and the gradients."""
    observation = forecaster.observe(window.task, window.truth)
    forecast = forecaster.condition(observation).forecast
    loss = mean_loss(forecast, observation.target, 0.1)
    return [observation.base, observation.target, forecast.mean.detach(), forecast.scale.detach(), loss.detach(),
            *torch.autograd.grad(loss, list(forecaster.mean.parameters()))]


def of_velocity(forecaster: FlowModel, window) -> list[torch.Tensor]:
    """Average velocity, its derivative along the flow, and the gradients of a loss on both."""
    observation, device = forecaster.observe(window.task, window.truth), forecaster.device
    with torch.no_grad():
        condition = forecaster.condition(observation)
    generator = torch.Generator().manual_seed(0)
    x, tangent = (torch.randn(condition.forecast.mean.shape, generator=generator).to(device) for _ in range(2))
    times = [torch.tensor([value], device=device) for value in (0.3, 0.8, 0.5, 1.0)]
    value, derivative = jvp(lambda x, r, t: forecaster.velocity(x, r, t, condition.forecast, condition.layout),
                            (x, *times[:2]), (tangent, *times[2:]))
    loss = value.square().mean() + derivative.square().mean()
    found = torch.autograd.grad(loss, list(forecaster.velocity.parameters()), allow_unused=True)
    return [value.detach(), derivative.detach(), loss.detach(), *(one for one in found if one is not None)]


@pytest.mark.parametrize("part", [of_mean, of_velocity])
def test_a_network_and_its_gradients(networks, street_window, part):
    expected, found = (part(forecaster, street_window) for forecaster in networks)
    distances = list(map(off, found, expected))
    assert max(distances) < NEAR, distances


@pytest.mark.parametrize("part", [of_mean, of_velocity])
def test_a_network_under_autocast(networks, street_window, part):
    expected = part(networks[0], street_window)
    with torch.autocast(DEVICE, torch.bfloat16):
        found = part(networks[1], street_window)
    assert all(one.isfinite().all() for one in found)
    values = 4 if part is of_mean else 2
    assert max(map(off, found[:values], expected[:values])) < 0.1
