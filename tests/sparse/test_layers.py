"""Sparse layers against their plain or dense twins."""

import numpy as np
import pytest
import torch

from occflow.geometry import planar_pose
from occflow.sparse.layers import PatchDown, PatchUp, SubmanifoldConv, submanifold_reference
from occflow.sparse.sites import lookup, pool, sites_from_keys
from occflow.sparse.tables import CellGrid, index_volume, motion_compensated_table

SHAPE = (7, 6, 3)


def random_sites(num_blocks: int = 2, share: float = 0.4, seed: int = 0):
    volume = torch.rand(num_blocks * int(np.prod(SHAPE)), generator=torch.Generator().manual_seed(seed)) < share
    return sites_from_keys(volume.nonzero()[:, 0], SHAPE, num_blocks)


@pytest.mark.parametrize("training", [True, False])
def test_submanifold_convolution_equals_its_twin(training):
    sites, layer = random_sites(), SubmanifoldConv(5, 4).train(training)
    torch.nn.init.normal_(layer.bias)
    features = torch.randn(len(sites), 5, requires_grad=True)
    twin_features = features.detach().clone().requires_grad_(True)
    result = layer(features, sites)
    expected = submanifold_reference(twin_features, sites, layer.conv.weight.detach(), layer.bias.detach())
    assert torch.allclose(result, expected, atol=1e-5)
    result.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    assert torch.allclose(features.grad, twin_features.grad, atol=1e-4)


def test_rulebook_is_built_once():
    sites, layer = random_sites(), SubmanifoldConv(2, 2)
    layer(torch.randn(len(sites), 2), sites)
    maps = sites.kernel_maps["3x3x3"]
    SubmanifoldConv(2, 3)(torch.randn(len(sites), 2), sites)
    assert sites.kernel_maps["3x3x3"] is maps


def test_no_sites():
    sites = sites_from_keys(torch.zeros(0, dtype=torch.long), SHAPE, 1)
    assert SubmanifoldConv(2, 3)(torch.zeros(0, 2), sites).shape == (0, 3)


def test_patch_layers_equal_dense_strided_convolutions():
    sites, stride = random_sites(), (2, 2, 2)
    pooling = pool(sites, stride)
    assert pooling.coarse.shape == (4, 3, 2)  # incomplete cells count
    down, up = PatchDown(3, 5, 8), PatchUp(5, 4, 8)
    features = torch.randn(len(sites), 3)
    block, x, y, z = sites.coords.long().unbind(1)
    volume = torch.zeros(2, 3, 8, 6, 4)
    volume[block, :, x, y, z] = features
    weight = down.linear.weight.view(5, 2, 2, 2, 3).permute(0, 4, 1, 2, 3)
    dense = torch.nn.functional.conv3d(volume, weight, down.linear.bias, stride=2)
    cb, cx, cy, cz = pooling.coarse.coords.long().unbind(1)
    coarse = down(features, pooling)
    assert torch.allclose(coarse, dense[cb, :, cx, cy, cz], atol=1e-5)
    coarse_volume = torch.zeros(2, 5, 4, 3, 2)
    coarse_volume[cb, :, cx, cy, cz] = coarse
    up_weight = up.linear.weight.view(2, 2, 2, 4, 5).permute(4, 3, 0, 1, 2)
    raised = torch.nn.functional.conv_transpose3d(coarse_volume, up_weight, stride=2)
    bias = up.linear.bias.view(8, 4)[pooling.slot]
    assert torch.allclose(up(coarse, pooling), raised[block, :, x, y, z] + bias, atol=1e-5)


def test_lookup():
    assert lookup(torch.tensor([5, 3, 9]), torch.tensor([3, 5, 7])).tolist() == [1, 0, 3]
    assert lookup(torch.tensor([5]), torch.zeros(0, dtype=torch.long)).tolist() == [0]


def test_table_of_equal_poses_is_the_identity_and_of_a_moved_grid_a_shift():
    grid = CellGrid(np.array([-4.0, -4.0, 0.0]), np.array([1.0, 1.0, 2.0]), (8, 8, 1))
    cells = np.stack(np.meshgrid(range(8), range(8), [0], indexing="ij"), -1).reshape(-1, 3)
    coords = np.concatenate([np.full((64, 1), 0), cells], axis=1)
    volume = index_volume(coords, grid, 1)
    table, remainder = motion_compensated_table(coords, grid, np.eye(4)[None], np.eye(4)[None], volume, 64)
    assert (table[:, 0] == np.arange(64)).all() and np.abs(remainder).max() < 1e-6
    moved = planar_pose(1.25, 0.0, 0.0)[None]  # the other grid lies 1.25 cells ahead
    table, remainder = motion_compensated_table(coords, grid, np.eye(4)[None], moved, volume, 64)
    assert (table[:8, 0] == 64).all()  # x = 0 lies behind the other grid
    assert table[8 * 5, 0] == 8 * 4  # cell 5 has its centre at 1.5 m, 0.25 m in the other grid: its cell 4
    assert remainder[8 * 5, 0] == pytest.approx([-0.25, 0, 0])
