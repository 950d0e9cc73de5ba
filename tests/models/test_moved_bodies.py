"""The flow of the voxels about bodies that were moved: the channel that tells what stays, samples, and forecasts."""

import numpy as np
import pytest
import torch
from small_bodies import AHEAD, GRID, STANDING, disturbed, forecaster, street
from stream_world import FakeClock

from occflow.errors import InputError
from occflow.forecasting.networks import (
    CentralForecaster,
    Sampler,
    StudentForecaster,
    TaskEncoder,
    TeacherForecaster,
)
from occflow.models.flow_model import ABOUT, CHANGES, SAME, STAYS, Condition, FlowModel, restated
from occflow.models.motion import MIN_SCALE_M
from occflow.models.networks import MeanForecast
from occflow.models.preparation import moved_as
from occflow.occupancy.frame import Frames
from occflow.stream.forecaster import StreamNetwork
from occflow.stream.latency import LatencyRecord


@pytest.fixture()
def model() -> FlowModel:
    """Networks that do something; motions of some metres, voxels that hardly change."""
    made = forecaster()
    disturbed(made.motion, 0.05)
    made.motion.mean.first_scale.fill_(1.5)
    for head in (made.mean.mean_head, made.velocity.out):
        torch.nn.init.normal_(head.weight, std=0.02)
    return made


def equal(one: Frames, other: Frames) -> bool:
    return all(np.array_equal(a.flat, b.flat) and np.array_equal(a.labels, b.labels)
               for a, b in zip(one, other, strict=True))


def test_a_state_tells_anew_what_is_exactly_as_its_base():
    base = torch.tensor([[1.0, 0.0, 1.0, STAYS]] * 3)
    state = torch.tensor([[1.0, SAME / 2, 1.0, CHANGES], [1.0, 0.0, 1.0 - 2 * SAME, STAYS], [1.0, 3.0, -1.0, STAYS]])
    assert restated(state, base)[:, -1].tolist() == [STAYS, CHANGES, CHANGES]
    assert torch.equal(restated(state, base)[:, :-1], state[:, :-1])


def test_changed_sites_go_about_the_new_base_and_all_others_keep_the_mean():
    base, scale = torch.randn(5, 4), torch.rand(5, 4) + 0.1
    condition = Condition(None, MeanForecast(base + 0.3, scale, torch.randn(5, 2)), base, stays=True)
    other = base.clone()
    other[1, 2] += 1.0
    other[3, 0] += SAME / 2  # the same patch
    moved = condition.about(other)
    kept = torch.tensor([True, False, True, True, True])
    assert torch.equal(moved.forecast.mean[kept], condition.forecast.mean[kept])
    assert torch.equal(moved.forecast.scale[kept], scale[kept]) and torch.equal(moved.base, other)
    assert torch.equal(moved.forecast.mean[1], other[1]) and (moved.forecast.scale[1] == ABOUT).all()
    assert torch.equal(condition.about(base).forecast.mean, condition.forecast.mean)


def test_a_state_whose_last_channel_is_above_zero_is_its_base():
    base, mean = torch.randn(4, 3), torch.zeros(4, 3)
    residual = torch.tensor([[5.0, 5.0, 0.1], [5.0, 5.0, -0.1], [5.0, 5.0, 9.0], [0.0, 0.0, -9.0]])
    state = Condition(None, MeanForecast(mean, torch.ones(4, 3), mean), base, stays=True).state(residual)
    assert torch.equal(state[[0, 2]], base[[0, 2]]) and torch.equal(state[[1, 3]], residual[[1, 3]])


def test_a_target_tells_where_the_base_comes_true(model):
    """Bodies that stand stay, those that move otherwise than foreseen do not."""
    window = street()
    observation = model.observe(window.task, window.truth)
    stays, same = observation.target[:, -1], (observation.target - observation.base)[:, :-1].abs().amax(dim=1) < SAME
    assert torch.equal(stays, torch.where(same, STAYS, CHANGES)) and 0.05 < same.float().mean() < 1
    assert (observation.base[:, -1] == STAYS).all()


def test_where_all_stays_a_sample_is_its_moved_bodies_exactly(model):
    """With any weights of the autoencoder, also where they were moved beyond the support."""
    task = street().task
    with torch.inference_mode():
        encoded = TaskEncoder(model).encode(task)
        motions = encoded.observation.motions
        motion = motions.condition.state(3 * torch.randn_like(motions.condition.forecast.mean))
        observation, condition = model.about(encoded.observation, encoded.condition, motion)
        state = condition.state(torch.cat([torch.randn_like(condition.base[:, 1:]) * 0.1,
                                           torch.full_like(condition.base[:, :1], 100.0)], dim=1))
        frames = model.decoder(observation, task.targets)(state)
        whole = model.state_of(observation.moved, observation.layout.support, GRID)
    expected = moved_as(task, GRID, [body.slots for body in motions.bodies], motions.world_motions(motion))
    assert equal(frames, expected) and equal(observation.moved, expected)
    assert torch.allclose(observation.base, whole, atol=1e-5)  # of which what is other was encoded alone
    assert not equal(expected, encoded.observation.moved)


def test_untrained_the_base_is_the_tracked_present(small_settings):
    task = street().task
    bodies, tracked = (forecaster(base=base).observe(task).moved for base in ("bodies", "tracked"))
    assert equal(bodies, tracked)


def samples(model: FlowModel) -> list:
    return [StudentForecaster(model), StudentForecaster(model, 2), TeacherForecaster(model, Sampler(2))]


def test_the_same_seed_is_the_same_sample_and_another_one_moves_otherwise(model):
    task = street().task
    for one in samples(model):
        first, second, again = (each.frames for each in one.samples(task, [1, 2, 1]))
        assert equal(first, again) and equal(first, one.forecast(task, 1).frames)
        cars = [[set(frame.flat[frame.labels == 4].tolist()) for frame in frames] for frames in (first, second)]
        assert cars[0] != cars[1] and all(cars[0]) and all(cars[1])
    central = CentralForecaster(model).samples(task, [1, 2])
    assert equal(central[0].frames, central[1].frames)


def test_a_temperature_leads_from_the_centre_to_the_sample_in_one_evaluation(model):
    """Bodies and voxels: at 0 the centre, at 1 the sample, each bit for bit; between them every state is."""
    task, evaluated = street().task, []
    centre = CentralForecaster(model).forecast(task, 1).frames
    model.velocity.register_forward_hook(lambda *_: evaluated.append(1))
    for one in samples(model):
        plain = one.forecast(task, 1).frames
        assert equal(one.at(1).forecast(task, 1).frames, plain) and not equal(plain, centre)
        assert equal(one.at(0).forecast(task, 1).frames, centre)
        half, name = one.at(0.5), one.name
        assert (half.name, half.nfe, half.at(1).name) == (f"{name}-at0.5", one.nfe, name)
        evaluated.clear()
        assert not equal(half.forecast(task, 1).frames, plain) and len(evaluated) == one.nfe
        assert one.temperature == 1 and equal(one.forecast(task, 1).frames, plain)  # it is left as it was
    motions = TaskEncoder(model).encode(task).observation.motions.condition
    noise = torch.randn(motions.forecast.mean.shape)
    with torch.inference_mode():
        whole, half = (motions.state(one._tempered(noise, motions, model.motion))
                       for one in (StudentForecaster(model), StudentForecaster(model).at(0.5)))
    assert torch.allclose(half, (whole + motions.forecast.mean) / 2, atol=1e-6)


@pytest.mark.parametrize("temperature", [-0.01, 1.01, float("nan")])
def test_a_temperature_beyond_centre_and_distribution_is_refused_in_one_line(model, temperature):
    for one in (StudentForecaster(model), CentralForecaster(model)):
        with pytest.raises(InputError, match="^temperature: .* is not from 0 .* to 1 .*$"):
            one.at(temperature)


def test_what_cannot_be_off_stands_in_every_sample(model):
    """A body that stands, with the smallest scale that there is, is not even shaken."""
    task = street(names=(STANDING,)).task
    model.motion = forecaster().motion
    model.motion.mean.first_scale.fill_(0.0)
    with torch.inference_mode():
        encoded = TaskEncoder(model).encode(task)
        assert (encoded.observation.motions.condition.forecast.scale == MIN_SCALE_M).all()
        for seed in range(5):
            noise = torch.randn(1, 9, generator=torch.Generator().manual_seed(seed))
            observation, _ = model.about(encoded.observation, encoded.condition,
                                         encoded.observation.motions.condition.state(noise))
            assert equal(observation.moved, encoded.observation.moved)


def test_encoded_once_for_several_forecasters_all_is_the_same(model):
    task = street().task
    shared = TaskEncoder(model, remember=True)
    for one in (*samples(model), CentralForecaster(model)):
        expected = [each.frames for each in one.samples(task, [3, 4])]
        one.encoder = shared
        assert all(equal(each.frames, frames) for each, frames in zip(one.samples(task, [3, 4]), expected))
    assert shared.encode(task) is shared.encode(task)


@pytest.mark.parametrize("delivers", ["centre", "sample"])
def test_a_stream_delivers_what_the_batch_does(model, delivers):
    task = street().task
    stream = StreamNetwork(model, LatencyRecord(FakeClock()), delivers)
    futures = stream.futures(task, [stream.encode(frame) for frame in task.history], 5)
    batch = {"centre": CentralForecaster(model), "sample": StudentForecaster(model)}
    assert equal(futures.frames, batch[delivers].forecast(task, 5).frames)
    other = batch["sample" if delivers == "centre" else "centre"].forecast(task, 5).frames
    found = futures.other([0, 2])
    assert equal([found[0], found[2]], [other[0], other[2]]) and not equal(futures.frames, other)


def test_a_history_without_bodies_is_forecast_as_any(model):
    window = street(names=())
    for one in (*samples(model), CentralForecaster(model)):
        assert len(one.forecast(window.task, 0).frames) == 3
    assert model.observe(window.task).motions.bodies == ()


def test_bodies_of_a_base_of_another_kind_are_nobodys(small_forecaster):
    assert small_forecaster.motion is None
    task = street(names=(AHEAD,)).task
    model = forecaster(base="persistence", stays=False)
    assert model.observe(task).motions is None and StudentForecaster(model).forecast(task, 0).frames
