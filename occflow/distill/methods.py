"""Which methods there are, by the name a configuration calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from occflow.distill.consistency import ContinuousConsistency, DiscreteConsistency
from occflow.distill.dmd import DistributionMatching
from occflow.distill.energy import EnergyScore, EnergyStudent
from occflow.distill.flow_maps import LagrangianMap, SemigroupMap, TerminalVelocityMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.mean_flow import MeanFlow, StabilisedMeanFlow
from occflow.distill.meta_flow_map import MetaFlowMap
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.mfd_map import MappedMeanFlowDistillation
from occflow.distill.protocol import Method
from occflow.distill.transition import TransitionMatching
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.errors import InputError

METHODS = {"mfd": MeanFlowDistillation, "mfd_map": MappedMeanFlowDistillation, "vsd": VariationalScoreDistillation,
           "dmd": DistributionMatching, "consistency": DiscreteConsistency,
           "continuous_consistency": ContinuousConsistency, "lagrangian": LagrangianMap, "semigroup": SemigroupMap,
           "mean_flow": MeanFlow, "stabilised_mean_flow": StabilisedMeanFlow, "free_flow": FreeFlow,
           "terminal_velocity": TerminalVelocityMatching, "meta_flow_map": MetaFlowMap,
           "transition": TransitionMatching, "energy": EnergyStudent}
RENAMED = {"steps": "steps_a_mean_velocity",  # `steps` alone would be taken for the number of updates
           "teacher_steps": "energy_teacher_steps"}


def method_from_config(values: Mapping) -> Method:
    """The method `values["method"]`; the other keys that bear the name of an option set it.

    Raises:
        InputError: no method of that name.
    """
    name = values["method"]
    if name not in METHODS:
        raise InputError(f"distill.method: no method '{name}'; choose one of {', '.join(METHODS)}")
    kind = METHODS[name]
    keys = {field.name: RENAMED.get(field.name, field.name) for field in fields(kind)}
    options = {option: values[key] for option, key in keys.items() if key in values}
    if "score" in options:
        options["score"] = EnergyScore(**options["score"])
    return kind(**options)
