"""tools/inspect_store.py: figures that agree with what was written, a picture, and one line for what is broken."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.jobs.inspect import describe, inspect_store
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.scene_file import write_scene
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout, finish_store, start_store

TOOL = Path(__file__).resolve().parents[2] / "tools/inspect_store.py"
GRID = VoxelGrid((-4, -4, 0), (8, 8, 4), 1.0)  # 256 voxels


@pytest.fixture
def store(tmp_path) -> OccupancyStore:
    """Two frames: 16 voxels of road, and 32 of which a half are cars; a quarter of the grid observed in the second."""
    road, car = CLASS_NAMES.index("driveable_surface"), CLASS_NAMES.index("car")
    frames = [OccupancyFrame(np.arange(16), np.full(16, road, np.uint8), np.eye(4), 0.0, "a"),
              OccupancyFrame(np.arange(32), np.repeat([road, car], 16).astype(np.uint8), planar_pose(1, 0, 0), 0.5, "b",
                             observed=np.packbits(np.arange(256) < 64))]
    layout = StoreLayout(GRID, None, "made-up", {"train": [], "val": ["one"]})
    start_store(tmp_path / "store", layout, ["one"])
    finish_store(tmp_path / "store", layout, {"one": write_scene(tmp_path / "store", "one", frames)})
    return OccupancyStore.open(tmp_path / "store")


def test_figures_are_those_of_the_frames(store):
    figures = inspect_store(store)
    assert (figures.scenes, figures.frames) == (1, 2)
    assert np.isclose(figures.occupied_share, 24 / 256) and np.isclose(figures.observed_share, 0.25)
    assert np.isclose(figures.class_shares[CLASS_NAMES.index("car")], 16 / 48) and np.isnan(figures.causal_share)
    text = describe(store, figures)
    assert all(part in text for part in ("made-up", "val 1", "made by others", "8 x 8 x 4 voxels of 1.0 m"))
    assert text.splitlines()[-1].split() == ["car", "33.333%"]


def test_the_tool_prints_them_and_draws_a_frame(store, tmp_path):
    arguments = [f"data.store={store.path}", "data.inspect.frame=1", "data.inspect.picture=map.png"]
    done = subprocess.run([sys.executable, str(TOOL), *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "frames     2" in done.stdout and Image.open(tmp_path / "map.png").size[0] > 800
    causal = subprocess.run([sys.executable, str(TOOL), *arguments, "data.inspect.causal=true"], cwd=tmp_path,
                            capture_output=True, text=True)
    assert causal.returncode == 2 and "without causal occupancy" in causal.stderr


def test_a_store_without_frames_has_figures_and_no_picture(tmp_path, monkeypatch, capsys):
    folder, layout = tmp_path / "store", StoreLayout(GRID, None, "made-up", {"val": ["one"]})
    start_store(folder, layout, ["one"])
    finish_store(folder, layout, {"one": write_scene(folder, "one", [])})
    monkeypatch.setattr(sys, "argv", [str(TOOL), f"data.store={folder}", f"data.inspect.picture={tmp_path}/map.png"])
    runpy.run_path(str(TOOL), run_name="__main__")
    assert "picture    none" in capsys.readouterr().out and not (tmp_path / "map.png").exists()
