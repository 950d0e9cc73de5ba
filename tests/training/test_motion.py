"""The trainings of the motions: what they are told, what they learn of it, and students of their flow."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from one_window import VALUES
from small_bodies import (
    AHEAD,
    GRID,
    LEAVING,
    PLACES,
    SETTINGS,
    STANDING,
    TURNING,
    Windows,
    disturbed,
    feed_of,
    forecaster,
    motion_model,
    street,
)

from occflow.distill.consistency import DiscreteConsistency
from occflow.distill.mean_flow import MeanFlow
from occflow.distill.meta_flow_map import MetaFlowMap
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.transition import TransitionMatching
from occflow.flow.solvers import sample_flow
from occflow.geometry import planar_pose, planar_poses
from occflow.models.body_scene import (
    AHEAD_SHAPE,
    GROUPS,
    NEAR_SHAPE,
    BodyScene,
    attribute_names,
)
from occflow.models.motion import LEVER_M, UNBOUNDED_M_PER_S, MotionModel, shown_bodies
from occflow.models.preparation import moved_as
from occflow.occupancy.augmentation import MIRROR
from occflow.occupancy.bodies import arcs, offsets_of
from occflow.occupancy.true_motion import voxels_of_boxes
from occflow.training.distillation import distill, method_batch
from occflow.training.engine import step_generator
from occflow.training.feeding import FlowFeed, ObservationFeed, Variety
from occflow.training.forcing import forced_motions, rigid_truth, true_motions
from occflow.training.motion import BodyBatch, BodyFeed, MotionFeed, train_motion_flow, train_motion_mean
from occflow.training.run import TrainingRun

SECONDS = np.array([0.5, 1.0, 1.5])
OPTIMISER = {"learning_rate": 1e-2, "warmup_steps": 5, "clip_norm": 1.0, "ema_decay": 0.9, "windows": 8}
FLOW = {**OPTIMISER, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.0}


def name_of(place: np.ndarray) -> str:
    """Of the box that is at a place [2] in the world now."""
    return min(PLACES, key=lambda name: np.linalg.norm(PLACES[name](0.0)[:2, 3] - place))


def moved(name: str, seconds: float) -> np.ndarray | None:
    """What takes a box of the street from its place now to that after some seconds; None where it is gone."""
    later = PLACES[name](seconds)
    return None if later is None else later @ np.linalg.inv(PLACES[name](0.0))


def test_how_bodies_truly_moved_is_read_off_their_boxes():
    """What has no box, or is gone by then, is nan."""
    window = street(annotated=(STANDING, TURNING, LEAVING))
    bodies = shown_bodies(window.task, GRID)
    names = [name_of(one.world_from_body[:2, 3]) for one in bodies]
    assert sorted(names) == sorted(PLACES)
    for name, motions in zip(names, true_motions(window, bodies, GRID)):
        for seconds, found in zip(SECONDS, motions):
            expected = moved(name, seconds) if name != AHEAD else None
            assert np.isnan(found).all() if expected is None else np.allclose(found, expected, atol=1e-9)


def test_forced_motions_are_the_true_ones_and_the_central_ones_of_the_rest():
    model, window = disturbed(forecaster(), 0.05), street(annotated=(STANDING, TURNING, LEAVING))
    with torch.no_grad():
        motions = model.preparation.motions(window.task)
    central = motions.world_motions(motions.condition.forecast.mean)
    forced = forced_motions(window, motions, GRID)
    for one, found, foreseen in zip(motions.bodies, forced, central):
        name = name_of(one.world_from_body[:2, 3])
        assert not np.allclose(found, foreseen, atol=1e-3) or name == AHEAD
        beyond = offsets_of([one], found[None])[0] - offsets_of([one], foreseen[None])[0]
        for index, seconds in enumerate(SECONDS):
            expected = moved(name, seconds) if name != AHEAD else None
            if expected is not None:
                assert np.allclose(found[index], expected, atol=1e-9)
            else:  # it goes on as foreseen, from where it was seen last
                assert np.allclose(beyond[index], beyond[index - 1] if index else 0.0, atol=1e-9) or name == AHEAD
                assert name != AHEAD or np.allclose(found[index], foreseen[index], atol=1e-9)
        assert name != STANDING or np.array_equal(found, np.tile(np.eye(4), (3, 1, 1)))


def test_batches_tell_the_true_way_of_each_body_also_of_mirrored_ones():
    """Where a body's motion leads in the grid, from its place and track there, is where its box went."""
    feed, sides = feed_of(street()), set()
    batch = feed.next(6, torch.Generator().manual_seed(0))
    scene, motion = batch.scene, batch.motion.double().numpy().reshape(-1, 3, 3)
    place, velocity = scene.place.double().numpy(), scene.velocity.double().numpy()
    turn = scene.attributes[:, attribute_names(2).index("turn sideways")].double().numpy()
    beyond = motion / (1, 1, LEVER_M)
    angles = beyond[..., 2] + turn[:, None] * SECONDS
    ways = np.concatenate([beyond[..., :2] + arcs(velocity, turn, SECONDS)[..., :2, 3], angles[..., None]], axis=-1)
    found = planar_poses(place)[:, None] @ planar_poses(ways)
    for row, known in enumerate(batch.known.numpy().reshape(-1, 3, 3).all(axis=2)):
        side = min((1, -1), key=lambda sign: min(np.linalg.norm(PLACES[name](0.0)[:2, 3] - place[row, :2] * (1, sign))
                                                 for name in PLACES))
        name = name_of(place[row, :2] * (1, side))
        sides.add((int(scene.sample[row]), side))
        for index, seconds in enumerate(SECONDS):
            true = moved(name, seconds)
            assert known[index] == (true is not None)
            if true is not None:
                true = MIRROR @ true @ MIRROR if side < 0 else true
                expected = true @ planar_pose(*place[row, :2], place[row, 2])
                assert np.allclose(found[row, index], expected, atol=1e-4), name
    assert len(sides) == 6 and {side for _, side in sides} == {1, -1}


def test_a_share_of_the_windows_is_perceived_and_the_truth_is_not():
    feed = feed_of(*[street()] * 40, perceived_share=0.25)
    items = [feed.make(index)[0] for index in range(40)]
    assert 2 <= feed.windows.asked.count("lidar") <= 20 and feed.windows.asked.count(None) >= 20
    assert all(item.known.any() for item in items)


def test_what_a_log_can_teach_is_asked_before():
    empty = street(names=())
    assert not feed_of(empty).has_bodies() and not feed_of(empty).tells()
    unknown = feed_of(empty, street(annotated=()))
    assert unknown.has_bodies() and not unknown.tells() and feed_of(empty, street()).tells()
    assert unknown.next(3, step_generator(0, 0)).scene.num_samples == 3  # of the one window that has any


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("motion", "known")) and \
        torch.equal(one.scene.near, other.scene.near)


def test_a_feed_goes_on_where_it_is_put():
    windows = [street(), street(names=(AHEAD, STANDING)), street(annotated=(TURNING,)), street(names=())]
    feed, model = feed_of(*windows), motion_model()
    drawn = [feed.next(2, step_generator(0, step)) for step in range(6)]
    feed.seek(8)
    assert same(feed.next(2, step_generator(0, 4)), drawn[4]) and same(feed.next(2, step_generator(0, 5)), drawn[5])
    flow = MotionFeed(feed_of(*windows), model, 7)
    batches = [flow.next(2) for _ in range(4)]
    flow.seek(6)
    with torch.autocast("cpu", torch.bfloat16):  # inside of which data are not rounded
        again = flow.next(2)
    assert torch.equal(again.data, batches[3].data) and torch.equal(again.known, batches[3].known)
    assert (again.data[~again.known] == 0).all() and (again.weight[~again.known] == 0).all()
    assert torch.equal(method_batch(again, True, 0.0).weight, again.weight)
    assert torch.equal(method_batch(again, False, 0.0).weight, again.condition.weight)


class Toy(BodyFeed):
    """Two bodies a window whose track goes straight on. With the street on their left they turn left, else right
    ("bend"); or each stops, or goes on, as a coin decides ("choice"). Nothing is known of every fourth."""

    def __init__(self, kind: str) -> None:
        super().__init__(Windows(()), [0], 0, 0.0)
        self.kind = kind

    def seek(self, draws: int) -> None:
        pass

    def fastest(self) -> float:
        return UNBOUNDED_M_PER_S

    def next(self, windows: int, generator: torch.Generator) -> BodyBatch:
        count = 2 * windows
        left, stops = torch.randint(0, 2, (2, count), generator=generator).float()
        ahead = torch.zeros(count, len(GROUPS), *AHEAD_SHAPE)
        ahead[:, 0, :, :10], ahead[:, 0, :, 10:] = (1 - left)[:, None, None], left[:, None, None]
        way = torch.arange(1.0, 4)
        motion = torch.zeros(count, 3, 3)
        if self.kind == "bend":
            motion[:, :, 1] = (2 * left - 1)[:, None] * way
        else:
            motion[:, :, 0] = (stops - 0.5)[:, None] * 4 * way / 3
        place = torch.rand(count, 3, generator=generator) * 10
        scene = BodyScene(torch.zeros(count, 2, *NEAR_SHAPE), ahead, torch.zeros(count, len(attribute_names(2))), place,
                          torch.zeros(count, 2), torch.arange(windows).repeat_interleave(2), windows)
        known = torch.ones(count, 9, dtype=torch.bool)
        known[::4] = False
        return BodyBatch(scene, motion.flatten(1) * known, known, torch.zeros(count))


@pytest.mark.chaotic
def test_the_centre_learns_a_rule_that_the_track_does_not_tell(tmp_path, figure):
    model, feed = motion_model(), Toy("bend")
    values = {**OPTIMISER, "steps": 60, "windows": 4, "scale_weight": 0.1}
    train_motion_mean(model, feed, values, 0, TrainingRun(tmp_path))
    batch = feed.next(32, torch.Generator().manual_seed(5))
    with torch.no_grad():
        off = (model.condition(batch.scene).forecast.mean - batch.motion)[batch.known].abs().mean()
    figure("error over the track's", off / batch.motion[batch.known].abs().mean(), below=0.5)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert {line["training"] for line in lines} == {"motion"} and lines[-1]["track_off_m"] == pytest.approx(3.0)


@pytest.mark.chaotic
def test_the_flow_finds_both_ways_of_a_choice(tmp_path, figure):
    """About a centre that lies between them: samples go one way or the other, each as often, and few in between."""
    model, feed = motion_model(), Toy("choice")
    model.mean.first_scale.fill_(1.0)
    train_motion_flow(model, MotionFeed(feed, model, 1), {**FLOW, "steps": 120}, 0, TrainingRun(tmp_path))
    with torch.no_grad():
        condition = model.condition(feed.next(64, torch.Generator().manual_seed(5)).scene)
        noise = torch.randn(condition.forecast.mean.shape, generator=torch.Generator().manual_seed(6))
        ends = condition.state(sample_flow(model.velocity_field(condition), noise, condition.sample, 64, 20))[:, 6]
    figure("share that goes on", (ends > 0).float().mean(), above=0.25, below=0.75)
    figure("share in between", (ends.abs() < 0.8).float().mean(), below=0.25)
    figure("mean way of the rest", ends[ends.abs() > 0.8].abs().mean(), above=1.5, below=2.5)


class OneScene:
    """A feed of one batch."""

    def __init__(self, model: MotionModel) -> None:
        self.batch = MotionFeed(feed_of(street(annotated=(AHEAD, LEAVING))), model, 0).next(1)

    def seek(self, draws: int) -> None:
        pass

    def held_back(self, conditions: int, windows: int):
        return [self.batch]

    def next(self, windows: int):
        return self.batch


METHODS = [MeanFlowDistillation(steps=2), MeanFlow(), MeanFlow(from_data=True), DiscreteConsistency(),
           MetaFlowMap(warmup=0.0), TransitionMatching(warmup=0.0)]


@pytest.mark.chaotic
@pytest.mark.parametrize("method", METHODS, ids=lambda value: type(value).__name__)
def test_methods_distil_the_flow_of_motions_as_that_of_voxels(method, tmp_path):
    """The teacher stays, the student moves, and is watched."""
    teacher = disturbed(motion_model()).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    values = {**VALUES, "checkpoint": "student_motion", "stability": {"every": 1, "teacher_steps": 2}}
    student = distill(teacher, OneScene(teacher), method, values, 0, TrainingRun(tmp_path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    weights = {name.replace(".base.", "."): tensor for name, tensor in student.state_dict().items()}
    changed = {name.split(".")[0] for name, tensor in before.items() if not torch.equal(weights[name], tensor)}
    assert changed == {"velocity"}
    line = [json.loads(text) for text in (tmp_path / "stats.jsonl").read_text().splitlines()][-1]
    assert line["training"] == "student_motion" and np.isfinite([line["energy_to_teacher"], line["spread"]]).all()


@pytest.mark.parametrize("true", [True, False])
@pytest.mark.parametrize("crop", [0, 12])
def test_the_voxels_flow_learns_about_bodies_moved_as_they_truly_moved(true, crop):
    """In a crop too; or about those that are foreseen, where that is asked for."""
    model, window = disturbed(forecaster(), 0.05), street()
    variety = Variety(crop_voxels=crop, true_motions=true)
    observations = ObservationFeed(Windows((window,)), [0], model, 3, variety)
    shown, region, bases = observations.window(0)
    foreseen, forced = bases.central, bases.forced
    assert region.shape[:2] == ((12, 12) if crop else GRID.shape[:2])
    observation = observations.get(0)
    support = observation.layout.support
    assert torch.equal(observation.base, model.state_of(foreseen, support, region))
    assert torch.equal(observation.forced, model.state_of(forced, support, region))
    assert torch.equal(observation.forced, observation.base) == (not true)
    if true and not crop:  # what stands in its boxes' places is there, what has no box by then is where it is foreseen
        known = [np.isin(one.flat, other.flat[other.labels == 4]).sum() for one, other in zip(forced, shown.truth)]
        other = [np.isin(one.flat, other.flat[other.labels == 4]).sum() for one, other in zip(foreseen, shown.truth)]
        assert all(a > b for a, b in zip(known, other))
    batch = FlowFeed(observations, 1).next(1)
    assert torch.equal(observation.forced_target[:, :-1], model.state_of(bases.truth, support, region)[:, :-1])
    state = batch.condition.residual(observation.forced_target)
    exact = (observation.forced - observation.forced_target)[:, :-1].abs().amax(dim=1) < 1e-3
    stays = batch.condition.forecast.mean[:, -1] + batch.condition.forecast.scale[:, -1] * batch.data[:, -1]
    assert torch.allclose(stays, torch.where(exact, 1.0, -1.0), atol=1e-4) and exact.any() and (crop or not exact.all())
    assert torch.allclose(state[:, :-1], batch.data[:, :-1]) and SETTINGS.stays


def test_bodies_keep_their_voxels_in_what_is_learnt():
    """Where a box holds a body that was seen whole the moved body is, all else is as it was."""
    model, window = forecaster(), street(annotated=(STANDING, TURNING))
    motions = model.preparation.motions(window.task)
    forced = forced_motions(window, motions, GRID)
    learnt = rigid_truth(window, motions.bodies, forced, GRID)
    bodies = moved_as(window.task, GRID, [one.slots for one in motions.bodies], forced)
    for true, found, base in zip(window.truth, learnt, bodies):
        places = [frame.flat[np.concatenate(voxels_of_boxes(frame, GRID, true.boxes))] for frame in (true, base)]
        volumes = [frame.dense(GRID).reshape(-1) for frame in (true, found, base)]
        boxes = np.isin(np.arange(GRID.num_voxels), np.concatenate(places))
        assert np.array_equal(volumes[1][boxes] == 4, volumes[2][boxes] == 4)
        elsewhere = ~boxes & (volumes[2] != 4)
        assert np.array_equal(volumes[1][elsewhere], volumes[0][elsewhere])
    assert any(not np.array_equal(true.flat, found.flat) for true, found in zip(window.truth, learnt))
    edge = planar_pose(*GRID.origin_m[:2], 0.0)  # half of it lies outside of the grid: the rest is still to come
    leaning = replace(window, boxes=tuple(replace(box, world_from_box=edge) for box in window.boxes))
    assert all(one is other for one, other in zip(rigid_truth(leaning, motions.bodies, forced, GRID), leaning.truth))


def test_the_speed_that_training_has_shown_is_kept_with_the_networks(tmp_path):
    """It is in what a checkpoint holds; where nothing moves there is none."""
    model, feed = motion_model(), feed_of(street())
    assert model.state_dict()["fastest_m_per_s"] == UNBOUNDED_M_PER_S
    train_motion_mean(model, feed, {**FLOW, "steps": 1, "scale_weight": 0.1}, 0, TrainingRun(tmp_path))
    speeds = feed.get(0).speed  # true ones
    assert 1 < model.fastest_m_per_s <= speeds.max() and len(speeds) > 1
    still = feed_of(street(names=(STANDING,)))
    still.get(0)
    assert still.fastest() == UNBOUNDED_M_PER_S


@pytest.mark.parametrize("before, after", [(1e-3, None), (500.0, 500.0)])
def test_a_training_goes_on_with_fast_bodies_too(tmp_path, before, after):
    """What an earlier training bounded is learnt all the same; the bound is then the higher one of both."""
    model, free, feed = motion_model(), motion_model(), feed_of(street())
    model.fastest_m_per_s.fill_(before)
    for place, one in enumerate((model, free)):
        train_motion_mean(one, feed, {**FLOW, "steps": 2, "scale_weight": 0.1}, 0, TrainingRun(tmp_path / str(place)))
    assert all(torch.equal(a, b) for a, b in zip(model.mean.parameters(), free.mean.parameters()))
    assert model.fastest_m_per_s == (after or free.fastest_m_per_s)
