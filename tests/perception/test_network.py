"""The perception network: any grid, one at a time or many, and what its sizes must be."""

import dataclasses

import numpy as np
import pytest
import torch
from small_perception import small_perception
from small_sightings import random_sighting

from occflow.errors import InputError
from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.sighting import CELLS, TICK_S, Sighting
from occflow.perception.network import (
    CELL_FEATURES,
    OUTPUTS,
    PerceptionInference,
    PerceptionNetwork,
    PerceptionSettings,
    cell_features,
)
from occflow.perception.perceive import as_input

GRIDS = [VoxelGrid((-4.0, -4.0, -1.0), shape, 0.8) for shape in ((8, 8, 8), (9, 7, 3), (5, 12, 1), (4, 4, 16),
                                                                 (33, 10, 5))]


def sightings(grid: VoxelGrid, count: int, share: float = 0.03) -> list[Sighting]:
    rng = np.random.default_rng(count)
    return [random_sighting(rng, grid, share=share) for _ in range(count)]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: "x".join(map(str, grid.shape)))
@pytest.mark.parametrize("widths", [(6,), (6, 8), (6, 8, 10)])
def test_every_voxel_of_any_grid_has_its_logits(grid, widths):
    network, seen = small_perception(grid, widths), sightings(grid, 3)
    logits = network(as_input(seen, grid))
    assert logits.shape == (3, *grid.shape, OUTPUTS) and torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("grid", GRIDS[:3], ids=lambda grid: "x".join(map(str, grid.shape)))
def test_one_by_one_is_as_all_together(grid):
    network, seen = small_perception(grid), sightings(grid, 4)
    with torch.no_grad():
        together = network(as_input(seen, grid))
        alone = torch.cat([network(as_input([one], grid)) for one in seen])
    assert torch.allclose(together, alone, atol=1e-5) and not torch.allclose(together[0], together[1], atol=1e-2)


@pytest.mark.parametrize("grid", GRIDS[:3], ids=lambda grid: "x".join(map(str, grid.shape)))
def test_inference_has_the_networks_logits(grid):
    """Batch normalisation is folded into the convolutions, whatever its statistics and weights; the network stays."""
    network, seen = small_perception(grid, (6, 8)), as_input(sightings(grid, 1), grid)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -1, 1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.weight, -2, 2)
            torch.nn.init.uniform_(layer.bias, -1, 1)
    network.eval()
    with torch.no_grad():
        logits = network(seen)[0]
        inference = PerceptionInference(network)
        hidden, existence = inference(seen)
        classes = inference.classes(hidden.flatten(0, 1)).view(existence.shape)
        assert torch.allclose(existence, logits[..., FREE], atol=1e-4, rtol=1e-4)
        chosen = logits.gather(3, classes[..., None])[..., 0]
        assert torch.allclose(chosen, logits[..., :FREE].amax(dim=3), atol=1e-4, rtol=1e-4)
        assert torch.equal(network(seen)[0], logits)


def test_a_car_that_has_seen_nothing_yet_is_no_error():
    grid = GRIDS[0]
    network, (blind, seeing) = small_perception(grid), [*sightings(grid, 1, share=0.0), *sightings(grid, 1)]
    assert not len(blind.cells)
    with torch.no_grad():
        alone, together = network(as_input([blind], grid)), network(as_input([blind, seeing], grid))
    assert torch.isfinite(alone).all() and torch.allclose(together[:1], alone, atol=1e-5)


def test_the_input_has_every_cell_in_its_place():
    grid = GRIDS[1]
    seen, cells = sightings(grid, 2), CELLS * np.array(grid.shape)
    given = as_input(seen, grid)
    assert given.features.shape == (sum(len(one.cells) for one in seen), CELL_FEATURES)
    row = 0
    for number, one in enumerate(seen):
        assert np.array_equal(given.observed[number].numpy() > 0, one.observed_mask(grid))
        for cell, count, youngest, oldest in zip(one.cells, one.counts, one.youngest, one.oldest):
            place = np.array(np.unravel_index(cell, cells))
            voxel = number * grid.num_voxels + int(grid.flatten([place // CELLS])[0])
            assert int(given.voxels[given.parents[row]]) == voxel
            assert int(given.slots[row]) == np.ravel_multi_index(place % CELLS, (CELLS,) * 3)
            there, returns, _, last_s, first_s, _ = given.features[row].tolist()
            assert (there, returns) == (1.0, pytest.approx(np.log1p(float(count)) / 3)) and youngest <= oldest
            assert (last_s, last_s + first_s) == (pytest.approx(TICK_S * youngest), pytest.approx(TICK_S * oldest))
            row += 1


def test_what_the_last_sweeps_met_is_marked():
    ages = torch.tensor([0, 2, 3, 12, 13, 14, 255], dtype=torch.uint8)  # of 0.02 s
    features = cell_features(torch.ones(7, dtype=torch.uint8), ages, ages)
    assert features[:, 2].tolist() == [1, 1, 1, 1, 1, 0, 0] and features[:, 5].tolist() == [1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("change", [{"widths": ()}, {"widths": (8, 0)}, {"patch_channels": 0}, {"head_channels": -1},
                                    {"voxel_channels": 0}, {"widths": (8,) * 5}])
def test_sizes_that_no_network_has_are_one_line(change):
    settings = PerceptionSettings(GRIDS[0])
    with pytest.raises(InputError, match="perception.network") as error:
        PerceptionNetwork(dataclasses.replace(settings, **change))
    assert "\n" not in str(error.value)
