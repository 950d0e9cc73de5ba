"""The weight of a rare future, exactly: what moves it, where it comes to rest, and what loses it.

Two futures on a line, the teacher's weights .7 and .3. The samples x of a student that has weight w instead move with w
by dx/dw = -dF(x)/dw / p(x), F their distribution function and p their density. So the student's gradient in w,
E[g(x) dx/dw] with g(x) the gradient in a sample, is the integral of -g(x) dF(x)/dw along the line: p cancels, and the
product's own loss gives g at points laid out evenly. Teacher and auxiliary are the exact velocities: no network, and
nothing is trained.
"""

import math

import pytest
import torch

from occflow.distill.dmd import DistributionMatching
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.closed_form import MixtureFlow
from studies.toy.points import two_futures

TOY = two_futures()
TRUE, EVEN = 0.7, 0.5  # weight of the future that is common under the condition; without the condition both are alike
COUNT = 2048
LINE = torch.linspace(2.5, -2.5, COUNT)  # from beyond the common future, at 1.5, to beyond the rare one, at -1.5
STEP = float(LINE[0] - LINE[1])
METHODS = {"mfd": MeanFlowDistillation(draws=4), "mfd, plain": MeanFlowDistillation(normalise=False, draws=4),
           "vsd": VariationalScoreDistillation(draws=4), "dmd": DistributionMatching(draws=4)}


def futures(weight: float) -> MixtureFlow:
    """The two futures with this weight of the common one."""
    return MixtureFlow(torch.tensor([weight, 1 - weight]), TOY.means, TOY.std)


def passed(place: float) -> torch.Tensor:
    """Distribution function of the future at `place`, along the line."""
    return torch.special.ndtr((LINE - place) / TOY.std)


def gradient(method, auxiliary: float, seed: int = 0) -> float:
    """The loss's gradient in the weight of the common future, where the auxiliary has the futures with the weight
    `auxiliary`; above 0 it lowers the weight."""
    places = torch.stack([LINE, torch.zeros(COUNT)], dim=1).requires_grad_()
    teacher, own = futures(TRUE), futures(auxiliary)
    networks = Networks(lambda x, t: teacher.velocity(x, t[:, None]), lambda x, t: own.velocity(x, t[:, None]),
                        lambda noise: places)
    batch = Batch(torch.arange(COUNT), (COUNT, 2), COUNT)
    method.student_loss(networks, batch, torch.Generator().manual_seed(seed)).backward()
    of_samples = places.grad[:, 0] * places.numel()  # the loss is a mean over all numbers
    return float((of_samples * (passed(-1.5) - passed(1.5))).sum() * STEP)


def weighted_kl(auxiliary: float) -> float:
    """The same of the integral over t of t / (1 - t) KL(p_t || q_t), p the auxiliary's futures and q the teacher's:
    E_common[h] - E_rare[h], h = t / (1 - t) log(p_t / q_t); by quadrature on the line, float64."""
    t = torch.linspace(0.02, 0.999, 1001).double()[:, None]
    std = ((1 - t) ** 2 * TOY.std**2 + t**2).sqrt()
    z = torch.linspace(-8, 8, 1001).double()
    density = torch.exp(-z**2 / 2) / torch.exp(-z**2 / 2).sum()

    def log_density(weight: float, x: torch.Tensor) -> torch.Tensor:
        return torch.logaddexp(*(math.log(share) - (x - (1 - t) * place) ** 2 / (2 * std**2)
                                 for share, place in ((weight, 1.5), (1 - weight, -1.5))))

    common, rare = (((log_density(auxiliary, x) - log_density(TRUE, x)) * density).sum(1, keepdim=True)
                    for x in ((1 - t) * place + std * z for place in (1.5, -1.5)))
    return float((t / (1 - t) * (common - rare)).mean())


@pytest.mark.parametrize("auxiliary", [0.5, 0.6, 0.8, 0.9])
def test_the_gradient_in_a_weight_is_that_of_the_weighted_kl(auxiliary):
    """Also docs/methods.md 6's identity v_Q - v_P = t / (1 - t) (s_P - s_Q), on a mixture."""
    found = gradient(VariationalScoreDistillation(draws=16), auxiliary)
    assert found == pytest.approx(weighted_kl(auxiliary), rel=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_with_the_condition_the_true_weight_is_where_it_rests(name):
    """The auxiliary has the student's weight, whatever that is."""
    at = {weight: gradient(METHODS[name], weight) for weight in (0.6, TRUE, 0.8)}
    assert at[0.6] < -0.1 < at[TRUE] == 0 < 0.1 < at[0.8]


@pytest.mark.parametrize("name", METHODS)
def test_without_the_condition_nothing_stops_the_rare_future_from_being_lost(name):
    """What an auxiliary learns that is shown no condition, or another sample's, is the mean of the students under both
    conditions. Their weights go from .7 and .3 to 1 and 0, but their mean stays even: the gradient is the same all the
    way, and away from the rare future."""
    assert gradient(METHODS[name], EVEN) < -0.2


@pytest.mark.chaotic
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("conditional, expected", [(True, TRUE), (False, 1.0)], ids=["with", "without"])
def test_a_weight_that_follows_its_gradient(name, conditional, expected, figure):
    """From .9 with the condition, from the truth without it."""
    weight = 0.9 if conditional else TRUE
    for step in range(30):
        change = -0.5 * gradient(METHODS[name], weight if conditional else EVEN, step)
        weight = 1 / (1 + (1 - weight) / weight * math.exp(-max(-0.5, min(change, 0.5))))
    figure("weight", weight, above=round(expected - 0.02, 2), below=expected + 0.02)
