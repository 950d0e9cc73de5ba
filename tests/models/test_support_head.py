"""The head that thins out the support: what it may take away, its threshold, and its way into a checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_bodies import Windows

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, load_weights, save_checkpoint
from occflow.models.coarse_cells import cell_grid, cells_of
from occflow.models.flow_model import FlowModel
from occflow.models.layout import Layout, build_layout
from occflow.models.support import outline_of, propose
from occflow.models.support_head import KEEPS_ALL, SupportHead, evidence, threshold_for
from occflow.occupancy.augmentation import cropped, part_of
from occflow.training.support import ProposalFeed, calibrate


def with_head(forecaster: FlowModel, settings, threshold: float = KEEPS_ALL, channels: int = 8) -> FlowModel:
    """The same networks, and a head of random weights."""
    torch.manual_seed(1)
    made = FlowModel(replace(settings, support=replace(settings.support, head_channels=channels))).eval()
    own = {name: tensor for name, tensor in made.state_dict().items() if name.startswith("support.")}
    made.load_state_dict({**forecaster.state_dict(), **own})
    made.support.threshold.fill_(threshold)
    return made.requires_grad_(False)


def keys_of(model: FlowModel, window, **arguments) -> np.ndarray:
    return model.observe(window.task, **arguments).layout.support.keys.numpy()


def held_cells(model: FlowModel, window) -> np.ndarray:
    """Keys of the coarse cells that the moved present fills."""
    grid, stride = model.settings.grid, model.settings.autoencoder.total_stride
    moved = model.observe(window.task).moved
    return np.flatnonzero(np.concatenate([cells_of([frame.flat], grid, stride) for frame in moved]))


def assert_equal_layouts(one: Layout, other: Layout) -> None:
    assert torch.equal(one.unseen, other.unseen) and torch.equal(one.history_table, other.history_table)
    assert torch.equal(one.position, other.position) and len(one.levels) == len(other.levels)
    for a, b in zip(one.levels, other.levels):
        assert torch.equal(a.sites.coords, b.sites.coords) and torch.equal(a.table, b.table)


def test_without_a_head_and_with_one_that_keeps_all_the_support_is_the_rules(small_forecaster, small_settings,
                                                                             street_window):
    assert small_forecaster.support is None and not any("support" in name for name in small_forecaster.state_dict())
    plain = small_forecaster.observe(street_window.task)
    outline = small_forecaster.preparation.prepare(street_window.task).outline
    stride, grid = small_settings.autoencoder.total_stride, small_settings.grid
    ruled = build_layout(outline, plain.layout.history, grid, stride, small_settings.support)
    assert_equal_layouts(plain.layout, ruled)
    assert_equal_layouts(with_head(small_forecaster, small_settings).observe(street_window.task).layout, ruled)


def test_a_head_takes_away_of_what_is_proposed_alone_and_never_the_moved_present(small_forecaster, small_settings,
                                                                                 street_window):
    proposed, held = keys_of(small_forecaster, street_window), held_cells(small_forecaster, street_window)
    none = keys_of(with_head(small_forecaster, small_settings, -KEEPS_ALL), street_window)
    assert np.array_equal(none, np.intersect1d(proposed, held)) and len(none) < len(proposed)
    head = with_head(small_forecaster, small_settings)
    seen = feed(head, street_window).get(0)
    logits = head.support(seen.seen)[seen.undecided]
    half = keys_of(with_head(small_forecaster, small_settings, float(logits.median())), street_window)
    assert np.isin(half, proposed).all() and np.isin(none, half).all() and len(none) < len(half) < len(proposed)


def test_networks_run_on_what_is_left(small_forecaster, small_settings, street_window):
    model = with_head(small_forecaster, small_settings, -KEEPS_ALL)
    observation = model.observe(street_window.task, street_window.truth)
    condition = model.condition(observation)
    state = condition.state(torch.zeros_like(condition.forecast.mean))
    frames = model.decoder(observation, street_window.task.targets)(state)
    assert observation.target.shape == observation.base.shape == state.shape and len(frames) == 3


def test_parts_of_windows_are_thinned_out_too(small_forecaster, small_settings, street_window):
    """By the same weights, whatever the size of the part."""
    grid, first = small_settings.grid, (8, 8)
    part = part_of(grid, first, (8, 8))
    crop = cropped(street_window, grid, first, part)
    ruled = keys_of(small_forecaster, crop, region=part)
    assert np.array_equal(keys_of(with_head(small_forecaster, small_settings), crop, region=part), ruled)
    fewer = keys_of(with_head(small_forecaster, small_settings, -KEEPS_ALL), crop, region=part)
    assert np.isin(fewer, ruled).all() and 0 < len(fewer) < len(ruled)


def test_a_worker_lays_out_as_the_networks_device_does(small_forecaster, small_settings, street_window):
    model = with_head(small_forecaster, small_settings)
    item = feed(model, street_window).get(0)
    model.support.threshold.fill_(model.support(item.seen)[item.undecided].median())
    there = model.preparation.on_host(lays_out=True).prepare(street_window.task).layout
    assert_equal_layouts(there, model.observe(street_window.task).layout)


def test_what_the_head_sees():
    """A cell's filled share by kinds, what is touched and reached, how far beyond the observed grids, when."""
    head, shape, stride = SupportHead(4, 2), (4, 6, 4), (2, 2, 2)
    keys = torch.tensor([0, 1, 6 * 4, 96 + 3 * 24 + 5 * 4 + 3])  # three in the first cell, one in the last of frame 1
    held = head.held(keys, torch.tensor([11, 4, 15, 255]), shape, stride, 2)
    assert held.shape == (3, 2, 2, 3, 2) and held[0, 0, 0, 0, 0] == 3 / 8 and held[0, 1, 1, 2, 1] == 1 / 8
    assert held[1, 0, 0, 0, 0] == held[2, 0, 0, 0, 0] == 1 / 8 and float(held.sum()) == pytest.approx(6 / 8)


def feed(model: FlowModel, *windows) -> ProposalFeed:
    return ProposalFeed(Windows(windows), list(range(len(windows))), model, 0)


def test_what_is_learnt_is_what_comes_true_of_the_proposed_cells(small_forecaster, small_settings, street_window):
    model = with_head(small_forecaster, small_settings, -KEEPS_ALL)  # its own words are not heard
    item, grid = feed(model, street_window).get(0), small_settings.grid
    stride = small_settings.autoencoder.total_stride
    proposed, held = keys_of(small_forecaster, street_window), held_cells(small_forecaster, street_window)
    assert np.array_equal(np.flatnonzero(item.undecided), np.setdiff1d(proposed, held))
    truth = np.concatenate([cells_of([frame.flat], grid, stride) for frame in street_window.truth])
    assert np.array_equal(item.true.numpy(), truth)
    assert int(item.kept) == len(np.intersect1d(np.intersect1d(proposed, held), np.flatnonzero(truth)))
    task, cells = street_window.task, cell_grid(grid, stride)
    untouched = torch.zeros(len(truth), dtype=torch.bool)
    outline = outline_of(task.history, task.poses, task.seconds, untouched, grid, stride, small_settings.support)
    seen = evidence(propose(outline, grid, cells, small_settings.support), torch.zeros(3, 3, *cells.shape))
    levels = cells.shape[2]
    assert seen.shape == (3, 5 * levels + 4, *cells.shape[:2]) == item.seen.shape
    assert torch.equal(seen[:, -1, 0, 0], torch.tensor([1, 2, 3]) / 3) and torch.equal(seen[:, -4:], item.seen[:, -4:])
    assert ((seen[:, -2] > 0) == (seen[:, -3] > 0)).all()  # beyond what was observed, and how far


def test_a_turned_window_is_the_same_one(small_forecaster, small_settings, street_window):
    """Eight ways; what holds for a cell goes with it, and turned twice the one way back."""
    item = feed(with_head(small_forecaster, small_settings), street_window).get(0)
    frames, _, x, y = item.seen.shape
    square = replace(item, seen=item.seen[:, :, :min(x, y), :min(x, y)].contiguous())
    edge, levels = square.seen.shape[2], len(item.true) // (frames * x * y)
    corner = item.true.view(frames, x, y, levels)[:, :edge, :edge].flatten()
    square = replace(square, true=corner, undecided=~corner)
    filled = (square.seen[:, :levels] > 0).movedim(1, 3).flatten()
    for way in range(8):
        turned = square.turned(way)
        again = (turned.seen[:, :levels] > 0).movedim(1, 3).flatten()
        assert torch.equal(turned.undecided, ~turned.true) and turned.kept is square.kept
        assert int((again & turned.true).sum()) == int((filled & square.true).sum())
        assert torch.equal(turned.seen, square.seen) == (way == 0)
        assert way > 4 or torch.equal(turned.turned(way).seen, square.seen)
    assert item.turned(7).seen.shape == item.seen.shape  # no square: its axes keep their places


@pytest.mark.parametrize("recall, kept_anyway, threshold, kept", [
    (1.0, 0, 0.0, 10), (0.9, 0, 1.0, 9), (0.75, 0, 2.0, 8), (0.5, 0, 5.0, 5), (0.995, 190, 1.0, 9),
    (0.99, 190, 2.0, 8), (0.9, 90, -KEEPS_ALL, 0), (0.0, 0, -KEEPS_ALL, 0)])
def test_the_threshold_keeps_the_wanted_share_and_no_more(recall, kept_anyway, threshold, kept):
    """Of ten true sites with logits 0 to 9, and some that are kept anyway."""
    logits = torch.arange(10.0)[torch.randperm(10, generator=torch.Generator().manual_seed(0))]
    found = threshold_for(recall, logits, kept_anyway)
    assert found == threshold and int((logits >= found).sum()) == kept
    assert kept + kept_anyway >= recall * (10 + kept_anyway)


def test_without_a_site_to_decide_on_all_are_kept():
    assert threshold_for(0.9, torch.zeros(0), 7) == KEEPS_ALL


@pytest.mark.parametrize("recall", [0.8, 0.95, 1.0])
def test_the_recall_on_windows_is_the_calibrated_one(small_forecaster, small_settings, street_window, recall):
    model = with_head(small_forecaster, small_settings)
    items = [feed(model, street_window).get(0)]
    calibrate(model.support, items, recall)
    truth = np.flatnonzero(items[0].true)
    ruled = np.intersect1d(keys_of(small_forecaster, street_window), truth)
    assert recall <= np.isin(ruled, keys_of(model, street_window)).mean() <= max(recall, 0.999) + 0.2


def test_a_checkpoint_holds_the_head_and_its_threshold(small_forecaster, small_settings, street_window, tmp_path):
    model = with_head(small_forecaster, small_settings, 0.125)
    save_checkpoint(tmp_path / "t.safetensors", model, "teacher", model.settings, {})
    save_checkpoint(tmp_path / "support.safetensors", model.support, "support", model.settings, {})
    loaded = load_forecaster(tmp_path / "t.safetensors", ("teacher",))
    assert loaded.settings == model.settings and float(loaded.support.threshold) == 0.125
    assert np.array_equal(keys_of(loaded, street_window), keys_of(model, street_window))
    part = with_head(small_forecaster, small_settings).support
    load_weights(tmp_path / "support.safetensors", part, ("support",), model.settings)
    assert all(torch.equal(a, b) for a, b in zip(part.state_dict().values(), model.support.state_dict().values()))
    other = replace(model.settings, support=replace(model.settings.support, reach_m_per_s=1.0))
    with pytest.raises(InputError, match="support.reach_m_per_s: checkpoint 6.0, configured 1.0"):
        load_weights(tmp_path / "support.safetensors", part, ("support",), other)
    save_checkpoint(tmp_path / "plain.safetensors", small_forecaster, "teacher", small_settings, {})
    assert load_forecaster(tmp_path / "plain.safetensors", ("teacher",)).support is None
    with pytest.raises(InputError, match="head_channels: checkpoint 8, configured 0"):
        load_weights(tmp_path / "t.safetensors", FlowModel(small_settings), ("teacher",), small_settings)
