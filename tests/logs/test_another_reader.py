"""The reader that docs/readers.md shows: one file and one configuration entry, and every tool takes its logs."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from occflow import command_line
from occflow.commands.build_occupancy import main
from occflow.logs.open import described_log
from occflow.logs.registry import READERS, register_all
from occflow.occupancy.storage.store import OccupancyStore

PAGE = Path(__file__).parents[2] / "docs/readers.md"
MOST_LINES = 15


@pytest.fixture
def shown(monkeypatch, tmp_path) -> Path:
    """The page's two files put into place: a package of readers, and the folder of configurations."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (entry,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= MOST_LINES
    package = tmp_path / "package/readers_of_the_page"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "mine.py").write_text(code)
    shutil.copytree(command_line.CONFIG_DIR, tmp_path / "configs")
    (tmp_path / "configs/log/mine.yaml").write_text(entry)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(command_line, "CONFIG_DIR", tmp_path / "configs")
    command_line._composed.cache_clear()
    register_all(package.name)
    assert yaml.safe_load(entry)["kind"] in READERS
    yield tmp_path
    command_line._composed.cache_clear()
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]
    del READERS["mine"]


def test_the_reader_of_the_page_works_with_a_tool(shown, capsys):
    x = np.arange(-9.75, 10, 0.25)
    wall = np.stack([np.tile(x, 4), np.full(4 * len(x), 6.2), np.repeat([-1.0, -0.5, 0.0, 0.5], len(x))], axis=1)
    drive = shown / "logs/to_work"
    drive.mkdir(parents=True)
    (drive / "drive.csv").write_text("".join(f"{100 + number / 4}, {number}, 0, 0.0\n" for number in range(5)))
    for number in range(5):
        np.save(drive / f"{number:06d}.npy", wall.astype(np.float32))
    assert described_log(shown / "logs")["kind"] == "mine"
    config = command_line.compose_config(["log=mine", f"log.root={shown / 'logs'}", f"data.store={shown / 'store'}",
                                          "workers=1"])
    assert config["data"]["input"] == "lidar"
    main(config)
    assert "1 scenes, 3 frames" in capsys.readouterr().out
    store = OccupancyStore.open(shown / "store")
    frame = store.frame("to_work", 1)
    np.testing.assert_allclose(frame.world_from_grid[:3, 3], [2, 0, 0])
    places_m = store.grid.centres(store.grid.unflatten(frame.flat))
    assert np.abs(places_m[:, 1] - 6.2).max() <= store.grid.voxel_size_m
