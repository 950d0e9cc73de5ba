"""Every method on a Gaussian: nothing to learn at the truth, the right way off it, and it gets there.

The student is the exact flow map of N(m, s^2) with learnable m and s, the auxiliary the exact velocity of its
samples, the teacher the velocity of N(2, 0.5^2).
"""

import pytest
import torch
import yaml

from occflow.command_line import CONFIG_DIR, compose_config
from occflow.distill.consistency import ContinuousConsistency, DiscreteConsistency
from occflow.distill.dmd import DistributionMatching
from occflow.distill.energy import EnergyScore, EnergyStudent
from occflow.distill.flow_maps import LagrangianMap, SemigroupMap, TerminalVelocityMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.mean_flow import MeanFlow, StabilisedMeanFlow
from occflow.distill.meta_flow_map import MetaFlowMap
from occflow.distill.methods import METHODS, method_from_config
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.mfd_map import MappedMeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.distill.transition import TransitionMatching
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.errors import InputError
from occflow.flow.closed_form import GaussianFlow
from occflow.flow.share import Share

COUNT = 1024
INDEX = torch.arange(COUNT)
TEACHER = GaussianFlow(torch.tensor([2.0]), torch.tensor([0.5]))
DATA = torch.special.ndtri((INDEX[:, None] + 0.5) / COUNT)  # a unit Gaussian's quantiles: no luck of a draw
BATCH = Batch(INDEX, (COUNT, 1), COUNT, data=DATA / DATA.std() * TEACHER.std + TEACHER.mean)
FROM_TEACHER = {
    "mfd": MeanFlowDistillation(steps=2, solver="heun"), "mfd, 2 draws": MeanFlowDistillation(steps=2, draws=2),
    "mfd, maps": MappedMeanFlowDistillation(), "mfd, maps, 2 draws": MappedMeanFlowDistillation(draws=2),
    "vsd": VariationalScoreDistillation(), "vsd, 4 draws": VariationalScoreDistillation(draws=4),
    "dmd": DistributionMatching(), "consistency": DiscreteConsistency(intervals=32),
    "continuous consistency": ContinuousConsistency(), "mean flow": MeanFlow(),
    "mean flow, differences": MeanFlow(derivative="central"), "lagrangian": LagrangianMap(),
    "semigroup": SemigroupMap(), "stabilised": StabilisedMeanFlow(), "free flow": FreeFlow(),
    "free flow, predictor": FreeFlow(correction=0.0), "terminal velocity": TerminalVelocityMatching(),
    "meta flow map": MetaFlowMap(warmup=0.0), "transition": TransitionMatching()}
FROM_DATA = {"mean flow, data": MeanFlow(from_data=True), "terminal velocity, data": TerminalVelocityMatching(True),
             "transition, data": TransitionMatching(from_data=True, alignment=0.0), "energy": EnergyStudent(),
             "mfd and energy": MeanFlowDistillation(steps=2, energy=0.5),
             "energy, of the teacher": EnergyStudent(teacher_steps=4)}
EXACT_AT_TRUTH = [name for name in FROM_TEACHER if name not in ("consistency", "mean flow, differences")]


def networks_of(mean: torch.Tensor, std: torch.Tensor, teacher: GaussianFlow = TEACHER,
                index: torch.Tensor = INDEX) -> Networks:
    student, own = GaussianFlow(mean, std), GaussianFlow(mean.detach(), std.detach())

    def average(x, r, t):
        return student.mean_velocity(x, r[index][:, None], t[index][:, None])

    def posterior(y, r, s, x_t, t):
        return posterior_of(student, x_t, t[index][:, None]).mean_velocity(y, r[index][:, None], s[index][:, None])

    def transition(x_t, t):
        row_t = t[index][:, None]
        left = posterior_of(student, x_t, row_t)
        flow = GaussianFlow((x_t - left.mean) / row_t, left.std / row_t)
        return lambda w, r, s: flow.mean_velocity(w, r[index][:, None], s[index][:, None])

    return Networks(lambda x, t: teacher.velocity(x, t[index][:, None]),
                    lambda x, t: own.velocity(x, t[index][:, None]), lambda noise: mean + std * noise, average,
                    None, posterior, transition, lambda x, t: (x[:, 0] - 1.5),
                    lambda x, r, t: teacher.mean_velocity(x, r[index][:, None], t[index][:, None]),
                    lambda x, r, t: own.mean_velocity(x, r[index][:, None], t[index][:, None]))


def posterior_of(flow: GaussianFlow, x_t: torch.Tensor, t: torch.Tensor) -> GaussianFlow:
    """p(x | x_t) of Gaussian data; t [N, 1]."""
    variance = (1 - t) ** 2 * flow.std**2 + t**2
    return GaussianFlow(flow.mean + (1 - t) * flow.std**2 / variance * (x_t - (1 - t) * flow.mean),
                        flow.std * t / variance.sqrt())


def gradients(method, mean: float, std: float, teacher: GaussianFlow = TEACHER, batch: Batch = BATCH):
    parameters = [torch.tensor([value], requires_grad=True) for value in (mean, std)]
    method.student_loss(networks_of(*parameters, teacher), batch, torch.Generator().manual_seed(0)).backward()
    return [parameter.grad.item() for parameter in parameters]


@pytest.mark.parametrize("name", EXACT_AT_TRUTH)
def test_nothing_moves_at_the_truth(name):
    for progress in (0.0, 1.0) if name != "stabilised" else (1.0,):  # its warm-up's bias has a test of its own
        batch = Batch(INDEX, (COUNT, 1), COUNT, data=BATCH.data, progress=progress)
        assert gradients(FROM_TEACHER[name], 2.0, 0.5, batch=batch) == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize("name", [*FROM_TEACHER, *FROM_DATA])
def test_mean_moves_towards_the_teacher_from_either_side(name):
    method = {**FROM_TEACHER, **FROM_DATA}[name]
    assert gradients(method, 1.0, 0.5)[0] < 0 < gradients(method, 3.0, 0.5)[0]


@pytest.mark.chaotic
@pytest.mark.parametrize("name", [*FROM_TEACHER, *FROM_DATA])
def test_learning_reaches_the_teacher(name, figure):
    method = {**FROM_TEACHER, **FROM_DATA}[name]
    mean, std = torch.tensor([0.5], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    optimiser, generator = torch.optim.Adam([mean, std], lr=0.05), torch.Generator().manual_seed(1)
    steps = 900 if name in FROM_DATA else 150  # single data are noisy targets
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / steps)
        optimiser.zero_grad()
        method.student_loss(networks_of(mean, std), BATCH, generator).backward()
        optimiser.step()
    figure("mean", mean.item(), above=1.95, below=2.05)
    figure("std", std.item(), above=0.45, below=0.55)


@pytest.mark.parametrize("name", [*FROM_TEACHER, *FROM_DATA, "dmd, critic"])
def test_processes_that_share_a_batch_have_its_loss_and_gradient_in_the_mean(name):
    """Seven samples of one to five rows: three of them in one process, four in another."""
    method = {**FROM_TEACHER, **FROM_DATA, "dmd, critic": DistributionMatching(adversarial=0.1)}[name]
    sizes = torch.tensor([3, 1, 2, 5, 4, 2, 1])
    sample, total = torch.repeat_interleave(torch.arange(7), sizes), int(sizes.sum())
    generator = torch.Generator().manual_seed(3)
    data, weight = torch.randn(2, total, 1, generator=generator)

    def found(samples: Share, rows: Share) -> torch.Tensor:
        """Losses of student and auxiliary, and the student's gradients."""
        own, parameters = rows.of(sample) - samples.first, [torch.tensor([v], requires_grad=True) for v in (1.0, 0.7)]
        batch = Batch(own, (rows.own, 1), samples.own, rows.of(weight.abs()), rows.of(data), 1.0, rows, samples)
        networks = networks_of(*parameters, index=own)
        loss = method.student_loss(networks, batch, torch.Generator().manual_seed(0))
        auxiliary = method.auxiliary_loss(networks, batch, torch.Generator().manual_seed(0)) \
            if method.needs_auxiliary else loss
        return torch.stack([loss, auxiliary, *torch.cat(torch.autograd.grad(loss, parameters))]).detach()

    rows = int(sizes[:3].sum())
    parts = [found(Share(0, 3, 7, 2), Share(0, rows, total, 2)),
             found(Share(3, 4, 7, 2), Share(rows, total - rows, total, 2))]
    whole = found(Share.whole(7), Share.whole(total))
    assert torch.allclose(sum(parts) / 2, whole, rtol=1e-4, atol=1e-5)


def test_vsd_gradient_is_that_of_the_weighted_kl():
    """-E[(v_Q - v_P) (1 - t)] d x_t has the size of the gradient of int t KL(p_t || q_t) dt: t/(1-t) (1-t) = t."""
    mean, shifted = 1.0, GaussianFlow(torch.tensor([1.0]), torch.tensor([0.5]))
    t = torch.linspace(0.02, 0.999, 4001)[:, None]
    _, std_t = shifted.marginal(t)
    expected = ((t * (1 - t) * (mean - 2.0)) / std_t**2).mean().item()  # d/dm (1-t)^2 (m-2)^2 / (2 sd^2) t/(1-t)
    found = gradients(VariationalScoreDistillation(draws=64), mean, 0.5)[0]
    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("solver, ratio", [("euler", 2.0), ("heun", 4.0), ("ralston", 4.0)])
def test_bias_of_the_discrete_warm_up_falls_with_its_order(solver, ratio):
    """rms distance of the teacher's n-step average velocity to the exact one, over the method's own times. Few steps:
    below 1e-4 it is intervals shorter than MIN_INTERVAL, whose velocity is taken for their average, that remain."""
    errors = []
    for steps in (8, 16):
        method = StabilisedMeanFlow(MeanFlow(power=0.0, equal_share=0.0), steps=steps, solver=solver)
        loss = method.discrete_loss(networks_of(TEACHER.mean, TEACHER.std), BATCH, torch.Generator().manual_seed(0))
        errors.append(loss.sqrt().item())
    assert errors[0] / errors[1] == pytest.approx(ratio, rel=0.15)


def test_bias_of_discrete_consistency_falls_with_the_solver_order():
    """One Heun step is off by the cube of its length."""
    networks, errors = networks_of(TEACHER.mean.double(), TEACHER.std.double()), []
    x = torch.linspace(-1, 2, COUNT).double()[:, None]
    for intervals in (16, 32):
        t = torch.full((COUNT,), 0.5).double()
        target = DiscreteConsistency(intervals).target(networks, BATCH, x, t - 1 / intervals, t)
        exact = TEACHER.flow_map(x, torch.zeros_like(t)[:, None], t[:, None])
        errors.append((target - exact).pow(2).mean().sqrt().item())
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.25)


def test_data_methods_estimate_the_teachers_objective():
    """MeanFlow's target from data is the teacher's plus noise of mean zero: both push alike."""
    batch = Batch(INDEX, (COUNT, 1), COUNT, data=BATCH.data)
    plain = {from_data: gradients(MeanFlow(from_data, power=0.0), 1.0, 0.5, batch=batch)[0]
             for from_data in (False, True)}
    assert plain[True] == pytest.approx(plain[False], rel=0.15)


def test_the_gradient_of_terminal_velocity_matching_flows_through_the_derivative():
    """Against central differences of the loss in the mean, the arriving velocity held fixed."""
    method = TerminalVelocityMatching()

    def loss(value: float) -> float:
        networks = networks_of(torch.tensor([value]), torch.tensor([0.7]))
        still = networks_of(torch.tensor([1.2]), torch.tensor([0.7]))  # where the arriving point is taken

        def teacher(x, t):
            arrived = still.average(kept[0], t, kept[1])
            return networks.teacher(kept[0] - (kept[1] - t)[:, None] * arrived, t)

        def average(x, r, t):
            kept[:] = [x.detach(), t.detach()]
            return networks.average(x, r, t)

        kept: list = [None, None]
        return method.student_loss(Networks(teacher, None, None, average), BATCH,
                                   torch.Generator().manual_seed(0)).item()

    expected = (loss(1.2 + 1e-2) - loss(1.2 - 1e-2)) / 2e-2
    assert gradients(method, 1.2, 0.7)[0] == pytest.approx(expected, rel=0.02)


def test_every_name_of_a_configuration_makes_its_method():
    for name, kind in METHODS.items():
        assert isinstance(method_from_config({"method": name, "unrelated": 1}), kind)
    assert method_from_config({"method": "mfd", "steps_a_mean_velocity": 7, "draws": 3}) == MeanFlowDistillation(
        steps=7, draws=3)
    score = {"row": 2.0, "region": 0.5, "sample": 0.0, "softening": 0.2, "fairness": 0.9}
    assert method_from_config({"method": "energy", "energy_samples": 3, "energy_teacher_steps": 5, "score": score}
                              ) == EnergyStudent(3, 5, EnergyScore(2.0, 0.5, 0.0, 0.2, 0.9))
    with pytest.raises(InputError, match="fancy"):
        method_from_config({"method": "fancy"})


def test_every_configuration_that_is_offered_is_a_methods():
    """What methods share is no option of the group: it has no method."""
    offered = {path.stem: yaml.safe_load(path.read_text()) for path in (CONFIG_DIR / "distill").glob("*.yaml")}
    assert len(offered) == 19
    for values in offered.values():
        while "method" not in values:
            values = offered[values["defaults"][0]]
        assert values["method"] in METHODS
    with pytest.raises(InputError, match="Could not find 'distill/shared'"):
        compose_config(["distill=shared"])


@pytest.mark.parametrize("name", [*FROM_TEACHER, *FROM_DATA])
def test_a_method_has_a_loss_of_an_auxiliary_exactly_if_it_needs_one(name):
    method = {**FROM_TEACHER, **FROM_DATA}[name]
    assert hasattr(method, "auxiliary_loss") == method.needs_auxiliary
