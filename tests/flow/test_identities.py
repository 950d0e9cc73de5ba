"""The identities of a flow map on Gaussians: zero at the truth, the closed form off it (docs/methods.md 0)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.flow.closed_form import GaussianFlow, MixtureFlow
from occflow.flow.identities import directional_derivative, eulerian_target, lagrangian_target, semigroup_target
from occflow.flow.path import per_row
from occflow.flow.solvers import mean_velocity
from occflow.flow.times import between, logit_normal_pairs

COUNT = 64
SAMPLE = torch.arange(COUNT)
TRUTH = GaussianFlow(torch.tensor([1.5, -0.5]).double(), torch.tensor([0.3, 2.0]).double())
OTHER = GaussianFlow(torch.tensor([0.2, 0.4]).double(), torch.tensor([0.9, 1.1]).double())


def velocity_of(flow):
    return lambda x, t: flow.velocity(x, per_row(t, SAMPLE))


def average_of(flow):
    return lambda x, r, t: flow.mean_velocity(x, per_row(r, SAMPLE), per_row(t, SAMPLE))


def case(seed: int = 0):
    """x [N, 2] and r < q < t [N]."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.rand(3, COUNT, generator=generator, dtype=torch.float64).sort(dim=0).values
    return torch.randn(COUNT, 2, generator=generator, dtype=torch.float64), *times.unbind()


def targets(flow, field, x, r, q, t) -> dict[str, torch.Tensor]:
    """Every target of u(x, r, t) for the flow's u and the field's velocity."""
    average, velocity = average_of(flow), velocity_of(field)
    return {"eulerian": eulerian_target(average, velocity(x, t), x, r, t, SAMPLE),
            "lagrangian": lagrangian_target(average, velocity, x, r, t, SAMPLE),
            "semigroup": semigroup_target(average, x, r, q, t, SAMPLE)}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_every_identity_holds_at_the_truth(seed):
    x, r, q, t = case(seed)
    exact = average_of(TRUTH)(x, r, t)
    for name, target in targets(TRUTH, TRUTH, x, r, q, t).items():
        assert torch.allclose(target, exact, rtol=1e-8, atol=1e-8), name


def test_off_the_truth_residuals_are_the_velocity_differences():
    """Eulerian: (v_P - v_Q)(x_t) sd_r / sd_t, the flow's Jacobian; Lagrangian: (v_P - v_Q)(x_r)."""
    x, r, q, t = case()
    average, mine, true = average_of(OTHER), velocity_of(OTHER), velocity_of(TRUTH)
    found = targets(OTHER, TRUTH, x, r, q, t)
    (_, std_r), (_, std_t) = (OTHER.marginal(time[:, None]) for time in (r, t))
    x_r = OTHER.flow_map(x, r[:, None], t[:, None])
    u = average(x, r, t)
    assert torch.allclose(u - found["eulerian"], (mine(x, t) - true(x, t)) * std_r / std_t, atol=1e-9)
    assert torch.allclose(u - found["lagrangian"], mine(x_r, r) - true(x_r, r), atol=1e-9)


def test_off_a_semigroup_the_residual_has_its_closed_form():
    """u + b (t - r) is no average velocity: the two jumps miss by a known amount."""
    x, r, q, t = case()
    bend = torch.tensor([0.3, -0.2]).double()

    def bent(x, r, t):
        return average_of(TRUTH)(x, r, t) + bend * per_row(t - r, SAMPLE)

    (_, std_r), (_, std_q) = (TRUTH.marginal(time[:, None]) for time in (r, q))
    span, first, second = (per_row(time, SAMPLE) for time in (t - r, t - q, q - r))
    expected = bend * (span**2 - first**2 - second**2 + (1 - std_r / std_q) * first**2) / span
    residual = bent(x, r, t) - semigroup_target(bent, x, r, q, t, SAMPLE)
    assert torch.allclose(residual, expected, atol=1e-9)


def test_the_inverse_map_undoes_the_map():
    x, r, _, t = (time[:, None] if time.ndim == 1 else time for time in case())
    there = TRUTH.flow_map(x, r, t)
    assert torch.allclose(there - (r - t) * TRUTH.mean_velocity(there, t, r), x, atol=1e-9)


def test_mean_velocity_at_equal_times_is_the_velocity():
    x, _, _, t = case()
    assert torch.allclose(average_of(TRUTH)(x, t, t), velocity_of(TRUTH)(x, t), atol=1e-12)


def test_a_single_component_mixture_is_the_gaussian():
    x, _, _, t = case()
    mixture = MixtureFlow(torch.ones(1).double(), torch.tensor([[1.5, -0.5]]).double(), 0.3)
    gaussian = GaussianFlow(torch.tensor([1.5, -0.5]).double(), torch.tensor([0.3, 0.3]).double())
    assert torch.allclose(mixture.velocity(x, t[:, None]), gaussian.velocity(x, t[:, None]), atol=1e-9)


@pytest.mark.parametrize("identity", ["eulerian", "lagrangian"])
def test_identities_hold_for_a_mixture_integrated_finely(identity):
    """No closed form of u here: u by 200 Heun steps, differentiated through."""
    mixture = MixtureFlow(torch.tensor([0.7, 0.3]).double(), torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double(), 0.5)
    x, r, q, t = case()

    def average(x, r, t):
        return mean_velocity(velocity_of(mixture), x, r, t, SAMPLE, 200, "heun")

    r = r.clamp(max=0.9) * 0.9
    t = (r + 0.1 + 0.5 * q).clamp(max=1.0)
    velocity = velocity_of(mixture)
    target = (eulerian_target(average, velocity(x, t), x, r, t, SAMPLE) if identity == "eulerian"
              else lagrangian_target(average, velocity, x, r, t, SAMPLE))
    assert (target - average(x, r, t)).abs().max() < 2e-4


def test_central_differences_agree_with_forward_mode_and_carry_gradients():
    weight = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    x, _, _, t = case()
    inputs, tangents = (x, t), (torch.ones_like(x), torch.full_like(t, 0.5))
    found = {}
    for mode in ("forward", "central"):
        value, change = directional_derivative(lambda x, t: torch.sin(x @ weight) * t[:, None], inputs, tangents, mode)
        found[mode] = (value, change, torch.autograd.grad(change.sum(), weight)[0])
    for exact, differences in zip(found["forward"], found["central"]):
        assert torch.allclose(exact, differences, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="sideways"):
        directional_derivative(torch.sin, (x,), (x,), "sideways")


def test_pairs_are_sorted_and_share_equal_times():
    generator = torch.Generator().manual_seed(0)
    r, t = logit_normal_pairs(20_000, generator, -0.4, 1.0, 0.25)
    assert (r <= t).all() and float((r == t).float().mean()) == pytest.approx(0.25, abs=0.02)
    q = between(r, t, torch.rand(t.shape, generator=generator))
    assert (q >= r).all() and (q <= t).all()
