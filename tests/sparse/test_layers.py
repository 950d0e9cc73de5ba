"""Sparse layers against their plain twins."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.geometry import planar_pose
from occflow.sparse import convolution, reference
from occflow.sparse.layers import LayerNorm, PatchDown, PatchUp, SubmanifoldConv, TableMix
from occflow.sparse.sites import Sites, distinct_rows, lookup, pool, sites_from_keys
from occflow.sparse.tables import CellGrid, cell_maps, motion_compensated_table

SHAPE = (7, 6, 3)


def random_sites(num_blocks: int = 2, share: float = 0.4, seed: int = 0, shape=SHAPE) -> Sites:
    volume = torch.rand(num_blocks * int(np.prod(shape)), generator=torch.Generator().manual_seed(seed)) < share
    return sites_from_keys(volume.nonzero()[:, 0], shape, num_blocks)


def gradients(result: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(result.pow(2).sum(), inputs))


def assert_all_close(results, expected, tolerance=1e-4):
    for one, other in zip(results, expected, strict=True):
        assert torch.allclose(one, other, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("twin", [reference.submanifold_dense, reference.gather_matmul_scatter])
def test_submanifold_convolution_and_its_gradients_equal_its_twins(twin, training):
    sites, layer = random_sites(), SubmanifoldConv(5, 4).train(training)
    torch.nn.init.normal_(layer.bias)
    features = torch.randn(len(sites), 5, requires_grad=True)
    result, expected = layer(features, sites), twin(features, layer.conv.weight, sites) + layer.bias
    assert torch.allclose(result, expected, atol=1e-5)
    inputs = (features, layer.conv.weight, layer.bias)
    assert_all_close(gradients(result, *inputs), gradients(expected, *inputs), 1e-3)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)), st.integers(1, 3), st.floats(0, 1),
       st.integers(0, 1000))
def test_submanifold_convolution_on_any_sites(shape, num_blocks, share, seed):
    sites = random_sites(num_blocks, share, seed, shape)
    features, weight = torch.randn(len(sites), 3).double(), torch.randn(2, 3, 3, 3, 3).double()
    result = convolution.submanifold_convolution(features, weight, sites)
    assert torch.allclose(result, reference.gather_matmul_scatter(features, weight, sites))


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)), st.integers(1, 3), st.floats(0.3, 1),
       st.integers(0, 1000))
def test_convolution_of_the_whole_volume_is_the_submanifold_one(shape, num_blocks, share, seed):
    sites = random_sites(num_blocks, share, seed, shape)
    features, weight = torch.randn(len(sites), 3).double(), torch.randn(2, 3, 3, 3, 3).double()
    expected = reference.gather_matmul_scatter(features, weight, sites)
    with torch.inference_mode():
        assert torch.allclose(convolution.convolution_of_volume(features, weight, sites), expected)
        assert torch.allclose(convolution.submanifold_convolution(features, weight, sites), expected)


@pytest.mark.parametrize("shape, share, dense", [((50, 50, 2), 0.7, True), ((50, 50, 2), 0.2, False),
                                                 ((13, 13, 1), 0.6, True), ((100, 100, 16), 0.7, False)])
def test_a_dense_volume_is_taken_where_the_sites_fill_it(shape, share, dense):
    assert convolution.fills_its_volume(random_sites(1, share, shape=shape)) == dense


def test_rulebook_is_built_once():
    sites, layer = random_sites(), SubmanifoldConv(2, 2)
    layer(torch.randn(len(sites), 2), sites)
    book, table = sites.rulebook, sites.neighbours
    SubmanifoldConv(2, 3)(torch.randn(len(sites), 2), sites)
    assert sites.rulebook is book and sites.neighbours is table and (book is None) != (table is None)


def test_no_sites():
    sites, layer = sites_from_keys(torch.zeros(0, dtype=torch.long), SHAPE, 1), SubmanifoldConv(2, 3)
    result = layer(torch.zeros(0, 2), sites)
    assert result.shape == (0, 3)
    assert gradients(result, layer.conv.weight)[0].eq(0).all()  # a batch without sites does not stop a training


@pytest.mark.skipif(not convolution.SPCONV_ON, reason="no spconv that computes on CPUs is installed")
def test_half_precision_features_are_convolved_in_the_precision_of_the_weight():
    sites, layer = random_sites(), SubmanifoldConv(3, 4)
    features = torch.randn(len(sites), 3)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(features.bfloat16(), sites)
    assert torch.equal(result, layer(features.bfloat16().float(), sites))


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 1, 2), (3, 2, 1)])
def test_patch_layers_equal_dense_strided_convolutions(stride):
    sites = random_sites()
    pooling = pool(sites, stride)
    assert pooling.coarse.shape == tuple(-(-n // step) for n, step in zip(SHAPE, stride))  # incomplete cells count
    down, up = PatchDown(3, 5, pooling.num_slots), PatchUp(5, 4, pooling.num_slots)
    features = torch.randn(len(sites), 3, requires_grad=True)
    coarse = down(features, pooling)
    coarse_twin = reference.patch_down_dense(features, down.linear.weight, down.linear.bias, sites, pooling)
    assert torch.allclose(coarse, coarse_twin, atol=1e-5)
    fine = up(coarse, pooling)
    fine_twin = reference.patch_up_dense(coarse_twin, up.linear.weight, up.linear.bias, sites, pooling)
    assert torch.allclose(fine, fine_twin, atol=1e-5)
    inputs = (features, *down.parameters(), *up.parameters())
    assert_all_close(gradients(fine, *inputs), gradients(fine_twin, *inputs))


def test_generative_upsampling_holds_every_child():
    sites = random_sites()
    pooling = pool(sites, (2, 2, 2))
    up, coarse = PatchUp(5, 4, 8), torch.randn(len(pooling.coarse), 5)
    children = up.expand(coarse)
    assert children.shape == (len(pooling.coarse), 8, 4)
    assert torch.equal(children[pooling.parent, pooling.slot], up(coarse, pooling))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.integers(0, 5), st.integers(1, 4), st.integers(0, 1000))
def test_table_mix_equals_its_twin(num_own, num_source, entries, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = TableMix(3, 2, entries, 5)
    own, source = torch.randn(num_own, 3, generator=generator), torch.randn(num_source, 2, generator=generator)
    table = torch.randint(0, num_source + 1, (num_own, entries), generator=generator)  # num_source: absent
    expected = reference.table_mix_by_loops(own, source, table, layer.gathered.weight, layer.own, layer.out)
    assert torch.allclose(layer(own, source, table), expected, atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(layer(own, source, table), expected, atol=1e-5)


def test_lookup():
    assert lookup(torch.tensor([5, 3, 9]), torch.tensor([3, 5, 7])).tolist() == [1, 0, 3]
    assert lookup(torch.tensor([5]), torch.zeros(0, dtype=torch.long)).tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 1)), max_size=30))
def test_distinct_rows_are_those_that_no_earlier_row_equals(rows):
    first, number = distinct_rows(torch.tensor(rows, dtype=torch.int32).view(-1, 2))
    assert first.tolist() == [i for i, row in enumerate(rows) if row not in rows[:i]]
    assert [rows[first[i]] for i in number] == rows


def test_rows_whose_codes_collide_stay_apart(monkeypatch):
    monkeypatch.setattr(torch, "unique", lambda codes, return_inverse: (codes[:1], torch.zeros_like(codes)))
    first, number = distinct_rows(torch.tensor([[1, 2], [2, 1], [1, 2]]))
    assert first.tolist() == number.tolist() == [0, 1, 2]


def test_table_of_equal_poses_is_the_identity_and_of_a_moved_grid_a_shift():
    grid = CellGrid(np.array([-4.0, -4.0, 0.0]), np.array([1.0, 1.0, 2.0]), (8, 8, 1))
    sites = sites_from_keys(torch.arange(64), grid.shape, 1)

    def table(other: np.ndarray):
        maps = torch.from_numpy(cell_maps(grid, np.eye(4)[None], other[None]))
        return [one.numpy() for one in motion_compensated_table(sites, maps, sites)]

    found, remainder = table(np.eye(4))
    assert (found[:, 0] == np.arange(64)).all() and np.abs(remainder).max() < 1e-6
    found, remainder = table(planar_pose(1.25, 0.0, 0.0))  # the other grid lies 1.25 cells ahead
    assert (found[:8, 0] == 64).all()  # x = 0 lies behind the other grid
    assert found[8 * 5, 0] == 8 * 4  # cell 5 has its centre at 1.5 m, 0.25 m in the other grid: its cell 4
    assert remainder[8 * 5, 0] == pytest.approx([-0.25, 0, 0])


@pytest.fixture()
def norms():
    """A norm of random weights and torch's own, loaded from it."""
    own, torchs = LayerNorm(7).double(), torch.nn.LayerNorm(7).double()
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter)
    torchs.load_state_dict(own.state_dict())
    return own, torchs


def test_a_layer_norm_has_torchs_values_and_gradients_also_where_a_derivative_passes(norms):
    own, torchs = norms
    features, tangent = (3 + torch.randn(2, 50, 7)).double()
    features.requires_grad_()
    inputs = (features, own.weight, own.bias)
    assert torch.equal(own(features), torchs(features))
    assert_all_close(gradients(own(features), *inputs), gradients(torchs(features), features, *torchs.parameters()))
    value, derivative = torch.func.jvp(own, (features,), (tangent,))
    assert torch.allclose(value, torchs(features), rtol=1e-12, atol=1e-12)
    assert torch.allclose(derivative, torch.func.jvp(torchs, (features,), (tangent,))[1], rtol=1e-10, atol=1e-10)
    assert_all_close(gradients(value, *inputs), gradients(torchs(features), features, *torchs.parameters()))


def test_the_derivative_of_a_layer_norm_has_the_right_gradient():
    """Of features (p, 0) with eps = 1/4 the sum is -p / sqrt(1 + p^2). torch's own of 2.13 has another sign here
    (github.com/pytorch/pytorch/issues/196700)."""
    norm = LayerNorm(2, eps=0.25).double()
    norm.weight.data = torch.tensor([1.0, 2.0]).double()
    p = torch.tensor(0.7).double().requires_grad_()
    _, slope = torch.func.jvp(lambda x: norm(torch.stack([x, 0 * x])).sum(), (p,), (torch.ones_like(p),))
    assert slope.item() == pytest.approx(-(1 + 0.7**2) ** -1.5)
    assert torch.autograd.grad(slope, p)[0].item() == pytest.approx(3 * 0.7 * (1 + 0.7**2) ** -2.5)
