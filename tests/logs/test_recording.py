"""Recordings in the project's own format: what comes back of a log, what is refused, and the committed drive."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fuzzing.edits import edited
from hypothesis import given
from hypothesis import strategies as st
from real_recordings import DRIVE
from small_logs import write_tiny_nuscenes

from occflow.command_line import compose_config
from occflow.commands.pack_log import main
from occflow.errors import InputError
from occflow.geometry import invert, planar_pose, points_in_box
from occflow.grid import CLASS_NAMES
from occflow.logs.boxes import interpolate_boxes
from occflow.logs.open import open_log
from occflow.logs.pack import PackSettings, pack_log
from occflow.logs.protocol import UNLABELLED, Box, Keyframe, Sweep
from occflow.logs.recording import RecordingLog
from occflow.logs.recording_files import read_description, write_record
from occflow.logs.sweep_codec import HEADER, SweepPoints, read_sweep_bytes, sweep_bytes
from occflow.packing import pack
from studies.data.agreement import scan_agreement

CAR = CLASS_NAMES.index("car")
CELL_M = 0.05


@dataclass
class Handmade:
    """A DrivingLog of one scene: five sweeps, every second one a labelled keyframe with moving points and two boxes."""

    seed: int = 0
    name: str = "handmade"

    def scenes(self) -> list[str]:
        return ["by hand", "again"]

    def splits(self) -> dict[str, list[str]]:
        return {"train": ["by hand"], "val": ["again"]}

    def keyframes(self, scene: str) -> list[Keyframe]:
        return [Keyframe(sweep.keyframe, sweep.stamp_s, sweep.world_from_ego, self._boxes(number))
                for number, sweep in enumerate(self.sweeps(scene)) if sweep.keyframe]

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        rng = np.random.default_rng(self.seed)
        for number in range(5):
            points = rng.uniform((-50, -30, -3), (40, 60, 4), (500, 3)).astype(np.float32)
            labels = np.where(rng.random(500) < 0.1, UNLABELLED, rng.integers(len(CLASS_NAMES), size=500))
            ego = planar_pose(1e6 + 3 * number, -2e5, 0.3 * number, 12.5)
            keyframe = number % 2 == 0
            yield Sweep(1.6e9 + number / 10, points, labels.astype(np.uint8) if keyframe else None,
                        ego @ planar_pose(0.7, 0, 0.01, 2), ego, f"key {number}" if keyframe else None,
                        Path(f"{number}"), rng.random(500) < 0.2 if keyframe else None)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        return []

    def _boxes(self, number: int) -> tuple[Box, ...]:
        return tuple(Box(track, CAR, planar_pose(1e6 + number, place, 0.1 * number, 1), np.array([4.5, 1.75, 1.5]))
                     for track, place in (("one", 3.0), ("two", -3.0)))


@pytest.fixture
def packed(tmp_path) -> Path:
    pack_log(Handmade(), tmp_path / "packed", PackSettings(attribution="mine", cell_m=CELL_M))
    return tmp_path / "packed"


def everything(root: Path) -> list:
    log = RecordingLog(root)
    return [(log.keyframes(scene), list(log.sweeps(scene))) for scene in log.scenes()]


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.sampled_from([0.001, 0.01, 1 / 64, 0.3]), st.booleans(),
       st.booleans(), st.sampled_from([0.0, 0.02, 5.0, 900.0]))
def test_each_point_comes_back_in_the_middle_of_its_cell_with_what_is_known_of_it(seed, count, cell_m, labelled, moves,
                                                                                  spread_m):
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=3) + spread_m * rng.uniform(-1, 1, (count, 3))).astype(np.float32)
    labels = rng.integers(len(CLASS_NAMES), size=count).astype(np.uint8) if labelled else None
    moving = rng.random(count) < 0.5 if moves else None
    content, kept = sweep_bytes(SweepPoints(points, labels, moving), cell_m)
    found = read_sweep_bytes(content, cell_m)
    cells = np.round(points.astype(np.float64) / cell_m).astype(np.int64)
    places = {tuple(cell): number for number, cell in reversed(list(enumerate(cells)))}  # the first of a cell
    assert len(found.points) == kept == len(places) and found.points.dtype == np.float32
    numbers = [places[tuple(cell)] for cell in np.round(found.points.astype(np.float64) / cell_m).astype(np.int64)]
    assert len(set(numbers)) == kept
    assert np.abs(found.points - points[numbers]).max() <= cell_m / 2 + 1e-4
    for part, original in ((found.labels, labels), (found.moving, moving)):
        assert (part is None) == (original is None) and (part is None or np.array_equal(part, original[numbers]))


def test_what_a_sweep_claims_is_checked():
    content, _ = sweep_bytes(SweepPoints(np.zeros((1, 3), np.float32)), CELL_M)
    magic, *rest = HEADER.unpack_from(content)
    for claims in ([10**9, *rest[1:]], [1, 10**9, *rest[2:]], [1, 0, 60, *rest[3:]], [1, 0, 0, 9, *rest[4:]],
                   [1, 0, 0, 0, 2**31 - 1, 0, 0], [2, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0]):
        with pytest.raises(ValueError):
            read_sweep_bytes(HEADER.pack(magic, *claims) + content[HEADER.size:], CELL_M)
    for tree, claims in ((b"\0", (1, 1, 1)), (b"\3", (1, 1, 1)), (b"\1\1", (1, 2, 1)), (b"\xff" * 9, (8, 9, 2))):
        with pytest.raises(ValueError):
            read_sweep_bytes(HEADER.pack(magic, *claims, 0, 0, 0, 0) + pack(tree), CELL_M)
    with pytest.raises(ValueError, match="no class"):
        read_sweep_bytes(HEADER.pack(magic, 1, 0, 0, 1, 0, 0, 0) + pack(b"\x7f"), CELL_M)
    for points in (np.zeros((0, 3)), np.array([[0, 0, 0], [1e6, 0, 0]]), np.array([[1e12, 0, 0]])):
        with pytest.raises(ValueError):
            sweep_bytes(SweepPoints(points), CELL_M)


def test_a_log_comes_back(packed):
    log, original = open_log({"kind": "recording", "root": packed}), Handmade()
    assert log.scenes() == original.scenes() and log.splits() == original.splits() and log.attribution == "mine"
    for scene in log.scenes():
        for keyframe, other in zip(log.keyframes(scene), original.keyframes(scene), strict=True):
            assert (keyframe.token, keyframe.stamp_s) == (other.token, other.stamp_s)
            assert np.allclose(keyframe.world_from_ego, other.world_from_ego, rtol=0, atol=1e-6)
            for box, before in zip(keyframe.boxes, other.boxes, strict=True):
                assert (box.track, box.label) == (before.track, before.label)
                assert np.allclose(box.world_from_box, before.world_from_box, rtol=0, atol=1e-6)
                assert np.allclose(box.size_lwh_m, before.size_lwh_m)
        for sweep, other in zip(log.sweeps(scene), original.sweeps(scene), strict=True):
            assert (sweep.stamp_s, sweep.keyframe) == (other.stamp_s, other.keyframe)
            assert np.allclose(sweep.world_from_sensor, other.world_from_sensor, rtol=0, atol=1e-6)
            assert (sweep.labels is None) == (sweep.moving is None) == (other.labels is None)
            assert len(sweep.points_sensor) > 490
    first, second, _ = log.keyframes("again")
    between = log.boxes_at("again", first.stamp_s + 0.1)
    assert [box.track for box in between] == ["one", "two"]
    assert np.allclose(between[0].world_from_box, interpolate_boxes(first.boxes, second.boxes, 0.5)[0].world_from_box)
    assert log.boxes_at("again", first.stamp_s - 0.1) == [] and len(log.boxes_at("again", second.stamp_s)) == 2


def test_a_log_travels_to_another_process(packed):
    twin = pickle.loads(pickle.dumps(RecordingLog(packed)))
    assert twin.name == RecordingLog(packed).name and len(list(twin.sweeps("again"))) == 5


def flip(content: bytes) -> bytes:
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


DAMAGE = {
    "truncated": ("by hand/000001.sweep", lambda data: data[:-3], "000001.sweep: broken sweep"),
    "flipped bit": ("by hand/000001.sweep", flip, "000001.sweep: broken sweep"),
    "something added": ("by hand/000001.sweep", lambda data: data + b"0", "000001.sweep: broken sweep"),
    "empty": ("by hand/000001.sweep", lambda data: b"", "000001.sweep: broken sweep"),
    "missing": ("by hand/000001.sweep", None, "000001.sweep: cannot be read"),
    "a stamp": ("again/scene.json", lambda data: data.replace(b"1600000000.1", b"1600000000.2"), "not as it was"),
    "half a scene": ("again/scene.json", lambda data: data[:len(data) // 2], "scene.json: broken record"),
    "no scene": ("again/scene.json", None, "scene.json: cannot be read"),
    "a name": ("recording.json", lambda data: data.replace(b"mine", b"ours"), "recording.json: .*not as it was"),
    "no recording": ("recording.json", None, "no recording.json"),
    "a type": ("recording.json", lambda data: data.replace(b'"cell_m":0.05', b'"cell_m":"1"'), "field 'cell_m'"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_with_one_line(packed, case):
    name, change, message = DAMAGE[case]
    path = packed / name
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=message) as error:
        everything(packed)
    assert "\n" not in str(error.value)


def test_random_damage_never_reads_as_something_else(packed):
    for path in (packed / "again/000002.sweep", packed / "again/scene.json", packed / "recording.json"):
        content = path.read_bytes()
        for number in range(40):
            damaged = edited(content, path.name, ("bytes",), number).content
            path.write_bytes(damaged)
            if damaged.strip() != content.strip():
                with pytest.raises(InputError, match=path.name):
                    everything(packed)
        path.write_bytes(content)
    assert len(everything(packed)) == 2


def test_a_broken_sweep_raises_in_its_turn_and_the_next_ones_go_on(packed):
    (packed / "by hand/000001.sweep").write_bytes((packed / "by hand/000002.sweep").read_bytes())
    sweeps = RecordingLog(packed).sweeps("by hand")
    assert next(sweeps).keyframe == "key 0"
    with pytest.raises(InputError, match="000001.sweep"):
        next(sweeps)
    assert [sweep.keyframe for sweep in sweeps] == ["key 2", None, "key 4"]


@pytest.mark.parametrize("changed, message", [
    ({"scenes": ["../elsewhere"]}, "cannot be a file name"), ({"scenes": []}, "no scene"),
    ({"splits": {"val": ["other"]}}, "a split of others"), ({"class_names": ["car"]}, "other classes"),
    ({"cell_m": 1e-9}, "cell_m"), ({"cell_m": 100.0}, "cell_m"), ({"format": "occflow-recording-0"}, "not of format"),
    ({"name": ""}, "no name")])
def test_a_description_that_cannot_be_is_refused_however_well_sealed(packed, changed, message):
    values = {**read_description(packed), **changed}
    values.pop("sha256")
    write_record(packed / "recording.json", values)
    with pytest.raises(InputError, match=f"recording.json: .*{message}"):
        RecordingLog(packed)


def test_what_cannot_be_packed_leaves_nothing(tmp_path):
    class Broken(Handmade):
        def sweeps(self, scene):
            for number, sweep in enumerate(super().sweeps(scene)):
                if number == 3:
                    raise InputError("3: truncated scan")
                yield sweep

    class Lacking(Handmade):
        def sweeps(self, scene):
            return (sweep for sweep in super().sweeps(scene) if sweep.keyframe != "key 2")

    class Bent(Handmade):
        def sweeps(self, scene):
            return (replace(sweep, world_from_ego=2 * sweep.world_from_ego) for sweep in super().sweeps(scene))

    for log, settings, message in ((Broken(), {}, "truncated scan"), (Lacking(), {}, "no sweep of keyframe key 2"),
                                   (Bent(), {}, "not finite and rigid"),
                                   (Handmade(), {"max_range_m": 0.1}, "pack.max_range_m")):
        try:
            log.keyframes = lambda scene: Handmade().keyframes(scene)
            with pytest.raises(InputError, match=message):
                pack_log(log, tmp_path / "out", PackSettings(**settings))
        finally:
            assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no scene 'x'"):
        pack_log(Handmade(), tmp_path / "out", PackSettings(), ["x"])
    for settings in ({"cell_m": 0.0}, {"max_range_m": 1e9}, {"attribution": "a\nb"}):
        with pytest.raises(InputError, match=f"pack.{next(iter(settings))}"):
            PackSettings(**settings)


def test_a_folder_that_is_there_is_not_replaced(packed):
    before = (packed / "recording.json").read_bytes()
    with pytest.raises(InputError, match="is there already and not empty; remove it"):
        pack_log(Handmade(), packed, PackSettings())
    assert (packed / "recording.json").read_bytes() == before


def test_the_command_packs_scenes_of_any_log(tmp_path, capsys):
    root = write_tiny_nuscenes(tmp_path)["root"]
    config = compose_config(["log=nuscenes", f"log.root={root}", "log.version=v1.0-tiny", f"pack.root={tmp_path}/out",
                             "pack.name=tiny", "pack.scenes=[tiny-2]", "pack.max_range_m=8"])
    main(config)
    assert "1 scenes, 5 sweeps" in capsys.readouterr().out
    log = RecordingLog(tmp_path / "out")
    assert log.scenes() == ["tiny-2"] and log.name.startswith("tiny@") and log.splits()["val"] == ["tiny-2"]
    sweep = next(log.sweeps("tiny-2"))
    assert np.linalg.norm(sweep.points_sensor, axis=1).max() <= 8.01 and set(sweep.labels) == {11, 15, UNLABELLED}
    for wrong, message in (({"scenes": ["x"]}, "pack.scenes: no scene 'x'"), ({"split": "x"}, "pack.split: no split")):
        with pytest.raises(InputError, match=message):
            main({**config, "pack": {**config["pack"], **wrong}})


def test_the_committed_drive_is_as_the_recording_that_it_was_made_from():
    """Figures of the unpacked recording: 71 % of the cells common with poses, 57 % without; 255 points in a car's box,
    97.7 % of them labelled car; 202 boxes without any."""
    log = open_log({"kind": "recording", "root": DRIVE})
    [scene] = log.scenes()
    keyframes = {keyframe.token: keyframe for keyframe in log.keyframes(scene)}
    assert len(keyframes) == 16 and sum(len(keyframe.boxes) for keyframe in keyframes.values()) == 1504
    assert "Hesai and Scale AI" in log.attribution and "CC BY 4.0" in log.attribution
    sweeps = list(log.sweeps(scene))
    inside, cars, empty = [], [], 0
    for sweep in sweeps:
        assert 95_000 < len(sweep.points_sensor) < 110_000 and (sweep.labels is None) == (sweep.keyframe is None)
        for box in keyframes[sweep.keyframe].boxes if sweep.keyframe else ():
            found = points_in_box(sweep.points_sensor, invert(sweep.world_from_sensor) @ box.world_from_box,
                                  box.size_lwh_m)
            empty += not found.any()
            if box.label == CAR:
                inside.append(found.sum())
                cars.append((sweep.labels[found] == CAR).sum())
    assert len(sweeps) == 72 and empty == 202
    assert np.mean(inside) == pytest.approx(255, abs=1) and sum(cars) / sum(inside) == pytest.approx(0.977, abs=0.001)
    in_memory = SimpleNamespace(sweeps=lambda scene: iter(sweeps))
    assert scan_agreement(in_memory, scene) == pytest.approx(0.71, abs=0.01)
    assert scan_agreement(in_memory, scene, with_poses=False) == pytest.approx(0.57, abs=0.01)


def test_the_committed_drive_is_small_and_says_whose_it_is():
    assert sum(path.stat().st_size for path in DRIVE.rglob("*") if path.is_file()) < 15e6
    text = (DRIVE / "README.md").read_text()
    assert all(part in text for part in ("Hesai and Scale AI", "CC BY 4.0", "What was changed", "tools/pack_log.py"))
