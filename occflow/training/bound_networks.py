"""The forecaster's networks as a distillation method takes them: condition bound, evaluations counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.autograd import forward_ad

from occflow.distill.protocol import Batch, Networks
from occflow.flow.path import AverageVelocity, Velocity
from occflow.models.flow_model import Condition, FlowModel
from occflow.training.feeding import FlowBatch
from occflow.training.teacher import state_weight


class EvaluationCount:
    """Counts network evaluations: passes of one network over one batch; a forward-mode derivative is one more.

    Backward passes are not counted, nor the light head of a transition: its heavy part alone is.
    """

    def __init__(self) -> None:
        self.total = 0

    def counted(self, network: Callable[..., Tensor], cost: int = 1) -> Callable[..., Tensor]:
        """The same network, counted; `cost` is the number of passes of a call."""

        def call(x: Tensor, *times: Tensor) -> Tensor:
            with_derivative = forward_ad.unpack_dual(x).tangent is not None
            self.total += 2 * cost if with_derivative else cost
            return network(x, *times)

        return call


@dataclass(frozen=True)
class DistilledNetworks:
    """The networks of a distillation; all see the same condition (docs/methods.md 13).

    Args:
        teacher: the forecaster whose flow is distilled, frozen.
        student, auxiliary: start at the teacher's velocity network; None where the method needs no auxiliary.
        slow_student: moving average of the student, where it makes the targets; else None.
        guidance: classifier-free guidance of the teacher alone; 1 is none.
        count: of the evaluations.
    """

    teacher: FlowModel
    student: nn.Module
    auxiliary: nn.Module | None
    slow_student: nn.Module | None
    guidance: float
    count: EvaluationCount

    def bound(self, condition: Condition) -> Networks:
        """The networks of a batch."""
        layout, average = condition.layout, self._average(self.student, condition)

        def one_step(noise: Tensor) -> Tensor:
            r = noise.new_zeros(layout.num_samples)
            return noise - average(noise, r, r + 1)

        teacher = self.count.counted(self.teacher.velocity_field(condition, self.guidance),
                                     1 if self.guidance == 1 else 2)
        return Networks(teacher, self.auxiliary and self._velocity(self.auxiliary, condition), one_step, average,
                        self.slow_student and self._average(self.slow_student, condition),
                        self._part(self.student, "posterior", condition),
                        self._part(self.student, "transition", condition),
                        self._part(self.auxiliary, "logits", condition))

    def _part(self, network: nn.Module | None, name: str, condition: Condition) -> Callable[..., Tensor] | None:
        """A method that networks with parts of their own have (models.student_networks), condition bound."""
        part = getattr(network, name, None)
        return part and self.count.counted(lambda *inputs: part(*inputs, condition.forecast, condition.layout))

    def _average(self, network: nn.Module, condition: Condition) -> AverageVelocity:
        return self.count.counted(lambda x, r, t: network(x, r, t, condition.forecast, condition.layout))

    def _velocity(self, network: nn.Module, condition: Condition) -> Velocity:
        return self.count.counted(lambda x, t: network(x, t, t, condition.forecast, condition.layout))


def method_batch(batch: FlowBatch, with_data: bool, progress: float) -> Batch:
    """The method's view of a batch; the true future is in it only `with_data`."""
    condition = batch.condition
    return Batch(condition.sample, tuple(condition.forecast.mean.shape), condition.layout.num_samples,
                 state_weight(condition), batch.data if with_data else None, progress)
