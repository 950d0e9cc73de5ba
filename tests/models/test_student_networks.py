"""Students with parts of their own start at their teacher, and come back from their checkpoints."""

import pytest
import torch

from occflow.distill.methods import method_from_config
from occflow.errors import InputError
from occflow.flow.posterior import posterior_velocity
from occflow.forecasting.checkpoint import load_forecaster, save_checkpoint
from occflow.forecasting.rows import rows_of
from occflow.models.student_networks import CriticNetwork, PosteriorNetwork, TransitionNetwork, around, sample_student

RECORDS = {"meta_flow_map": {"kind": "posterior"}, "transition": {"kind": "transition", "blocks": 1, "inner_steps": 2}}


@pytest.fixture()
def condition(small_forecaster, street_window):
    """A condition, and a teacher that differs from an untrained one."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    small_forecaster.requires_grad_(False)
    return small_forecaster.condition(small_forecaster.observe(street_window.task))


def test_an_untrained_posterior_network_has_the_teachers_exact_posterior_velocity(small_forecaster, condition):
    teacher, context = small_forecaster.velocity_field(condition), (condition.forecast, condition.layout)
    network = PosteriorNetwork(small_forecaster.velocity)
    y, x_t = torch.randn(2, *condition.forecast.mean.shape)
    s, t = torch.tensor([0.7]), torch.tensor([0.4])
    exact = posterior_velocity(teacher, y, s, x_t, t, condition.sample)
    assert torch.allclose(network.posterior(y, s, s, x_t, t, *context), exact, atol=1e-4)
    assert torch.allclose(network(y, s, s, *context), teacher(y, s), atol=1e-4)


def test_an_untrained_transition_is_gaussian_about_the_teachers_velocity(small_forecaster, condition):
    context, t = (condition.forecast, condition.layout), torch.ones(1)
    network = TransitionNetwork(small_forecaster.velocity)
    noise = torch.randn(condition.forecast.mean.shape)
    inner = network.transition(noise, t, *context)
    w = torch.randn(noise.shape)
    assert torch.allclose(w - inner(w, 0 * t, t), small_forecaster.velocity_field(condition)(noise, t) + w, atol=1e-5)
    one, two = (sample_student(network, noise, 1, steps, "inner", *context) for steps in (1, 4))
    assert torch.allclose(one, two, atol=1e-4)  # a Gaussian's flow is straight to any number of steps


def test_the_heavy_network_runs_once_whatever_the_inner_steps(small_forecaster, condition, monkeypatch):
    network, calls = TransitionNetwork(small_forecaster.velocity), []
    features = small_forecaster.velocity.features
    monkeypatch.setattr(small_forecaster.velocity, "features", lambda *inputs, **shown: calls.append(1) or features(
        *inputs, **shown))
    sample_student(network, torch.randn(condition.forecast.mean.shape), 1, 5, "inner", condition.forecast,
                   condition.layout)
    assert len(calls) == 1


def test_a_critic_leaves_the_velocity_as_it_is(small_forecaster, condition):
    context, t = (condition.forecast, condition.layout), torch.tensor([0.3])
    x = torch.randn(condition.forecast.mean.shape)
    network = CriticNetwork(small_forecaster.velocity)
    assert torch.equal(network(x, t, t, *context), small_forecaster.velocity(x, t, t, *context))
    assert network.logits(x, t, *context).shape == (len(x),)


@pytest.mark.parametrize("method", RECORDS)
def test_a_student_with_parts_comes_back_from_its_checkpoint(small_forecaster, small_settings, street_window, tmp_path,
                                                             method):
    small_forecaster.velocity = around(small_forecaster.velocity, RECORDS[method])
    for parameter in small_forecaster.velocity.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    path = tmp_path / "student.safetensors"
    save_checkpoint(path, small_forecaster, "student", small_settings, {"distill": {"method": method}})
    loaded = load_forecaster(path, ("student",))
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), small_forecaster.state_dict().values()))
    centre, *rows = rows_of(path, small_settings, [], (1, 2))
    assert (centre.name, centre.nfe) == ("student-central", 0)
    assert [row.nfe for row in rows] == ([1, 1] if method == "transition" else [1, 2])
    first, again, other = (rows[1].forecast(street_window.task, seed).frames for seed in (0, 0, 1))
    assert all((a.flat == b.flat).all() for a, b in zip(first, again)) and len(other) == len(first)


def test_methods_say_what_parts_their_networks_have():
    assert method_from_config({"method": "transition", "head_blocks": 2}).student_network["blocks"] == 2
    assert method_from_config({"method": "dmd"}).auxiliary_network is None
    dmd = method_from_config({"method": "dmd", "adversarial": 1e-3})
    assert dmd.auxiliary_network == {"kind": "critic"} and dmd.needs_data
    with pytest.raises(InputError, match="critic"):
        around(torch.nn.Linear(1, 1), {"kind": "novel"})
