"""How well bodies are tracked: their velocity, turn, heading and confidence against annotated boxes.

    python studies/tracks.py data/simulated/occupancy val
    python studies/tracks.py runs/pandaset_occupancy second_half 1 lidar

A body counts where most of its voxels lie in one annotated box that the frames before and after have too: the box's
motion between these is the truth. Arguments: the store, a split, every how many windows (default 1), and what is seen
(default occupancy; lidar: as the shipped perception network perceives it).
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import numpy as np

from occflow.front_door import perceiver
from occflow.geometry import invert, transform
from occflow.grid import CLASS_NAMES, MOVABLE_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.bodies import Body, tracked_bodies
from occflow.occupancy.ego_motion import planar_motion
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import Window, WindowSource

STANDS_M_PER_S = 0.3  # a slower box stands
FALSE_M_PER_S = 0.5  # what is said to be faster, of a box that stands, is a false motion
PEOPLE = ("pedestrian", "bicycle", "motorcycle")
MARGIN_M = 0.4  # half a demo voxel: a voxel belongs to a box that its centre all but touches
MOST = 0.5  # of a body's voxels lie in its box
BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.001)  # of confidence
RIGHT_M_PER_S, RIGHT_SHARE = 0.5, 0.2  # a velocity is right within this, or this share of the true one


def owners(frame: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    """Number [N] among a frame's boxes of the movable one that each voxel lies in, the deepest; -1 for none."""
    centres = transform(frame.world_from_grid, grid.centres(grid.unflatten(frame.flat)))
    owner, depth = np.full(len(centres), -1), np.full(len(centres), MARGIN_M)
    for number, box in enumerate(frame.boxes):
        if box.label in MOVABLE_CLASSES:
            outside = (np.abs(transform(invert(box.world_from_box), centres)) - np.asarray(box.size_lwh_m) / 2).max(1)
            owner[outside < depth], depth = number, np.minimum(depth, outside)
    return owner


def box_of(frame: OccupancyFrame, track: str) -> Box | None:
    return next((box for box in frame.boxes if box.track == track), None)


def compare(window: Window, bodies: list[Body], boxed: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> list[dict]:
    """A row for each body with a box; `boxed` are the history and the future with their boxes."""
    before, now, after = boxed[-3:]
    owner, rows = owners(now, grid), []
    place = np.full(grid.num_voxels, -1)
    place[now.flat] = owner
    for body in bodies:
        numbers = place[window.present.flat[body.slots]]
        found, counts = np.unique(numbers[numbers >= 0], return_counts=True)
        if not len(found) or counts.max() <= MOST * len(numbers):
            continue
        box = now.boxes[found[counts.argmax()]]
        ends = [box_of(frame, box.track) for frame in (before, after)]
        if None in ends:
            continue
        seconds = after.stamp_s - before.stamp_s
        true = (ends[1].world_from_box[:2, 3] - ends[0].world_from_box[:2, 3]) / seconds
        turn = planar_motion(ends[0].world_from_box, ends[1].world_from_box, seconds)[1]
        said = body.world_from_body[:2, :2] @ body.velocity_m_per_s
        speed, error = np.linalg.norm(true), np.linalg.norm(said - true)
        heading = np.arctan2(body.world_from_body[1, 0], body.world_from_body[0, 0]) - np.arctan2(true[1], true[0])
        rows.append({"kind": "people" if CLASS_NAMES[body.label] in PEOPLE else "vehicles",
                     "moves": speed >= STANDS_M_PER_S, "error": error, "said": np.linalg.norm(said), "speed": speed,
                     "turn_error": np.degrees(abs(body.yaw_rate_rad_per_s - turn)), "turn": np.degrees(abs(turn)),
                     "heading": np.degrees(abs((heading + np.pi) % (2 * np.pi) - np.pi)),
                     "confidence": body.confidence,
                     "right": error <= max(RIGHT_M_PER_S, RIGHT_SHARE * speed)})
    return rows


def report(rows: list[dict]) -> None:
    groups = defaultdict(list)
    for row in rows:
        groups[row["kind"], "moving" if row["moves"] else "standing"].append(row)
    print("| bodies | number | velocity error m/s, median / 90 % | turn error deg/s | heading error deg | "
          "said to move | missed |\n|---|---|---|---|---|---|---|")
    for (kind, state), some in sorted(groups.items()):
        of = {key: np.array([row[key] for row in some]) for key in some[0]}
        quantiles = [" / ".join(f"{np.quantile(of[key], share):.2f}" for share in (0.5, 0.9))
                     for key in ("error", "turn_error", "heading")]
        said = of["said"] > FALSE_M_PER_S
        print(f"| {kind}, {state} | {len(some)} | {' | '.join(quantiles)} | {100 * said.mean():.1f} % | "
              f"{100 * (~said & (of['speed'] > FALSE_M_PER_S)).mean():.1f} % |")
    confidence, right = (np.array([row[key] for row in rows]) for key in ("confidence", "right"))
    print("\n| confidence | share of bodies | mean | right |\n|---|---|---|---|")
    for low, high in zip(BINS, BINS[1:]):
        of = (confidence >= low) & (confidence < high)
        if of.any():
            print(f"| {low:.1f} to {min(high, 1):.1f} | {100 * of.mean():.1f} % | {confidence[of].mean():.2f} | "
                  f"{right[of].mean():.2f} |")


def main(path: str, split: str, stride: str = "1", seen: str = "occupancy") -> None:
    store = OccupancyStore.open(path)
    source, rows, spent_s, bodies = WindowSource(store, 3, 1, perceive=perceiver()), [], [], []
    for key in source.keys(split, int(stride)):
        window = source.read(key, seen)
        boxed = tuple(store.frame(key.scene, key.start + number) for number in range(4))
        start = time.perf_counter()
        found = tracked_bodies(window.history, store.grid)
        spent_s.append(time.perf_counter() - start)
        bodies.append(len(found))
        rows += compare(window, found, boxed, store.grid)
    print(f"{len(spent_s)} windows, {np.mean(bodies):.0f} bodies each, at most {max(bodies)}; "
          f"{1e3 * np.mean(spent_s):.1f} ms each, at most {1e3 * max(spent_s):.1f}\n")
    report(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
