"""The benchmark: its dense counterpart computes the same, its counters count, and a quick run goes through."""

import functools
import json
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from occflow.charts import Panel, charts, write_charts
from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.models.coarse_cells import cell_grid
from occflow.models.flow_model import FlowModel
from occflow.models.networks import MeanForecast, place_features
from occflow.occupancy.tasks import Task
from occflow.sparse.sites import sites_from_keys
from studies import config_of
from studies.sparse_dense.benchmark import chosen_window, run_benchmark
from studies.sparse_dense.dense_twin import DenseAutoencoder, DenseMean, DenseVelocity
from studies.sparse_dense.measurement import counted_multiply_adds, growth_exponent, milliseconds, peak_memory_mib
from studies.sparse_dense.stages import DenseJobs, SparseJobs, site_counts
from studies.sparse_dense.street import street_window

CPU = torch.device("cpu")


@pytest.fixture()
def whole_grid(small_settings, street_window):
    """A trained-looking forecaster and a layout whose support is the whole, unmoving coarse grid."""
    torch.manual_seed(0)
    model = FlowModel(small_settings).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    far, here = planar_pose(1e4, 0.0, 0.0), planar_pose(0.0, 0.0, 0.0)
    task = Task(tuple(replace(frame, world_from_grid=far) for frame in street_window.history),
                tuple(replace(target, world_from_grid=here) for target in street_window.task.targets))
    layout = model.observe(task).layout
    cells = cell_grid(small_settings.grid, small_settings.autoencoder.total_stride)
    num_cells, past = int(np.prod(cells.shape)), small_settings.num_history
    assert len(layout.support) == small_settings.num_horizon * num_cells
    place = torch.arange(num_cells)[:, None] + num_cells * torch.arange(past)
    layout = replace(layout, history=sites_from_keys(torch.arange(past * num_cells), cells.shape, past),
                     history_table=place.repeat(small_settings.num_horizon, 1))
    return model, layout, cells.shape


def random_forecast(layout, settings) -> MeanForecast:
    rows = len(layout.support)
    return MeanForecast(torch.randn(rows, settings.state_channels), torch.rand(rows, settings.state_channels) + 0.5,
                        torch.randn(rows, settings.mean_trunk.widths[0]))


@torch.no_grad()
def test_velocity_over_volumes_equals_the_sparse_one_on_the_whole_grid(whole_grid):
    model, layout, shape = whole_grid
    settings = model.settings
    dense = DenseVelocity(model.velocity, shape, settings.support.level_strides, settings.num_horizon)
    forecast, x = random_forecast(layout, settings), torch.randn(len(layout.support), settings.state_channels)
    r, t = torch.tensor([0.2]), torch.tensor([0.9])
    assert torch.allclose(dense(x, r, t, forecast), model.velocity(x, r, t, forecast, layout), atol=1e-4)


@torch.no_grad()
def test_mean_over_volumes_equals_the_sparse_one_on_the_whole_grid(whole_grid):
    model, layout, shape = whole_grid
    settings = model.settings
    dense = DenseMean(model.mean, shape, settings.support.level_strides, settings.num_history, settings.num_horizon)
    latents = torch.randn(len(layout.history), settings.autoencoder.latent_channels)
    base = torch.randn(len(layout.support), settings.state_channels)
    presence = torch.ones(len(base), settings.num_history)
    place = torch.cat([place_features(layout), presence, layout.history_remainder.flatten(1)], dim=1)
    result, expected = dense(latents, base, place), model.mean(latents, base, layout)
    assert torch.allclose(result.mean, expected.mean, atol=1e-4)
    assert torch.allclose(result.scale, expected.scale, atol=1e-4)


@torch.no_grad()
def test_decoding_every_voxel_equals_decoding_with_pruning(whole_grid):
    model, _, shape = whole_grid
    grid, num_cells = model.settings.grid, int(np.prod(shape))
    latents = torch.randn(num_cells, model.settings.autoencoder.latent_channels)
    volume = DenseAutoencoder(model.autoencoder, grid.shape).decode(latents)
    sites, labels = model.autoencoder.decode(sites_from_keys(torch.arange(num_cells), shape, 1), latents, grid.shape)
    expected = torch.full((grid.num_voxels,), 17)
    expected[sites.keys] = labels
    assert 0 < len(sites) < grid.num_voxels
    assert torch.equal(volume, expected)


@pytest.fixture()
def jobs(small_settings, street_window):
    torch.manual_seed(0)
    return SparseJobs(small_settings, street_window, CPU), DenseJobs(small_settings, street_window, CPU)


def test_an_untrained_decoder_touches_the_true_voxels_that_the_support_holds(jobs, street_window, small_settings):
    sparse, _ = jobs
    frames = sparse.decode().frames(street_window.truth, small_settings.grid.num_voxels)
    counts = site_counts(sparse)
    assert sum(len(frame.flat) for frame in frames) == counts["decoded_voxels"]
    assert counts["decoded_voxels"] > 0.9 * sum(len(frame.flat) for frame in street_window.truth)
    for frame, truth in zip(frames, street_window.truth):
        assert np.isin(frame.flat, truth.flat).all()


def test_every_training_step_changes_its_network_and_no_other(jobs):
    for one in jobs:
        owner, steps = one.forecaster if isinstance(one, SparseJobs) else one, one.steps()
        trained = {"autoencoder_step": "autoencoder", "mean_step": "mean", "flow_step": "velocity"}
        for step, name in trained.items():
            before = {key: [p.clone() for p in getattr(owner, key).parameters()] for key in trained.values()}
            steps[step]()
            changed = {key for key, old in before.items()
                       if any(not torch.equal(a, b) for a, b in zip(old, getattr(owner, key).parameters()))}
            assert changed == {name}


@pytest.mark.parametrize("side", [0, 1])
def test_multiply_adds_are_half_of_torchs_count_of_operations(jobs, side):
    work = jobs[side].stages()
    with torch.no_grad():
        for name in ("mean", "velocity", "encode"):
            work[name]()
            with FlopCounterMode(display=False) as flops, counted_multiply_adds(*jobs[side].networks()) as found:
                work[name]()
            assert sum(found) == flops.get_total_flops() // 2, name


def test_growth_exponent_of_a_power_law():
    assert growth_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert growth_exponent([1, 2, 4], [3, float("nan"), 48]) == pytest.approx(2)
    assert np.isnan(growth_exponent([1, 2], [3, float("nan")]))


def test_pieces_of_work_take_turns():
    order = []
    times = milliseconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, repetitions=5)
    assert all(one != other for one, other in pairwise(order)) and len(order) == 12
    assert all(0 <= times[name]["median"] <= times[name]["p95"] for name in "ab")


def test_peak_memory_is_that_of_the_work_and_nan_where_it_was_killed():
    assert peak_memory_mib(functools.partial, (torch.ones, 16 * 2**20), CPU) == pytest.approx(64, rel=0.1)
    assert np.isnan(peak_memory_mib(functools.partial, (os._exit, 1), CPU))


def test_the_street_is_made_of_surfaces_and_its_movers_move():
    sizes, counts = [1.6, 0.8, 0.4], []
    for size in sizes:
        grid = VoxelGrid((-40.0, -40.0, -1.0), tuple(round(extent / size) for extent in (80, 80, 6.4)), size)
        window = street_window(grid, 2, 1, 0.5)
        counts.append(len(window.present.flat))
        movable = [grid.centres(grid.unflatten(frame.flat[frame.labels == 4])) + frame.world_from_grid[:3, 3]
                   for frame in window.history]
    assert 1.8 < growth_exponent([1 / size for size in sizes], counts) < 2.3
    assert abs(movable[0].mean(0) - movable[1].mean(0))[0] > 0.05
    assert cell_grid(grid, (4, 4, 4)).num_cells == 50 * 50 * 4


def test_charts_are_pictures_without_the_points_that_are_absent(tmp_path):
    lines = {"sparse": [(1, 2.0), (2, 4.0)], "dense & whole": [(1, 5.0), (2, float("nan"))]}
    panels = [Panel("Time", "voxels a metre", "ms", lines, "xy"), Panel("None", "x", "y", {})]
    write_charts(tmp_path / "chart.svg", panels)
    picture = ElementTree.parse(tmp_path / "chart.svg").getroot()
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"sparse", "dense & whole", "voxels a metre", "ms", "None"} <= texts
    assert [line.get_xydata().tolist() for line in charts(panels).axes[0].lines] == [[[1, 2], [2, 4]], [[1, 5]]]


def test_an_unknown_device_and_a_store_of_another_grid_are_refused(small_settings, tmp_path):
    with pytest.raises(InputError, match="device: 'abacus'"):
        run_benchmark(compose_config(["device=abacus", f"benchmark.output={tmp_path}"], config_of("sparse_dense")))
    with pytest.raises(InputError, match="no occupancy store"):
        chosen_window(str(tmp_path), small_settings)


def test_a_quick_run_writes_figures_table_and_charts(tmp_path):
    table = run_benchmark(compose_config(["workers=1", "device=cpu", "benchmark.quick=true",
                                          f"benchmark.output={tmp_path}"], config_of("sparse_dense")))
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert table == (tmp_path / "benchmark.md").read_text()
    assert set(report["dense_over_sparse"]["time"]) >= {"encode", "mean", "velocity", "decode", "flow_step"}
    assert all(value > 0 for values in report["dense_over_sparse"].values() for value in values.values())
    assert report["growth"]["voxel_size"]["exponents"]["grid_voxels"] == pytest.approx(3, abs=0.1)
    assert Path(tmp_path / "scaling.svg").stat().st_size > 1000
