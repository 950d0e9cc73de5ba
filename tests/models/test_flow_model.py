"""The forecaster's parts: what must hold before any training, and what a short training must reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from occflow.flow.solvers import sample_flow
from occflow.logs.protocol import UNLABELLED
from occflow.models.autoencoder import at_sites
from occflow.models.coarse_cells import cell_grid, cells_of
from occflow.models.flow_model import EMPTY, FlowModel, corrected, join_observations
from occflow.models.networks import MeanForecast, mean_loss
from occflow.models.preparation import Voxels
from occflow.models.regression import TrueFuture, twin_loss
from occflow.occupancy.augmentation import cropped, part_of
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window
from occflow.sparse.sites import lookup, site_keys, sites_from_keys


def test_untrained_mean_is_persistence(small_forecaster, street_window):
    observation = small_forecaster.observe(street_window.task)
    assert torch.equal(small_forecaster.condition(observation).forecast.mean, observation.base)


def remade(forecaster: FlowModel, **changes) -> FlowModel:
    """An untrained forecaster of changed settings."""
    torch.manual_seed(0)
    return FlowModel(replace(forecaster.settings, **changes)).eval()


def test_a_forecaster_can_start_from_nothing_or_from_a_static_world(small_forecaster, street_window):
    empty = remade(small_forecaster, base="empty").observe(street_window.task).base
    assert (empty[:, -1] == EMPTY).all() and (empty[:, :-1] == 0).all()
    still = remade(small_forecaster, base="persistence").observe(street_window.task)
    tracked = small_forecaster.observe(street_window.task)
    assert not torch.equal(still.base, tracked.base)
    assert len(still.layout.support) <= len(tracked.layout.support)


def test_support_and_tables_without_what_makes_them_good(small_forecaster, street_window, small_settings):
    whole = replace(small_settings.support, whole_grid=True)
    layout = remade(small_forecaster, support=whole).observe(street_window.task).layout
    cells = cell_grid(small_settings.grid, small_settings.autoencoder.total_stride)
    assert len(layout.support) == small_settings.num_horizon * cells.num_cells
    blind = replace(small_settings.support, motion_compensation=False)
    layout = remade(small_forecaster, support=blind).observe(street_window.task).layout
    present = layout.history_table[:, -1] < len(layout.history)
    places = layout.history.coords[layout.history_table[present, -1]][:, 1:]
    assert torch.equal(places, layout.support.coords[present][:, 1:])


def test_a_state_near_its_base_is_the_base(small_forecaster, street_window):
    model = remade(small_forecaster, keep_within=0.5)
    condition = model.condition(model.observe(street_window.task))
    near, far = (torch.full_like(condition.base, size) / condition.forecast.scale for size in (0.4, 0.6))
    with torch.no_grad():
        assert torch.equal(condition.state(near), condition.base)
        assert torch.allclose(condition.state(far), condition.base + 0.6, atol=1e-5)


def test_guidance_goes_from_the_blind_flow_through_the_conditional_one(small_forecaster, street_window):
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.5)
    condition = small_forecaster.condition(small_forecaster.observe(street_window.task))
    x, t = torch.randn_like(condition.forecast.mean), torch.tensor([0.5])
    with torch.no_grad():
        blind, seen, guided = (small_forecaster.velocity_field(condition, scale)(x, t) for scale in (0.0, 1.0, 3.0))
    assert not torch.allclose(blind, seen)
    assert torch.allclose(guided, blind + 3 * (seen - blind), atol=1e-4)


def test_the_blind_flow_sees_no_history(small_forecaster, street_window):
    """Only where things may be, not what is there."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.5)
    condition = small_forecaster.condition(small_forecaster.observe(street_window.task))
    other = replace(condition, forecast=replace(condition.forecast, mean=condition.forecast.mean + 1,
                                                scale=condition.forecast.scale * 2))
    x, t = torch.randn_like(condition.forecast.mean), torch.tensor([0.5])
    with torch.no_grad():
        assert torch.equal(*(small_forecaster.velocity_field(one, 0.0)(x, t) for one in (condition, other)))


@pytest.mark.chaotic
def test_the_twins_loss_falls_below_that_of_its_start(small_forecaster, street_window, small_settings, figure):
    observation = small_forecaster.observe(street_window.task)
    truth = TrueFuture.of(small_forecaster, street_window.truth, small_settings.grid)
    optimiser, losses = torch.optim.Adam(small_forecaster.parameters(), lr=1e-2), []
    for _ in range(40):
        state = small_forecaster.condition(observation).forecast.mean
        losses.append(twin_loss(small_forecaster, state, observation.layout.support, truth))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    figure("last loss over first", float(losses[-1] / losses[0]), below=0.8)


def test_the_truth_is_seen_in_the_target_alone(small_forecaster, street_window):
    """What is asked of a forecaster is the same with it and without."""
    seen = small_forecaster.observe(street_window.task, street_window.truth)
    unseen = small_forecaster.observe(street_window.task)
    assert torch.equal(seen.base, unseen.base) and torch.equal(seen.layout.support.coords, unseen.layout.support.coords)
    assert seen.target is not None and unseen.target is None


def test_support_holds_the_true_sites_of_a_slow_world(small_forecaster, street_window, small_settings):
    support = small_forecaster.observe(street_window.task).layout.support
    stride = small_settings.autoencoder.total_stride
    truth = np.concatenate([cells_of([frame.flat], small_settings.grid, stride) for frame in street_window.truth])
    assert np.isin(np.flatnonzero(truth), support.keys.numpy()).mean() > 0.99


def test_latents_are_local(small_forecaster, street_window):
    """A changed voxel changes only the latent of its own coarse site."""
    frame = street_window.present
    labels = frame.labels.copy()
    labels[0] = (labels[0] + 1) % 17
    changed = OccupancyFrame(frame.flat, labels, frame.world_from_grid, frame.stamp_s)
    with torch.no_grad():
        sites, before = small_forecaster.encode_frames((frame,))
        _, after = small_forecaster.encode_frames((changed,))
    assert ((before - after).abs().sum(1) > 0).sum() == 1 and len(sites) == len(before)


def test_batching_changes_nothing(small_forecaster, street_window):
    torch.nn.init.normal_(small_forecaster.mean.mean_head.weight, std=0.1)
    other = Window.of(street_window.key, street_window.history[::-1], street_window.truth)
    singles = [small_forecaster.observe(one.task, one.truth) for one in (street_window, other)]
    joined = join_observations(singles)
    with torch.no_grad():
        separate = torch.cat([small_forecaster.condition(one).forecast.mean for one in singles])
        assert torch.allclose(small_forecaster.condition(joined).forecast.mean, separate, atol=1e-5)
    assert torch.equal(joined.layout.sample, torch.cat([torch.full((len(one.base),), i)
                                                       for i, one in enumerate(singles)]))


def test_untrained_flow_samples_the_means_gaussian(small_forecaster, street_window):
    """At any number of steps: the flow map of unit Gaussian data is the identity."""
    condition = small_forecaster.condition(small_forecaster.observe(street_window.task))
    noise = torch.randn_like(condition.forecast.mean)
    with torch.no_grad():
        assert torch.allclose(small_forecaster.one_step(noise, condition), noise, atol=1e-5)
        many = sample_flow(small_forecaster.velocity_field(condition), noise, condition.sample, 1, 64, "heun")
    assert torch.allclose(many, noise, atol=1e-2)


def test_decoded_frames_live_in_the_horizons_grids(small_forecaster, street_window, small_settings):
    observation = small_forecaster.observe(street_window.task, street_window.truth)
    frames = small_forecaster.decoder(observation, street_window.task.targets)(observation.target)
    assert street_window.task.seconds.tolist() == [0.5, 1.0, 1.5]
    for frame, pose in zip(frames, street_window.task.poses):
        assert np.array_equal(frame.world_from_grid, pose)
        assert (np.diff(frame.flat) > 0).all() and (frame.flat < small_settings.grid.num_voxels).all()


def test_nothing_exists_decodes_to_nothing(small_forecaster, street_window):
    observation = small_forecaster.observe(street_window.task)
    empty = torch.cat([torch.zeros_like(observation.base[:, :-1]), -torch.ones(len(observation.base), 1)], dim=1)
    assert len(small_forecaster.decode_state(empty, observation.layout.support).keys) == 0


def test_an_unchanged_state_decodes_to_the_base_itself(small_forecaster, street_window):
    """With any weights: the autoencoder's errors are in both and cancel."""
    observation = small_forecaster.observe(street_window.task)
    frames = small_forecaster.decoder(observation, street_window.task.targets)(observation.base)
    for frame, moved in zip(frames, observation.moved):
        assert np.array_equal(frame.flat, moved.flat) and np.array_equal(frame.labels, moved.labels)


def test_an_empty_present_still_forecasts(small_forecaster, street_window):
    present = street_window.present
    nothing = OccupancyFrame(present.flat[:0], present.labels[:0], present.world_from_grid, present.stamp_s)
    empty = Window.of(street_window.key, (nothing, nothing), street_window.truth)
    condition = small_forecaster.condition(small_forecaster.observe(empty.task))
    assert torch.isfinite(condition.forecast.mean).all()


@pytest.mark.chaotic
def test_autoencoder_learns_a_street(small_forecaster, street_window, figure):
    """A short training reconstructs the frames it saw."""
    frames, generator = (*street_window.history, *street_window.truth), torch.Generator().manual_seed(0)
    sites, labels = small_forecaster.voxel_sites(frames)
    autoencoder = small_forecaster.autoencoder.train()
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    for _ in range(400):
        loss = autoencoder.loss(sites, labels, 0.05, generator)
        optimiser.zero_grad()
        (loss.existence + loss.classes).backward()
        optimiser.step()
    autoencoder.calibrate([(sites, labels)])
    with torch.no_grad():
        decoded, classes = autoencoder.decode(*autoencoder.encode(sites, labels), sites.shape)
    common = np.intersect1d(decoded.keys.numpy(), sites.keys.numpy())
    figure("IoU", len(common) / len(np.union1d(decoded.keys.numpy(), sites.keys.numpy())), above=0.97)
    found, present = at_sites(classes[:, None].float(), decoded, sites)
    figure("right labels", (found[present][:, 0] == labels[present]).float().mean(), above=0.97)


def test_mean_loss_leaves_the_mean_a_plain_regression(small_forecaster, street_window):
    """The likelihood of the scale has no gradient in the mean head."""
    observation = small_forecaster.observe(street_window.task, street_window.truth)
    gradients = []
    for weight in (0.0, 1.0):
        small_forecaster.zero_grad()
        mean_loss(small_forecaster.condition(observation).forecast, observation.target, weight).backward()
        gradients.append(small_forecaster.mean.mean_head.weight.grad.clone())
    assert torch.equal(*gradients)


@pytest.mark.chaotic
@pytest.mark.parametrize("centre, expected", [("median", [0.0, 0.0]), ("mean", [1.2, 0.4])])
def test_the_centre_of_two_futures(centre, expected, figure):
    """Three windows of five at (0, 0), two at (3, 1): the median is the more frequent future, the mean is none."""
    futures = torch.tensor([[0.0, 0.0]] * 3 + [[3.0, 1.0]] * 2)
    found = torch.tensor([[1.0, 1.0]], requires_grad=True)
    optimiser = torch.optim.Adam([found], lr=0.05)
    for step in range(400):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        optimiser.zero_grad()
        forecast = MeanForecast(found.expand(5, 2), torch.ones(5, 2), torch.zeros(5, 1))
        mean_loss(forecast, futures, 0.0, centre).backward()
        optimiser.step()
    for axis, place in enumerate(expected):
        figure(f"place on axis {axis}", found[0, axis], above=round(place - 0.05, 2), below=round(place + 0.05, 2))


def test_a_crop_shows_its_sites_as_the_whole_window_does(small_forecaster, street_window, small_settings):
    """The same place has the same position and the same latents, whether a part of the window is shown or all."""
    grid, first = small_settings.grid, (8, 8)
    part = part_of(grid, first, (8, 8))
    whole = small_forecaster.observe(street_window.task, street_window.truth)
    crop = cropped(street_window, grid, first, part)
    observation = small_forecaster.observe(crop.task, crop.truth, region=part)
    offset = torch.tensor([4, 4, 0])  # coarse cells of 2 x 2 x 4 voxels
    coords = observation.layout.support.coords.long()
    coords[:, 1:] += offset
    rows = lookup(site_keys(coords, whole.layout.support.shape), whole.layout.support.keys)
    shared = rows < len(whole.layout.support)
    assert shared.float().mean() > 0.5  # the rest: what lies outside of the smaller grids was not observed
    rows = rows[shared]
    assert torch.allclose(observation.layout.position[shared], whole.layout.position[rows], atol=1e-6)
    assert torch.equal(observation.target[shared], whole.target[rows])


def test_patches_that_come_again_are_coded_as_each_by_itself(small_forecaster, street_window):
    """Frames that repeat and half a frame without labels: the same sites, latents, voxels and labels."""
    half = replace(street_window.present, labels=street_window.present.labels.copy())
    half.labels[::2] = UNLABELLED
    frames = (*street_window.history, street_window.present, half)
    autoencoder, shape = small_forecaster.autoencoder, small_forecaster.settings.grid.shape
    torch.nn.init.constant_(autoencoder.existence[0].bias, 0.2)
    voxels, labels = small_forecaster.voxel_sites(frames)
    with torch.inference_mode():
        sites, latents = autoencoder.encode(voxels, labels)
        again, repeated = autoencoder.encode_repeating(voxels, labels)
        assert torch.equal(sites.coords, again.coords) and torch.allclose(latents, repeated, atol=1e-5)
        decoded, classes = autoencoder.decode(sites, repeated, shape)
        decoded_again, classes_again = autoencoder.decode_repeating(sites, repeated, shape)
    assert torch.equal(decoded.coords, decoded_again.coords) and torch.equal(classes, classes_again)
    assert len(decoded) > 100


def test_no_patches(small_forecaster):
    nothing = sites_from_keys(torch.zeros(0, dtype=torch.int64), small_forecaster.settings.grid.shape, 1)
    with torch.inference_mode():
        sites, latents = small_forecaster.autoencoder.encode_repeating(nothing, nothing.keys)
        voxels, labels = small_forecaster.autoencoder.decode_repeating(sites, latents, nothing.shape)
    assert len(sites) == len(latents) == len(voxels) == len(labels) == 0


def voxels(**labels: int) -> Voxels:
    """Voxels at keys k0, k1, ... with their labels."""
    keys = sorted(int(name[1:]) for name in labels)
    return Voxels(torch.tensor(keys, dtype=torch.int64), torch.tensor([labels[f"k{key}"] for key in keys],
                                                                     dtype=torch.int64))


def as_dict(found: Voxels) -> dict[int, int]:
    return dict(zip(found.keys.tolist(), found.labels.tolist()))


def test_where_the_state_says_nothing_new_the_base_stays():
    base, coded = voxels(k1=4, k2=11, k5=16), voxels(k1=3, k2=11, k7=15)  # the code errs at 1, 5 and 7
    assert as_dict(corrected(coded, coded, base)) == as_dict(base)


def test_what_the_state_changes_is_changed():
    base, coded = voxels(k1=4, k2=11), voxels(k1=4, k2=11)
    changed = voxels(k2=11, k3=7)  # 1 goes, 3 comes
    assert as_dict(corrected(changed, coded, base)) == {2: 11, 3: 7}


def test_matter_that_stays_keeps_the_name_that_it_has():
    base, coded = voxels(k1=4, k2=11), voxels(k2=13)  # the code has lost 1 and errs at 2
    changed = voxels(k1=9, k2=7)
    assert as_dict(corrected(changed, coded, base)) == as_dict(base)


def test_a_sample_names_nothing_that_the_present_has_not(small_forecaster, street_window):
    observation = small_forecaster.observe(street_window.task)
    decode = small_forecaster.decoder(observation, street_window.task.targets)
    noise = torch.randn(observation.base.shape, generator=torch.Generator().manual_seed(5))
    found = {label for frame in decode(observation.base + noise) for label in frame.labels.tolist()}
    present = {label for frame in observation.moved for label in frame.labels.tolist()}
    anything = small_forecaster.decode_state(observation.base + noise, observation.layout.support).labels
    assert found <= present < set(anything.tolist()) | present


def test_unlabelled_base_takes_the_decoded_label():
    base, coded = voxels(k1=255, k2=255), voxels(k1=4)
    assert as_dict(corrected(coded, coded, base)) == {1: 4}
