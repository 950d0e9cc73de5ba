"""What is timed of each network, and the forms of a forecast that these stages make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from occflow.models.flow_model import corrected
from occflow.models.preparation import Voxels
from studies.peers import occfm, occworld
from studies.peers.occfm import OccFM
from studies.peers.occworld import OccWorld
from studies.sparse_dense.stages import SparseJobs

Stages = dict[str, Callable[[], object]]
ROUTE_STEPS = 12  # of where the car goes; more than any takes


@dataclass(frozen=True)
class Form:
    """One way to make a forecast.

    Args:
        history: frames that are encoded for it, with stage "encode" each; in a stream all but the newest one are there.
        forecast, decode: stages, and how often each runs.
    """

    name: str
    history: int
    forecast: dict[str, int]
    decode: dict[str, int]


@dataclass(frozen=True)
class Peer:
    """A network of a published shape, its stages on a frame of classes, and its forms."""

    build: Callable[[], nn.Module]
    stages: Callable[[nn.Module, Tensor], Stages]
    forms: tuple[Form, ...]
    published_parameters: str  # as it was published, and where


def occfm_stages(network: OccFM, classes: Tensor) -> Stages:
    """Of one frame [1, X, Y, Z] of classes; the history is this frame, again and again."""
    past = network.past(network.encode(classes).expand(occfm.HISTORY, -1, -1, -1))
    route = torch.randn(1, ROUTE_STEPS, 2, device=classes.device)
    future = torch.randn_like(past)
    return {"encode": lambda: network.encode(classes),
            "evaluation": lambda: network.evaluated(past, future, 0.0, route),
            "guided": lambda: network.guided(past, future, 0.0, route),
            "decode": lambda: network.labels(future[0]),
            "lean decode": lambda: network.lean_labels(future[0])}


def occworld_stages(network: OccWorld, classes: Tensor) -> Stages:
    """As `occfm_stages`."""
    codes = network.encode(classes).expand(occworld.HISTORY, -1, -1, -1)
    steps = torch.randn(1, occworld.HISTORY, 2, device=classes.device)
    future = codes[:1].expand(occworld.HORIZON, -1, -1, -1)
    return {"encode": lambda: network.encode(classes),
            "frames": lambda: network.forecast(codes, steps),
            "decode": lambda: network.labels(future),
            "lean decode": lambda: network.lean_labels(future)}


PEERS = {
    "occfm": Peer(OccFM, occfm_stages, (
        Form(f"OccFM as published: {occfm.STEPS} guided steps", occfm.HISTORY, {"guided": occfm.STEPS}, {"decode": 1}),
        Form("OccFM, one evaluation", occfm.HISTORY, {"evaluation": 1}, {"decode": 1}),
        Form("OccFM, leanest: one evaluation, frame by frame, plain argmax", occfm.HISTORY, {"evaluation": 1},
             {"lean decode": 1})), "30.37 M (its project page)"),
    "occworld": Peer(OccWorld, occworld_stages, (
        Form("OccWorld as published", occworld.HISTORY, {"frames": 1}, {"decode": 1}),
        Form("OccWorld, leanest: decoded frame by frame", occworld.HISTORY, {"frames": 1}, {"lean decode": 1})),
        "not found"),
}


def ours(name: str, history: int) -> Form:
    """The form of our own forecast: one sample by one evaluation. Its state and its base are decoded, and the base
    stays where they do not differ (`corrected`); the base has hardly more sites than the state."""
    return Form(name, history, {"layout": 1, "mean": 1, "bodies": 1, "velocity": 1}, {"decode": 2, "corrected": 1})


def our_stages(jobs: SparseJobs) -> Stages:
    """As the sparse side of `studies.sparse_dense`; "bodies" moves those of the present by sampled motions and encodes
    them, the flow of motions not counted (milliseconds)."""
    model, seen, voxels, generator = jobs.forecaster, jobs.observation, jobs.decode(), torch.Generator()
    base = Voxels.of(seen.moved, jobs.settings.grid.num_voxels, model.device)
    targets = jobs.window.task.targets
    return {**jobs.stages(),
            "bodies": lambda: model.drawn(seen, jobs.condition, lambda noise, motions: noise, generator),
            "corrected": lambda: corrected(voxels, voxels, base).frames(targets, jobs.settings.grid.num_voxels)}


def whole(form: Form, stages: Stages) -> Callable[[], None]:
    """The stages of a form, one after the other."""
    @torch.no_grad()
    def run() -> None:
        for stage, times in {"encode": form.history, **form.forecast, **form.decode}.items():
            for _ in range(times):
                stages[stage]()
    return run


def totals(form: Form, stages: dict[str, float], history: int) -> dict[str, float]:
    """What the parts of a form and all of it take, with so many frames encoded, where each stage takes so much."""
    parts = {"encode": history * stages["encode"],
             "forecast": sum(count * stages[stage] for stage, count in form.forecast.items()),
             "decode": sum(count * stages[stage] for stage, count in form.decode.items())}
    return {**parts, "all": sum(parts.values())}
