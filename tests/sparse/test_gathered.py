"""The convolution as one gather and one product: what runs on GPUs, here on the CPU."""

import subprocess
import sys
import warnings

import pytest
import torch
from convolution_cases import SHAPE, everything_of, random_case, random_sites
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.sparse import convolution, gathered, reference
from occflow.sparse.convolution import KernelWeight, submanifold_convolution
from occflow.sparse.sites import Sites, sites_from_keys


@pytest.fixture()
def without_spconv(monkeypatch):
    """As where no spconv is installed."""
    monkeypatch.setattr(convolution, "SPCONV_ON", ())
    monkeypatch.setattr(convolution, "ops", None)


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)), st.integers(1, 3), st.floats(0, 1),
       st.integers(0, 1000))
def test_the_table_is_that_of_its_definition_also_of_sites_in_any_order(shape, num_blocks, share, seed):
    sites = random_sites(shape, num_blocks, share, seed)
    table, expected = gathered.neighbour_table(sites), reference.neighbours(sites)
    assert table.dtype == torch.int32 and torch.equal(table.long(), expected)
    order = torch.randperm(len(sites), generator=torch.Generator().manual_seed(seed))
    places = torch.cat([order.argsort(), torch.tensor([len(sites)])])  # absent stays absent
    shuffled = Sites(sites.coords[order], shape, num_blocks)
    assert torch.equal(gathered.neighbour_table(shuffled).long(), places[expected[order]])


@pytest.mark.parametrize("bound", [gathered.MAX_GATHERED_BYTES, 27 * 4 * 8 * 7, 1])
@pytest.mark.parametrize("twin", [reference.gather_matmul_scatter, submanifold_convolution])
def test_values_and_all_derivatives_equal_the_twins_and_spconvs(monkeypatch, twin, bound):
    """With all rows at once, seven (the last part is smaller) and one at a time."""
    if twin is submanifold_convolution and not convolution.SPCONV_ON:
        pytest.skip("no spconv that computes on CPUs is installed")
    torch.manual_seed(0)
    sites = random_sites()
    inputs, tangents = random_case(sites)
    expected = everything_of(twin, sites, inputs, tangents)
    assert (sites.rulebook is not None) == (twin is submanifold_convolution)
    monkeypatch.setattr(gathered, "MAX_GATHERED_BYTES", bound)
    monkeypatch.setattr(convolution, "SPCONV_ON", ())
    for one, other in zip(everything_of(submanifold_convolution, sites, inputs, tangents), expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)
    assert sites.neighbours is not None


def test_without_spconv_a_cpu_is_told_once_that_it_is_slower(without_spconv):
    convolution.say_that_spconv_lacks.cache_clear()
    sites = random_sites()
    (features, weight), _ = random_case(sites)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            submanifold_convolution(features, weight, sites)
    assert [str(one.message).split(" (")[0] for one in told] == ["spconv is not installed"]


def test_reverse_and_forward_mode_pass_gradcheck(without_spconv):
    sites = random_sites()
    inputs = tuple(one.requires_grad_() for one in random_case(sites)[0])
    assert torch.autograd.gradcheck(lambda x, w: submanifold_convolution(x, w, sites), inputs, fast_mode=True,
                                    check_forward_ad=True)


@pytest.mark.parametrize("frozen", [0, 1])
def test_only_what_is_asked_for_has_a_gradient(without_spconv, frozen):
    sites = random_sites()
    inputs, _ = random_case(sites)
    inputs[1 - frozen].requires_grad_()
    submanifold_convolution(*inputs, sites).sum().backward()
    assert inputs[frozen].grad is None and inputs[1 - frozen].grad.any()


def test_under_autocast_products_are_of_its_precision_and_gradients_of_the_weights(without_spconv):
    sites = random_sites()
    inputs, tangents = random_case(sites, torch.float32)
    expected = everything_of(reference.gather_matmul_scatter, sites, inputs, tangents)
    with torch.autocast("cpu", torch.bfloat16):
        assert submanifold_convolution(*inputs, sites).dtype == torch.bfloat16
        found = everything_of(submanifold_convolution, sites, inputs, tangents)
        assert submanifold_convolution(*(one.double() for one in inputs), sites).dtype == torch.float64
    assert [one.dtype for one in found[1:3] + found[4:]] == [torch.float32] * 4
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 0.05 * other.abs().max()


def test_no_sites(without_spconv):
    sites = sites_from_keys(torch.zeros(0, dtype=torch.long), SHAPE, 1)
    assert gathered.neighbour_table(sites).shape == (0, 27)
    inputs = [one.requires_grad_() for one in random_case(sites)[0]]
    value = submanifold_convolution(*inputs, sites)
    assert value.shape == (0, 5) and not torch.autograd.grad(value.sum(), inputs)[1].any()
    assert gathered.convolved(*inputs, gathered.neighbour_table(sites)).shape == (0, 5)


def test_the_table_is_looked_up_once_also_where_inference_came_first(without_spconv):
    sites = random_sites(share=0.2)
    inputs, _ = random_case(sites)
    with torch.inference_mode():
        submanifold_convolution(*inputs, sites)
    table = sites.neighbours
    inputs[1].requires_grad_()
    submanifold_convolution(*inputs, sites).sum().backward()
    assert table is not None and sites.neighbours is table and sites.to("cpu").neighbours is None


def test_a_kernel_is_spconvs_in_name_layout_and_initialisation():
    spconv = pytest.importorskip("spconv.pytorch")
    torch.manual_seed(3)
    theirs = spconv.SubMConv3d(5, 7, 3, bias=False, algo=convolution.ConvAlgo.Native)
    torch.manual_seed(3)
    own = KernelWeight(5, 7)
    assert list(own.state_dict()) == list(theirs.state_dict()) == ["weight"]
    assert torch.equal(own.weight, theirs.weight)


def test_layers_work_where_no_spconv_is_installed():
    script = """if True:
        import sys
        sys.modules["spconv"] = None
        import torch
        from occflow.sparse import convolution
        from occflow.sparse.layers import SubmanifoldConv
        from occflow.sparse.sites import sites_from_keys
        assert convolution.ops is None
        sites = sites_from_keys(torch.arange(0, 24, 2), (2, 3, 4), 1)
        result = SubmanifoldConv(2, 3)(torch.randn(12, 2, requires_grad=True), sites)
        result.sum().backward()
        assert result.shape == (12, 3)"""
    subprocess.run([sys.executable, "-c", script], check=True)
