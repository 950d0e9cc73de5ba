"""The perception network's training: its examples, its loss, its threshold, and that it learns to see."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_perception import SightedStreet, small_perception
from small_sightings import looking_ahead, random_sighting

from occflow.errors import InputError
from occflow.eval.iou import IoUCounts
from occflow.eval.perceived import quality
from occflow.geometry import planar_pose
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.logs.nuscenes import NuScenesLog
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.building.build import build_store
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.sighting import CELLS
from occflow.occupancy.warp import regridded_mask, warp
from occflow.perception.network import OUTPUTS, PerceptionNetwork, PerceptionSettings
from occflow.perception.perceive import Perceiver, as_input
from occflow.simulation.drive import simulate_log
from occflow.training import perception as training
from occflow.training.fetching import StepFetcher
from occflow.training.perception import (
    THRESHOLDS,
    PerceptionExample,
    SightingBatches,
    calibrate,
    example,
    examples,
    part_of_example,
    perception_loss,
    some_of,
    train_perception,
    varied,
)
from occflow.training.run import TrainingRun

VALUES = {"split": "train", "steps": 6, "batch": 2, "learning_rate": 3e-3, "warmup_steps": 2, "clip_norm": 5.0,
          "ema_decay": 0.9, "lovasz_weight": 1.0, "calibration_frames": 3}
GRID = VoxelGrid((-2.0, -2.0, -1.0), (6, 5, 3), 0.8)
CAR, ROAD = 4, 11


def dense_features(one: PerceptionExample, grid: VoxelGrid) -> np.ndarray:
    """[X, Y, Z, CELLS, CELLS, CELLS, F] features of all cells, zero where there is none."""
    given = as_input([one.sighting], grid)
    filled = np.zeros((grid.num_voxels, CELLS**3, given.features.shape[1]), np.float32)
    filled[given.voxels[given.parents], given.slots] = given.features
    return filled.reshape(*grid.shape, CELLS, CELLS, CELLS, -1)


@pytest.fixture()
def seen() -> PerceptionExample:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, FREE + 1, GRID.shape).astype(np.uint8)
    return PerceptionExample(random_sighting(rng, GRID, share=0.1), classes)


@pytest.mark.parametrize("axes", [(1,), (0,), (0, 1)])
def test_a_mirrored_example_is_that_of_a_mirrored_street(seen, axes, monkeypatch):
    """Cells, what was observed and what is there: all of it seen in one mirror."""
    monkeypatch.setattr(training, "THINNED", 0.0)
    monkeypatch.setattr(training, "MIRRORED", float(1 in axes))
    monkeypatch.setattr(training, "REVERSED", float(0 in axes))
    found = varied(seen, GRID, np.random.default_rng(0))
    assert np.array_equal(found.classes, np.flip(seen.classes, axes))
    within = tuple(3 + axis for axis in axes)  # the cells in a voxel, too
    assert np.array_equal(dense_features(found, GRID), np.flip(dense_features(seen, GRID), (*axes, *within)))
    assert np.array_equal(found.sighting.observed_mask(GRID), np.flip(seen.sighting.observed_mask(GRID), axes))
    assert (np.diff(found.sighting.cells) > 0).all()
    again = varied(found, GRID, np.random.default_rng(0))
    assert np.array_equal(again.classes, seen.classes) and np.array_equal(again.sighting.cells, seen.sighting.cells)
    assert np.array_equal(again.sighting.counts, seen.sighting.counts)


def test_a_share_of_the_examples_is_thinned_mirrored_reversed(seen):
    found = [varied(seen, GRID, np.random.default_rng(number)) for number in range(600)]
    shares = np.array([len(one.sighting.cells) / len(seen.sighting.cells) for one in found])
    thinned = shares < 1
    assert 0.2 < thinned.mean() < 0.4 and shares.min() > 1 - training.MOST_THINNED - 0.2
    for axis, share in ((1, training.MIRRORED), (0, training.REVERSED)):
        other = 1 - axis
        flipped = [any(np.array_equal(one.classes, np.flip(seen.classes, axes)) for axes in ((axis,), (axis, other)))
                   for one in found]
        assert abs(np.mean(flipped) - share) < 0.08
    for one in found:
        assert len(one.sighting.cells) == len(one.sighting.counts) == len(one.sighting.oldest)


def test_an_example_is_the_same_for_the_same_numbers(seen):
    for number in range(5):
        one, other = (varied(seen, GRID, np.random.default_rng(number)) for _ in range(2))
        assert np.array_equal(dense_features(one, GRID), dense_features(other, GRID))
        assert np.array_equal(one.classes, other.classes)


def test_the_loss_in_closed_form():
    """Four voxels: a car, a road, free, and one whose class nobody knows."""
    logits = torch.zeros(1, 4, 1, 1, OUTPUTS)
    classes = torch.tensor([CAR, ROAD, FREE, UNLABELLED]).view(1, 4, 1, 1)
    loss = perception_loss(logits, classes)
    assert loss.existence.item() == pytest.approx(math.log(2)) and loss.classes.item() == pytest.approx(
        math.log(NUM_CLASSES))
    logits[0, :, 0, 0, FREE] = torch.tensor([2.0, -1.0, 0.5, 3.0])  # of being occupied
    logits[0, 0, 0, 0, CAR], logits[0, 1, 0, 0, CAR] = 5.0, 5.0
    loss = perception_loss(logits, classes)
    wanted = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(1.0)), math.log1p(math.exp(0.5)),
              math.log1p(math.exp(-3.0))]
    assert loss.existence.item() == pytest.approx(sum(wanted) / 4)
    normaliser = math.log(math.exp(5.0) + NUM_CLASSES - 1)
    assert loss.classes.item() == pytest.approx(((normaliser - 5.0) + normaliser) / 2)
    assert loss.total(2.0).item() == pytest.approx(
        training.OCCUPANCY_WEIGHT * loss.existence.item() + loss.classes.item() + 2 * loss.jaccard.item())


def test_nothing_is_learnt_where_no_frame_tells():
    """Two of four voxels are untold: the loss is that of the others, and no gradient comes from these."""
    logits = torch.randn(1, 4, 1, 1, OUTPUTS, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes = torch.tensor([CAR, FREE, training.UNTOLD, training.UNTOLD]).view(1, 4, 1, 1)
    loss, alone = perception_loss(logits, classes), perception_loss(logits[:, :2], classes[:, :2])
    assert torch.allclose(loss.total(1.0), alone.total(1.0), atol=1e-6)
    loss.total(1.0).backward()
    assert (logits.grad[0, 2:] == 0).all() and (logits.grad[0, :2] != 0).any()


class AheadStreet(SightedStreet):
    """Of whose street a car has seen as much again ahead."""

    def sighting(self, scene: str, index: int):
        ahead = looking_ahead(np.random.default_rng(index), self.grid, (0, self.grid.shape[0], 0, 0))
        return replace(ahead, world_from_grid=self.frame(scene, index).world_from_grid)


def test_what_lies_beyond_the_grid_is_told_by_the_frames_to_come():
    """Each place by the first frame whose grid holds it."""
    street = AheadStreet(num=6)
    grid, present = street.grid, street.frame("street", 0)
    own = part_of_example(street, "street", 0, np.zeros(2))
    assert np.array_equal(own.classes, example(street, "street", 0).classes)
    assert np.array_equal(own.sighting.cells, example(street, "street", 0).sighting.cells)
    far = part_of_example(street, "street", 0, np.array([0.5, 0.5]))
    pose = present.world_from_grid @ planar_pose(grid.voxel_size_m * int(0.5 * (grid.shape[0] + 1)), 0.0, 0.0)
    told = np.zeros(grid.shape, dtype=bool)
    for index in range(6):
        frame = street.frame("street", index)
        held = np.unpackbits(regridded_mask(replace(frame, observed=None), grid, pose), count=grid.num_voxels)
        new = held.astype(bool).reshape(grid.shape) & ~told
        assert np.array_equal(far.classes[new], warp(frame, grid, pose).dense(grid)[new])
        told |= new
    assert (far.classes[~told] == training.UNTOLD).all() and told.any()
    batch = SightingBatches(street, examples(street, "train"), 8, 0)(0)
    assert batch.classes.shape == batch.shown.observed.shape == (8, *grid.shape)


def test_where_it_is_certain_the_loss_is_the_mean_jaccard_distance_of_the_frame():
    """As the evaluation counts it: what is filled where nothing is and what is missed count against their class; a
    voxel whose class nobody knows counts for none."""
    rng = np.random.default_rng(0)
    said, true = (np.where(rng.random(300) < 0.5, FREE, rng.choice([CAR, ROAD, 16], 300)) for _ in range(2))
    said = np.where(rng.random(300) < 0.6, true, said)
    logits = torch.zeros(1, 300, 1, 1, OUTPUTS)
    logits[0, :, 0, 0, FREE] = torch.from_numpy(np.where(said == FREE, -50.0, 50.0))
    logits[0, np.arange(300), 0, 0, np.minimum(said, FREE - 1)] = 100.0
    counts = IoUCounts(1)
    frames = [OccupancyFrame.from_dense(one.reshape(300, 1, 1), np.eye(4)) for one in (said, true)]
    counts.add(0, *frames)
    wanted = 1 - counts.miou(released_rule=False)[0]
    classes = torch.from_numpy(true).view(1, 300, 1, 1)
    assert 0.2 < wanted < 0.8 and perception_loss(logits, classes).jaccard.item() == pytest.approx(wanted, abs=1e-5)
    unknown = torch.cat([classes, torch.full_like(classes, UNLABELLED)], dim=1)
    assert perception_loss(logits.repeat(1, 2, 1, 1, 1), unknown).jaccard.item() == pytest.approx(wanted, abs=1e-5)


def test_where_nobody_knows_the_class_existence_alone_is_learnt():
    store = SightedStreet(labelled=False)
    one = example(store, "street", 0)
    assert set(np.unique(one.classes)) == {FREE, UNLABELLED}
    logits = torch.zeros(1, *store.grid.shape, OUTPUTS, requires_grad=True)
    loss = perception_loss(logits, torch.from_numpy(one.classes).long()[None])
    loss.total(1.0).backward()
    assert loss.classes.item() == loss.jaccard.item() == 0
    assert not logits.grad[..., :FREE].any() and logits.grad[..., FREE].all()
    labelled = example(SightedStreet(), "street", 0)
    assert {CAR, ROAD} < set(np.unique(labelled.classes)) and UNLABELLED not in labelled.classes


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_the_best_of_all(seed):
    """Against every threshold tried by itself."""
    store, network = SightedStreet(), small_perception(seed=seed)
    with torch.no_grad():
        network.head[-1].weight *= 8  # so that probabilities spread
    keys = examples(store, "train")
    calibrate(network, store, keys)
    probabilities = np.stack([Perceiver(network).perceive(store.sighting(*key)).probability for key in keys])
    true = np.stack([store.frame(*key).dense(store.grid) != FREE for key in keys])
    assert ((probabilities > THRESHOLDS[0]) & (probabilities < THRESHOLDS[-1])).mean() > 0.05
    scores = [((probabilities > level) & true).sum() / ((probabilities > level) | true).sum() for level in THRESHOLDS]
    assert network.threshold.item() == pytest.approx(THRESHOLDS[int(np.argmax(scores))])


def test_the_threshold_is_set_by_frames_of_all_times_of_a_drive():
    """Also where every n-th frame of the split is the first one of a drive."""
    keys = [(f"scene-{number}", index) for number in range(240) for index in range(31)]
    assert len({index for _, index in keys[::len(keys) // 60]}) == 1
    drawn = some_of(keys, 60, seed=0)
    assert len(set(drawn)) == len(drawn) == 60 and set(drawn) <= set(keys) and drawn == some_of(keys, 60, seed=0)
    assert len({index for _, index in drawn}) > 20 and len({scene for scene, _ in drawn}) > 40
    assert some_of(keys[:5], 60, seed=0) == keys[:5]


def test_a_split_without_frames_and_a_store_without_sightings_are_one_line(tmp_path):
    with pytest.raises(InputError, match="memory: no frame of split 'train' to learn to perceive from"):
        examples(SightedStreet(num=0), "train")


def trained(folder, **changes) -> PerceptionNetwork:
    run = TrainingRun(folder, {"seed": 0}, 0.0)
    return train_perception(small_perception(), SightedStreet(), {**VALUES, **changes}, 0, run)


@pytest.mark.chaotic
@pytest.mark.parametrize("updates", [1, 4])
def test_a_resumed_training_equals_an_uninterrupted_one(cut, tmp_path, updates):
    """To the last bit, running statistics and threshold among them."""
    whole = trained(tmp_path / "whole").state_dict()
    assert cut(lambda: trained(tmp_path / "cut"), updates)
    resumed = trained(tmp_path / "cut").state_dict()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    assert whole["threshold"].item() in [pytest.approx(level) for level in THRESHOLDS]
    start = small_perception().state_dict()
    assert not any(torch.equal(start[name], whole[name]) for name in ("stem.1.running_mean", "head.2.weight"))
    figures = [[{name: value for name, value in json.loads(line).items() if "second" not in name}
                for line in (tmp_path / name / "stats.jsonl").read_text().splitlines()] for name in ("whole", "cut")]
    assert figures[0] == figures[1] and {"loss", "existence", "classes", "jaccard"} < set(figures[0][-1])


def test_batches_are_the_same_whatever_the_number_of_workers():
    keys = [("street", index) for index in range(5)]
    batches = SightingBatches(SightedStreet(), keys, 4, seed=3, process=1, processes=2)
    ahead = StepFetcher(batches, 12, 2, torch.device("cpu"))
    for step in (*range(4), *range(9, 12)):  # the last ones as after a resume
        one, other = batches(step), ahead.get(step)
        assert torch.equal(one.classes, other.classes) and one.classes.dtype == torch.uint8
        assert all(torch.equal(a, b) for a, b in zip(vars(one.shown).values(), vars(other.shown).values()))


TOWN = {"train_scenes": 5, "val_scenes": 3, "duration_s": 5.0, "keyframe_hz": 2, "sweep_hz": 4, "beams": 16,
        "azimuths": 180, "max_range_m": 50.0, "lowest_beam_deg": -30.0, "highest_beam_deg": 10.0,
        "mount_height_m": 1.84, "varied": False, "range_noise_m": 0.02, "dropout": 0.05, "vehicles": 60,
        "parked_share": 0.35, "pedestrians": 10, "motion_during_revolution": False, "exact_occupancy": False}
PLACE = VoxelGrid((-16.0, -16.0, -1.0), (40, 40, 8), 0.8)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A store of eight short drives."""
    folder = tmp_path_factory.mktemp("town")
    simulate_log(folder / "log", "v1.0-town", TOWN, seed=2, workers=1)
    return build_store(NuScenesLog(folder / "log", "v1.0-town"), PLACE, OccupancySettings(), folder / "store")


@pytest.mark.chaotic
def test_a_short_training_sees_more_than_the_raw_voxels(town, tmp_path, figure):
    """In streets that it has not learnt from: what is hidden, and what it is."""
    torch.manual_seed(0)
    network = PerceptionNetwork(PerceptionSettings(PLACE, 16, 8, (16, 24, 32), 32))
    values = {**VALUES, "steps": 250, "batch": 2, "learning_rate": 5e-3, "warmup_steps": 5, "calibration_frames": 10}
    trained = train_perception(network, town, values, 0, TrainingRun(tmp_path))
    frames = examples(town, "val")
    found = quality(trained, town, frames)
    raw, perceived = found["raw"], found["perceived"]
    figure("IoU beyond the raw voxels'", perceived["iou"] - raw["iou"], above=0.0)  # 0.22 to 0.33 over four seeds
    figure("mIoU beyond the raw voxels'", perceived["miou"] - raw["miou"], above=0.0)  # 0.22 to 0.30
    figure("expected calibration error", found["ece"], below=0.12)  # 0.01 to 0.04
    assert raw["movable_iou"] == 0 and raw["miou"] < 0.1 and found["frames"] == len(frames) == 33
    assert sum(count for _, _, count in found["reliability"]) <= len(frames) * PLACE.num_voxels
