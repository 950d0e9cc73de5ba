"""The networks of bodies' motions: what holds before any training, their loss in closed form, their derivatives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_bodies import GRID, MOTION, body, disturbed, motion_model, street
from torch.func import jvp

from occflow.flow.solvers import sample_flow
from occflow.geometry import planar_pose
from occflow.models import motion as motion_module
from occflow.models.body_scene import TENSORS, BodyScene, body_scene, join_scenes
from occflow.models.motion import (
    DOUBTFUL,
    LEVER_M,
    SOFTENING_M,
    STILL_M,
    SURE,
    BodyMotions,
    MotionCondition,
    MotionModel,
    motion_loss,
    motion_of,
    shown_bodies,
)
from occflow.models.networks import MeanForecast
from occflow.models.student_networks import around
from occflow.occupancy.bodies import tracked_bodies

SECONDS = np.array([0.5, 1.0, 1.5])
STEP = 1e-5  # of central differences in float64


def scene_of(num_windows: int = 2) -> BodyScene:
    """The bodies of the street, once a window."""
    task = street().task
    return join_scenes([body_scene(task.history, shown_bodies(task, GRID), GRID)] * num_windows)


def motions_of(bodies, condition: MotionCondition | None = None) -> BodyMotions:
    return BodyMotions(tuple(bodies), SECONDS, condition)


def test_untrained_the_centre_is_the_track_and_its_gaussian_is_sampled_at_any_steps():
    model, scene = motion_model(), scene_of()
    with torch.no_grad():
        condition = model.condition(scene)
        noise = torch.randn_like(condition.forecast.mean)
        assert torch.equal(condition.forecast.mean, torch.zeros(len(scene), 9))
        assert torch.allclose(model.one_step(noise, condition), noise, atol=1e-5)
        for steps, tolerance in ((10, 0.05), (64, 1e-2)):
            many = sample_flow(model.velocity_field(condition), noise, condition.sample, 2, steps, "heun")
            assert torch.allclose(many, noise, atol=tolerance)
    one_s = condition.forecast.scale.view(len(scene), 3, 3)[:, 1]
    assert torch.allclose(one_s, torch.full_like(one_s, motion_module.FIRST_SCALE_M_PER_S))
    turning = [body(planar_pose(1, 2, 0.3), (4.0, 0.0), 0.3), body(planar_pose(0, 0, 0))]
    moved = motions_of(turning).world_motions(torch.zeros(2, 9))
    assert np.allclose(moved[0] @ turning[0].world_from_body, turning[0].poses(SECONDS))
    assert np.array_equal(moved[1], np.tile(np.eye(4), (3, 1, 1)))


def test_where_the_world_lies_does_not_matter():
    """Turned, moved and lifted with the ego and all bodies in it: the same views, centres and scales."""
    task, elsewhere = street().task, planar_pose(-300.0, 120.0, 2.2, 5.0)
    history = tuple(replace(frame, world_from_grid=elsewhere @ frame.world_from_grid) for frame in task.history)
    bodies = [replace(body(one.world_from_body, (2.0, 0.3), 0.2), slots=one.slots)
              for one in shown_bodies(task, GRID)]
    moved = [replace(one, world_from_body=elsewhere @ one.world_from_body,
                     centres_m=one.centres_m @ elsewhere[:3, :3].T + elsewhere[:3, 3]) for one in bodies]
    here, there = body_scene(task.history, bodies, GRID), body_scene(history, moved, GRID)
    for name in TENSORS:
        assert torch.allclose(getattr(here, name), getattr(there, name), atol=1e-4), name
    model = disturbed(motion_model())
    with torch.no_grad():
        found, again = model.condition(here).forecast, model.condition(there).forecast
    assert torch.allclose(found.mean, again.mean, atol=1e-4) and torch.allclose(found.scale, again.scale, atol=1e-4)
    assert (found.mean[0] - found.mean[1]).abs().max() > 1e-3  # bodies are told apart


@given(st.lists(st.tuples(*[st.floats(-20, 20)] * 2, st.floats(-3.1, 3.1), st.floats(-15, 15), st.floats(-2, 2)),
                min_size=1, max_size=3))
def test_a_motion_and_where_it_leads_are_inverse(cases):
    """The turn about the track's, the short way round."""
    bodies = tuple(body(planar_pose(x, y, yaw), (speed, 0.1), turn) for x, y, yaw, speed, turn in cases)
    offsets = np.array([[(y, x, yaw), (x, y, -yaw), (x, x, yaw / 2)] for x, y, yaw, _, _ in cases])
    motion = motion_of(bodies, offsets, SECONDS)
    assert np.abs(motion[:, 2::3]).max() <= np.pi * LEVER_M + 1e-9
    back = motions_of(bodies).offsets(torch.from_numpy(motion))
    assert np.allclose(back[..., :2], offsets[..., :2])
    assert np.allclose(np.exp(1j * back[..., 2]), np.exp(1j * offsets[..., 2]))
    assert np.isnan(motion_of(bodies, np.full_like(offsets, np.nan), SECONDS)).all()


def test_what_hardly_moves_stands_exactly():
    bodies, reach = [body(planar_pose(50.0 * place, 3.0, 0.2)) for place in range(4)], STILL_M
    offsets = np.zeros((4, 3, 3))
    offsets[0, 2, 0], offsets[1, 2, 0] = 0.9 * reach, 1.1 * reach
    offsets[2, :, 1], offsets[2, :, 2] = 0.6 * reach, 0.6 * reach / LEVER_M  # each little, together not
    offsets[3, :, 2] = -0.9 * reach / LEVER_M
    moved = motions_of(bodies).moved(offsets)
    still = [np.array_equal(one, np.tile(np.eye(4), (3, 1, 1))) for one in moved]
    assert still == [True, False, False, True]
    assert np.array_equal(moved[1, 0], np.eye(4)) and np.allclose(moved[1, 2, :2, 3],
                                                                  1.1 * reach * np.array([np.cos(.2), np.sin(.2)]))


def forecast_of(mean: torch.Tensor, scale: torch.Tensor) -> MeanForecast:
    return MeanForecast(mean, scale, torch.zeros(len(mean), 1))


def test_the_loss_of_a_centre_is_least_at_the_more_frequent_of_two_futures():
    """Three bodies of five end at 0, two at (4, 2); at the mean of them the loss is higher."""
    motion = torch.tensor([[0.0, 0.0, 0.0]] * 3 + [[4.0, 2.0, 0.0]] * 2).double()
    known = torch.ones(5, 3, dtype=torch.bool)

    def loss(share: float) -> float:
        centre = torch.tensor([[4.0 * share, 2.0 * share, 0.0]]).double().expand(5, 3)
        return float(motion_loss(forecast_of(centre, torch.ones(5, 3).double()), motion, known, 0.0))

    apart = 20 ** 0.5
    for share in (0.0, 0.4, 1.0):
        near, far = ((square + SOFTENING_M ** 2) ** 0.5 for square in (20 * share**2, 20 * (1 - share) ** 2))
        assert loss(share) == pytest.approx(0.6 * near + 0.4 * far)
    found = min(np.linspace(-0.1, 1.1, 241), key=loss)
    assert found * apart < SOFTENING_M and loss(0.0) < loss(0.4) < loss(1.0)


def test_what_is_not_known_does_not_count():
    """Neither its value nor how many there are of it; nothing known is no loss at all."""
    motion, known = torch.randn(4, 6), torch.ones(4, 6, dtype=torch.bool)
    known[2, 3:], known[3] = False, False
    found = []
    for hidden in (0.0, 7.0, float("nan")):
        mean, scale = torch.zeros(4, 6, requires_grad=True), torch.ones(4, 6, requires_grad=True)
        loss = motion_loss(forecast_of(mean, scale), motion.masked_fill(~known, hidden), known, 0.5)
        loss.backward()
        assert (mean.grad[~known] == 0).all() and (scale.grad[~known] == 0).all() and (mean.grad[known] != 0).all()
        found.append(loss.item())
    assert found == [found[0]] * 3
    seen = motion_loss(forecast_of(torch.zeros(2, 6), torch.ones(2, 6)), motion[:2], known[:2], 0.5).item()
    third = motion_loss(forecast_of(torch.zeros(1, 3), torch.ones(1, 3)), motion[2:3, :3], known[2:3, :3], 0.5).item()
    assert found[0] == pytest.approx((4 * seen + third) / 5, rel=1e-6)
    assert motion_loss(forecast_of(mean, scale), motion, torch.zeros_like(known), 0.5) == 0


def test_the_scale_is_right_at_the_root_mean_square_and_leaves_the_centre_alone():
    motion, known = torch.tensor([[3.0, 0.5, 0.1], [-1.0, 0.5, 0.3]]).double(), torch.ones(2, 3, dtype=torch.bool)
    scale = motion.square().mean(dim=0).sqrt().requires_grad_()
    mean = torch.zeros(2, 3).double().requires_grad_()
    plain, weighted = (torch.autograd.grad(motion_loss(forecast_of(mean, scale.expand(2, 3)), motion, known, weight),
                                           [mean, scale], allow_unused=True) for weight in (0.0, 1.0))
    assert torch.allclose(weighted[0], plain[0]) and weighted[1].abs().max() < 1e-12


def test_the_flows_data_come_back_and_only_the_blind_see_nothing():
    model, scene = disturbed(motion_model()), scene_of()
    condition = model.condition(scene)
    motion = torch.randn_like(condition.forecast.mean)
    assert torch.allclose(condition.state(condition.residual(motion)), motion, atol=1e-5)
    assert condition.weight.mean().item() == pytest.approx(1.0)
    blind = condition.without_history(torch.tensor([True, False])).forecast
    half = len(scene) // 2
    assert (blind.mean[:half] == 0).all() and (blind.scale[:half] == 1).all() and (blind.features[:half] == 0).all()
    assert torch.equal(blind.mean[half:], condition.forecast.mean[half:])
    x, t = torch.randn_like(motion), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        none, seen, guided = (model.velocity_field(condition, scale)(x, t) for scale in (0.0, 1.0, 3.0))
    assert not torch.allclose(none, seen) and torch.allclose(guided, none + 3 * (seen - none), atol=1e-3)


RECORDS = {"plain": None, "posterior": {"kind": "posterior"}, "transition": {"kind": "transition"}}


def average_velocity(network, part: str, context, x: torch.Tensor):
    decided = torch.tensor([0.6, 0.9], dtype=x.dtype)
    if part == "posterior":
        return lambda y, r, s: network.posterior(y, r, s, x.flip(1), decided, *context)
    return network.transition(x.flip(1), decided, *context) if part == "transition" else (
        lambda x, r, t: network(x, r, t, *context))


@pytest.fixture(scope="module")
def double_condition() -> MotionCondition:
    with torch.no_grad():
        scene = scene_of()
        scene = replace(scene, **{name: getattr(scene, name).double() for name in TENSORS if name != "sample"})
        return disturbed(motion_model().double()).condition(scene)


@pytest.mark.parametrize("part", RECORDS)
def test_derivatives_equal_central_differences_also_those_of_weights(double_condition, part):
    """In forward mode along the flow and the times, and the gradient of that in all parameters."""
    scene, context = double_condition.layout, (double_condition.forecast, double_condition.layout)
    torch.manual_seed(1)
    network = disturbed(around(MotionModel(MOTION, 2, 3).velocity, RECORDS[part]).double(), seed=1)
    x, w, dx = torch.randn(3, len(scene), 9).double().unbind()
    inputs = (x, torch.tensor([0.2, 0.4]).double(), torch.tensor([0.8, 0.7]).double())
    tangents = (dx, torch.tensor([0.5, 0.2]).double(), torch.tensor([1.0, -0.3]).double())

    def derivative() -> torch.Tensor:
        return jvp(average_velocity(network, part, context, x), inputs, tangents)[1]

    function = average_velocity(network, part, context, x)
    with torch.no_grad():
        ahead, behind = (function(*(one + sign * STEP * tangent for one, tangent in zip(inputs, tangents)))
                         for sign in (1, -1))
        found = derivative()
    assert found.abs().max() > 0.1 and torch.allclose(found, (ahead - behind) / (2 * STEP), atol=1e-6, rtol=1e-6)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad((w * derivative()).sum(), parameters, allow_unused=True)
    directions = [torch.randn_like(one) for one in parameters]
    along = sum((gradient * direction).sum().item() for gradient, direction in zip(gradients, directions)
                if gradient is not None)
    size = sum(gradient.pow(2).sum().item() for gradient in gradients if gradient is not None) ** 0.5
    sums = []
    for step in (STEP, -2 * STEP):
        for one, direction in zip(parameters, directions):
            one.data += step * direction
        with torch.no_grad():
            sums.append((w * derivative()).sum().item())
    assert abs(along - (sums[0] - sums[1]) / (2 * STEP)) < 1e-5 * size


def test_of_too_many_bodies_the_largest_are_shown(monkeypatch):
    task = street().task
    sizes = {len(one.slots) for one in tracked_bodies(task.history, GRID)}
    one_voxel = replace(task.history[-1])
    index = np.array([[18, 16, 5], [1, 1, 5]])
    flat = np.concatenate([one_voxel.flat, GRID.flatten(index)])
    order = np.argsort(flat)
    labels = np.concatenate([one_voxel.labels, np.array([7, 7], np.uint8)])[order]
    present = replace(one_voxel, flat=flat[order], labels=labels)
    specked = replace(task, history=(*task.history[:-1], present))
    everyone = shown_bodies(specked, GRID)
    assert len(everyone) == 6 and {len(one.slots) for one in everyone} == {1, *sizes}
    monkeypatch.setattr(motion_module, "MOST_BODIES", 4)
    shown = shown_bodies(specked, GRID)
    assert [one.slots.tolist() for one in shown] == [one.slots.tolist() for one in everyone if len(one.slots) > 1]


def test_what_is_faster_than_training_has_shown_goes_on_as_tracked():
    """In between the networks are believed ever less; slower bodies, and those of doubtful tracks, are as they were."""
    model = disturbed(motion_model())
    tracks = ((5.0, 1.0), (11.0, 1.0), (15.0, 1.0), (15.0, DOUBTFUL), (15.0, (DOUBTFUL + SURE) / 2))
    bodies = [replace(body(planar_pose(8.0 * place, 0.0, 0.3), (speed, 0.0)), confidence=confidence)
              for place, (speed, confidence) in enumerate(tracks)]
    scene = body_scene(street().task.history, bodies, GRID)
    free = model.condition(scene).forecast
    model.fastest_m_per_s.fill_(10.0)
    bound = model.condition(scene).forecast
    assert torch.equal(bound.mean[0], free.mean[0]) and torch.equal(bound.scale[0], free.scale[0])
    assert torch.allclose(bound.mean[1], free.mean[1] / 2, atol=1e-6)  # half way through the fading
    assert (bound.mean[2] == 0).all() and torch.allclose(bound.scale[2], model.mean.first_scale)
    assert torch.allclose(bound.mean[3], free.mean[3]) and torch.allclose(bound.scale[3], free.scale[3])
    assert torch.allclose(bound.mean[4], free.mean[4] / 2, atol=1e-6)
