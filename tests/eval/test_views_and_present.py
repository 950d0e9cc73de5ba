"""Views, the protocol `present`, coherence, and the ego settings on frames whose scores are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.errors import InputError
from occflow.eval.coherence import CoherenceScores
from occflow.eval.iou import IoUCounts
from occflow.eval.protocols import EXTRAPOLATED, GIVEN, PROTOCOLS, ExtrapolatedEgo, in_ego_setting
from occflow.eval.views import PresentScores, ViewScores
from occflow.forecasting.forecast import Forecast
from occflow.forecasting.rules import Baseline, baselines, persisted
from occflow.geometry import planar_pose
from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-40.0, -10.0, 0.0), (80, 20, 2), 1.0)
CAR, TRUCK, WALL = 4, 10, 15
STRICT = PROTOCOLS["occworld-strict"]


def frame(voxels: dict[tuple[int, int, int], int], pose: np.ndarray | None = None, stamp_s: float = 0.0,
          observed: np.ndarray | None = None) -> OccupancyFrame:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    for voxel, label in voxels.items():
        volume[voxel] = label
    made = OccupancyFrame.from_dense(volume, np.eye(4) if pose is None else pose, stamp_s)
    return replace(made, observed=None if observed is None else np.packbits(observed))


def window_of(*horizon: OccupancyFrame, history: tuple = ()) -> Window:
    return Window.of(WindowKey("s", 0), history or (frame({}),), horizon)


def test_distance_bands_and_observed_voxels_by_hand():
    near, far, farther = (42, 4, 0), (65, 4, 0), (70, 4, 0)  # centres at 2.5, 25.5 and 30.5 m
    observed = np.ones(GRID.shape, dtype=bool)
    observed[farther] = False
    views = ViewScores(GRID, STRICT, [0])
    views.watch(window_of(frame({near: CAR, far: WALL, farther: WALL}, observed=observed)),
                {"x": Forecast((frame({near: CAR, far: WALL, (66, 4, 0): WALL}),))})
    found = {view: rows[0]["iou"][0] for view, rows in views.report().items()}
    assert found == pytest.approx({"0-20 m": 1.0, "20-40 m": 1 / 3, "observed": 2 / 3}, abs=1e-6)


def test_no_view_of_what_nobody_knows():
    views = ViewScores(GRID, STRICT, [0])
    views.watch(window_of(frame({(1, 1, 1): CAR})), {"x": Forecast((frame({}),))})
    assert set(views.report()) == {"0-20 m", "20-40 m"}


def driving(index: int, voxels: dict) -> OccupancyFrame:
    return frame(voxels, planar_pose(2.0 * index, 0, 0), 0.5 * index)


def test_present_compares_in_the_grid_of_the_present():
    """At 2 m a step, the wall at x = 10 of the present is at 8 and 6 later; the car is forecast one voxel late."""
    truth = driving(1, {(48, 4, 0): WALL, (45, 4, 0): CAR}), driving(2, {(46, 4, 0): WALL, (79, 4, 0): CAR})
    forecast = driving(1, {(48, 4, 0): WALL, (44, 4, 0): CAR}), driving(2, {(46, 4, 0): WALL})
    scores = PresentScores(GRID, [0, 1])
    scores.watch(window_of(*truth, history=(driving(0, {}),)), {"x": Forecast(forecast)})
    (row,) = scores.report()
    assert row["iou"] == [pytest.approx(1 / 3, abs=1e-6), 1.0]  # the car at 79 has left the present's grid
    assert row["movable_iou"] == [0.0, None]
    assert row["iou_all"] == pytest.approx((1 + 1) / (3 + 1)) and row["movable_iou_all"] == 0.0


def coherence(*frames: OccupancyFrame) -> dict:
    scores = CoherenceScores(GRID)
    scores.watch(window_of(*frames), {"x": Forecast(frames)})
    return {row["name"]: row for row in scores.report()}["x"]


def block(x: int, length: int, label: int = CAR) -> dict:
    return {(x + i, 4 + j, k): label for i in range(length) for j in range(2) for k in range(2)}


def test_a_coherent_forecast():
    walls = [{(48 - 2 * i, y, 0): WALL for y in range(8)} for i in range(3)]
    found = coherence(*(driving(i, {**walls[i], **block(50, 3)}) for i in range(3)))
    assert (found["background_iou"], found["size_change"], found["flicker"]) == (1.0, 0.0, 0.0)


def test_an_incoherent_forecast():
    """The wall does not move as the ego does; the car doubles, then vanishes."""
    wall = {(48, y, 0): WALL for y in range(8)}
    found = coherence(driving(0, {**wall, **block(50, 2)}), driving(1, {**wall, **block(47, 4)}), driving(2, wall))
    assert found["background_iou"] == 0.0 and found["size_change"] == 1.0 and found["flicker"] == 0.5


def scattered(x: int, label: int = CAR) -> dict:
    """As many voxels as block(x, 3), none beside another."""
    return {(x + 2 * i - 4, 2 * j, 0): label for i in range(4) for j in range(3)}


@pytest.mark.parametrize(("cars", "expected"), [
    ([block(50, 3), block(50, 3), block(50, 3)], (0.0, 0.0, 0.0)),
    ([block(50, 3), block(50, 3), block(50, 6)], (0.5, 0.0, 0.0)),  # twice as large in one frame of two
    ([block(50, 6), block(50, 3), block(50, 3)], (1.0, 0.0, 0.0)),  # from frame to frame steady, and not the same car
    ([block(50, 3), block(50, 3), block(50, 3, TRUCK)], (0.0, 1.0, 0.0)),
    ([block(50, 3), block(50, 3), scattered(50)], (0.0, 1.0, 0.5)),
    ([{}, block(50, 3), block(50, 3)], (None, None, 0.0)),
    ([block(76, 3), block(76, 3), {}], (0.0, None, 0.0)),  # may have left the grid
])
def test_objects_of_the_present_keep_size_and_identity(cars, expected):
    present, *later = (driving(0, one) for one in cars)
    later = [replace(one, stamp_s=0.5 * (number + 1)) for number, one in enumerate(later)]
    scores = CoherenceScores(GRID)
    scores.watch(window_of(*later, history=(present,)), {"x": Forecast(tuple(later))})
    row = {row["name"]: row for row in scores.report()}["x"]
    assert (row["present_size_change"], row["lost"], row["specks"]) == expected


def test_every_sample_of_a_row_is_measured_and_the_first_only_once():
    present, whole, gone = driving(0, block(50, 3)), driving(0, block(50, 3)), driving(0, {})
    kept, lost = ((replace(one, stamp_s=0.5),) for one in (whole, gone))
    window, scores = window_of(*kept, history=(present,)), CoherenceScores(GRID)
    scores.watch(window, {"sampled": Forecast(kept), "centre": Forecast(kept)})
    scores.watch_samples(window, {"sampled": [kept, lost, lost, lost], "centre": [kept] * 4})
    scores.watch_samples(replace(window, key=WindowKey("another", 0)), {"centre": [kept, lost]})  # nobody watched it
    found = {row["name"]: row["lost"] for row in scores.report()}
    assert found == {"truth": 0.0, "sampled": 0.75, "centre": 0.0}
    assert scores.counts["centre"].total().mean("lost") == 0.0


def test_what_comes_into_view_is_not_incoherent():
    assert coherence(driving(0, {}), driving(1, {(78, 4, 0): WALL, (79, 4, 0): WALL}))["background_iou"] is None


def test_a_wrong_guess_of_the_ego_costs():
    """A steady drive is extrapolated exactly, a stop is not; the frames come back at the targets' poses."""
    history = tuple(driving(i, {(60 - 2 * i, 4, 0): WALL}) for i in range(3))
    steady = window_of(*(driving(i, {(60 - 2 * i, 4, 0): WALL}) for i in (3, 4)), history=history)
    guessed = steady.task.extrapolated()
    assert (guessed.ego, steady.task.ego) == (EXTRAPOLATED, GIVEN)
    for one, true in zip(guessed.targets, steady.truth):
        assert np.allclose(one.world_from_grid, true.world_from_grid) and one.stamp_s == true.stamp_s
    stopped = window_of(*(frame({(56, 4, 0): WALL}, planar_pose(4.0, 0, 0), 0.5 * i) for i in (3, 4)), history=history)
    told, untold = Baseline("persistence", GRID, persisted), ExtrapolatedEgo(Baseline("persistence", GRID, persisted))
    for window, forecaster, expected in ((steady, untold, 1.0), (stopped, untold, 0.0), (stopped, told, 1.0)):
        counts = IoUCounts(2)
        for index, one in enumerate(forecaster.forecast(window.task, 0).frames):
            counts.add(index, one, window.truth[index])
        assert counts.iou() == pytest.approx([expected] * 2)
    assert len(untold.samples(steady.task, [1, 2])) == 2


def test_ego_settings_have_names():
    rules = baselines(GRID, with_boxes=True)
    assert in_ego_setting(GIVEN, rules) is rules
    assert [one.name for one in in_ego_setting(EXTRAPOLATED, rules)] == [one.name for one in rules]
    with pytest.raises(InputError, match="eval.ego: no setting 'P'"):
        in_ego_setting("P", rules)


def sparse(volume: np.ndarray) -> OccupancyFrame:
    return OccupancyFrame.from_dense(volume, np.eye(4))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2 ** 32 - 1), st.integers(2, 4))
def test_counters_agree_under_any_sharding_and_with_dense_volumes(seed, shards):
    """Confusion of sparse frames equals that of dense volumes, whatever the mask, and however windows are dealt out."""
    rng = np.random.default_rng(seed)
    volumes = rng.choice([CAR, WALL, 0, 16, FREE], (5, 2, *GRID.shape)).astype(np.uint8)
    parts, dense = [IoUCounts(1) for _ in range(shards)], np.zeros((18, 18), dtype=np.int64)
    for ours, theirs in volumes:
        parts[rng.integers(shards)].add(0, sparse(ours), sparse(theirs))
        np.add.at(dense, (ours.reshape(-1), theirs.reshape(-1)), 1)
    dense[FREE, FREE] = 0
    for part in parts[1:]:
        parts[0].merge(part)
    assert (parts[0].confusion[0] == dense).all()
