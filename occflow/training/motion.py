"""The trainings of the motions: how bodies truly moved is read off the boxes of a log, by their tracks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from occflow.flow.path import flow_matching_loss
from occflow.flow.sending import sent
from occflow.flow.share import Share
from occflow.flow.times import logit_normal
from occflow.models.body_scene import BodyScene, body_scene, join_scenes, mirrored_scene
from occflow.models.motion import (
    PER_INSTANT,
    UNBOUNDED_M_PER_S,
    MotionCondition,
    MotionModel,
    motion_loss,
    motion_of,
    shown_bodies,
)
from occflow.occupancy.bodies import offsets_of
from occflow.training.engine import step_generator, train
from occflow.training.feeding import HeldBack, WholeWindowFeed, WholeWindows
from occflow.training.forcing import true_motions
from occflow.training.optimiser import OptimiserSettings
from occflow.training.precision import in_full_precision
from occflow.training.processes import share_of_items, share_of_rows
from occflow.training.run import TrainingRun
from occflow.training.run_log import Figures
from occflow.training.validation import HeldOut, Validation, item_generator

BYTES_A_BODY = 14_000  # of its views
MIRRORED = 0.5  # share of the windows
LOOKED_AT = 200  # windows, by which it is told how fast bodies are
MOVING_M_PER_S, FASTER = 1.0, 0.05  # what moves, and the share of it that is too rare to be learnt from


@dataclass(frozen=True)
class BodyBatch:
    """Bodies of windows, their true motion [N, 3 F], zero where it is not known, where it is, [N, 3 F] bool, and their
    true speed [N] until the first instant, m/s, zero likewise."""

    scene: BodyScene
    motion: Tensor
    known: Tensor
    speed: Tensor

    def to(self, device: torch.device) -> BodyBatch:
        return BodyBatch(self.scene.to(device),
                         *(sent(value, device) for value in (self.motion, self.known, self.speed)))


class BodyPreparation(WholeWindows):
    """The bodies of a training's windows, some of them perceived, with their true motions."""

    def __call__(self, index: int) -> BodyBatch:
        """Those of a window, on the host."""
        (_, window), grid = self.read(index), self.windows.store.grid
        bodies = shown_bodies(window.task, grid)
        scene = body_scene(window.history, bodies, grid)
        offsets = offsets_of(bodies, true_motions(window, bodies, grid))
        seconds = window.task.seconds
        motion = torch.from_numpy(motion_of(bodies, offsets, seconds)).float()
        speed = torch.from_numpy(np.hypot(*offsets[:, 0, :2].T) / seconds[0]).float()
        return BodyBatch(scene, motion.nan_to_num(0.0), motion.isfinite(), speed.nan_to_num(0.0))


class BodyFeed(WholeWindowFeed):
    """Batches of bodies with their true motions, on a device; some windows mirrored, some perceived."""

    made_by, item_bytes = BodyPreparation, BYTES_A_BODY

    def make(self, index: int) -> tuple[BodyBatch, int]:
        batch = self.fetcher.get(index).to(self.device)
        return batch, len(batch.scene)

    def _looked_at(self, indices: Iterable[int]) -> Iterator[tuple[BodyBatch, int]]:
        """Items, out of the order of the draws."""
        self.follow(indices)
        return map(self._made, indices)

    def has_bodies(self) -> bool:
        """Whether some window has a body."""
        return any(bodies for _, bodies in self._looked_at(range(self.count)))

    def tells(self) -> bool:
        """Whether some window tells how a body truly moved."""
        return any(bool(batch.known.any()) for batch, _ in self._looked_at(range(self.count)))

    def fastest(self) -> float:
        """The speed, m/s, that FASTER of the moving bodies truly surpass until the first instant, in some LOOKED_AT
        windows; UNBOUNDED_M_PER_S where none moves. What tracks say does not count: of the fastest many are wrong."""
        looked_at = self._looked_at(range(0, self.count, -(-self.count // LOOKED_AT)))
        speeds = torch.cat([batch.speed[batch.known[:, 0]] for batch, _ in looked_at])
        moving = speeds[speeds > MOVING_M_PER_S]
        return float(moving.quantile(1 - FASTER)) if len(moving) else UNBOUNDED_M_PER_S

    def next(self, windows: int, generator: torch.Generator) -> BodyBatch:
        """This process's part of the next batch of `windows` windows, mirrored as the generator has it."""
        return self.joined(self.draw(windows), windows, generator)

    def joined(self, items: list[BodyBatch], windows: int, generator: torch.Generator) -> BodyBatch:
        """A batch of this process's items of a joint one of so many windows, mirrored likewise."""
        share = share_of_items(windows)
        scene = join_scenes([item.scene for item in items])
        motion, known, speed = (torch.cat([getattr(item, name) for item in items])
                                for name in ("motion", "known", "speed"))
        chosen = (share.of(torch.rand(windows, generator=generator)) < MIRRORED).to(self.device)
        signs = torch.tensor([1.0, -1.0, -1.0], device=self.device).repeat(motion.shape[1] // PER_INSTANT)
        motion = torch.where(chosen[scene.sample][:, None], motion * signs, motion)
        return BodyBatch(mirrored_scene(scene, chosen, self.windows.history), motion, known, speed)


def train_motion_mean(model: MotionModel, feed: BodyFeed, values: Mapping, seed: int, run: TrainingRun,
                      held_out: HeldOut | None = None) -> None:
    """Fit the central motions and how far they may be off, of fast bodies as of all others. Held out are the bodies of
    windows."""
    before = float(model.fastest_m_per_s)
    model.fastest_m_per_s.fill_(UNBOUNDED_M_PER_S)  # else what a former training bounded would never be learnt

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        batch = feed.next(values["windows"], step_generator(seed, step)).to(model.device)
        forecast, rows = model.condition(batch.scene).forecast, share_of_rows(len(batch.scene))
        return (motion_loss(forecast, batch.motion, batch.known, values["scale_weight"], rows),
                errors(forecast.mean, batch, rows))

    def held_out_loss(index: int) -> Tensor:
        batch = held_out.items.get(index).to(model.device)
        return motion_loss(model.condition(batch.scene).forecast, batch.motion, batch.known, values["scale_weight"])

    model.mean = train(run, "motion", model.mean, OptimiserSettings.from_config(values), loss_of_step, model, feed,
                       values["windows"], validation=held_out and Validation(held_out, held_out_loss))
    shown = feed.fastest()
    model.fastest_m_per_s.fill_(shown if before == UNBOUNDED_M_PER_S else max(before, shown))


def errors(centre: Tensor, batch: BodyBatch, rows: Share) -> Figures:
    """How far the centres and the tracks are off in the mean, metres, at the last instant; 0 where none is known."""
    known = batch.known[:, -1]
    found = {}
    for name, value in (("off_m", centre - batch.motion), ("track_off_m", batch.motion)):
        distance = value.detach()[:, -PER_INSTANT:-1].norm(dim=1)
        found[name] = rows.ratio(torch.where(known, distance, 0.0).sum(), known.sum())
    return found


class MotionFeed:
    """The same batches for the flow, with the frozen centre."""

    def __init__(self, source: BodyFeed, model: MotionModel, seed: int) -> None:
        self.source, self.model, self.seed = source, model, seed
        self.drawn = 0

    def seek(self, draws: int) -> None:
        self.drawn = draws
        self.source.seek(draws)

    @torch.no_grad()
    @in_full_precision
    def next(self, windows: int) -> MotionBatch:
        """This process's part of the next batch; of what is not known the data are the centre's."""
        batch = self.source.next(windows, step_generator(self.seed, self.drawn))
        self.drawn += windows
        return self._batch(batch, windows)

    def held_back(self, conditions: int, windows: int) -> HeldBack[MotionBatch]:
        """At least so many windows that `next` does not give from now on, in batches of `windows`; see
        `WindowFeed.hold_back`."""
        def make(indices: list[int]) -> MotionBatch:
            generator = step_generator(self.seed, indices[0])
            return self._batch(self.source.joined(self.source.chosen(indices), len(indices), generator), len(indices))

        return HeldBack(self.source.hold_back(-(-conditions // windows), windows), make)

    @torch.no_grad()
    @in_full_precision
    def _batch(self, batch: BodyBatch, windows: int) -> MotionBatch:
        batch = batch.to(self.model.device)
        return motion_batch(self.model, batch, share_of_rows(len(batch.scene)), share_of_items(windows))


@dataclass(frozen=True)
class MotionBatch:
    """A batch for flow trainings: the condition, the standardised true residual [N, 3 F], and where it is known;
    `samples` says what its windows are of a batch that several processes share, None: all."""

    condition: MotionCondition
    data: Tensor
    known: Tensor
    samples: Share | None = None

    @property
    def weight(self) -> Tensor:
        """The condition's, zero of what is not known [N, 3 F]: of errors against the data."""
        return self.condition.weight * self.known


@torch.no_grad()
@in_full_precision
def motion_batch(model: MotionModel, batch: BodyBatch, rows: Share | None = None, samples: Share | None = None
                 ) -> MotionBatch:
    """Bodies with the frozen centre of their motions."""
    condition = replace(model.condition(batch.scene), rows=rows)
    return MotionBatch(condition, condition.residual(batch.motion) * batch.known, batch.known, samples)


def train_motion_flow(model: MotionModel, feed: MotionFeed, values: Mapping, seed: int, run: TrainingRun,
                      held_out: HeldOut | None = None) -> None:
    """Conditional flow matching of the residual about the frozen centre. Held out are the bodies of windows."""
    model.mean.eval().requires_grad_(False)

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        batch, generator = feed.next(values["windows"]), step_generator(seed, step)
        samples = share_of_items(values["windows"])
        t = samples.of(logit_normal(samples.total, generator, values["time_mean"], values["time_scale"]))
        dropped = samples.of(torch.rand(samples.total, generator=generator)) < values["history_dropout"]
        shown = batch.condition.without_history(sent(dropped, batch.data.device))
        loss = flow_matching_loss(model.velocity_field(shown), batch.data, sent(t, batch.data.device),
                                  batch.condition.sample, generator, batch.weight, batch.condition.rows)
        return loss, {}

    def held_out_loss(index: int) -> Tensor:
        batch, generator = motion_batch(model, held_out.items.get(index).to(model.device)), item_generator(index)
        t = sent(logit_normal(1, generator, values["time_mean"], values["time_scale"]), model.device)
        return flow_matching_loss(model.velocity_field(batch.condition), batch.data, t, batch.condition.sample,
                                  generator, batch.weight)

    model.velocity = train(run, "motion_flow", model.velocity, OptimiserSettings.from_config(values), loss_of_step,
                           model, feed, values["windows"],
                           validation=held_out and Validation(held_out, held_out_loss))
    model.velocity.requires_grad_(False)
