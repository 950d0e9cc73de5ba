"""The window rules give the published counts on tables of nuScenes' validation sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.logs.nuscenes_sequences import NuScenesSequences
from occflow.occupancy.window_index import rule_named, window_index


@pytest.fixture(scope="module")
def val_tables(tmp_path_factory):
    """150 scenes with 6019 samples, tables only."""
    root = tmp_path_factory.mktemp("val")
    tables = {name: [] for name in ("scene", "sample", "sample_data", "ego_pose")}
    for number in range(150):
        tables["scene"].append({"token": f"s{number}", "name": f"scene-{number:04d}"})
        count = 40 + (number < 19)  # 150 x 40 + 19 = 6019
        for i in range(count):
            token, stamp = f"{number}-{i}", 10**15 + number * 10**9 + i * 500_000
            tables["sample"].append({"token": token, "scene_token": f"s{number}",
                                     "next": f"{number}-{i + 1}" if i < count - 1 else ""})
            tables["ego_pose"].append({"token": token, "translation": [float(i), 0, 0], "rotation": [1, 0, 0, 0]})
            tables["sample_data"].append({"token": token, "sample_token": token, "ego_pose_token": token,
                                          "timestamp": stamp, "is_key_frame": True,
                                          "filename": f"samples/LIDAR_TOP/{token}.pcd.bin"})
    (root / "v1.0-made").mkdir()
    for name, records in tables.items():
        (root / "v1.0-made" / f"{name}.json").write_text(json.dumps(records))
    return NuScenesSequences(root, "v1.0-made", boxes=False)


@pytest.mark.parametrize("rule, count", [("occworld", 4219), ("occfm", 4369), ("i2world", 4519),
                                         ("one_per_scene", 150), ("all", 4519)])
def test_published_counts(val_tables, rule, count):
    index = json.loads(json.dumps(window_index(val_tables, "val", rule_named(rule))))
    assert len(index["windows"]) == count
    assert sum(len(scene["tokens"]) for scene in index["scenes"].values()) == 6019
    assert np.allclose(index["scenes"]["scene-0007"]["world_from_ego"][3], [3, 0, 0, 1, 0, 0, 0])


def test_short_scenes_have_no_window_and_unknown_rules_are_refused():
    assert len(rule_named("one_per_scene").starts(10, 5, 6)) == 0
    with pytest.raises(InputError, match="known: occworld"):
        rule_named("mine")
