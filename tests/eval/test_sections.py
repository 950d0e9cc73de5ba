"""scores.md: figures with their intervals, and a dash for what was not measured."""

import numpy as np

from occflow.eval.coherence import CoherenceScores
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report import make_report, report_markdown
from occflow.eval.sections import scores_markdown, spanned
from occflow.eval.views import PresentScores, ViewScores
from occflow.forecasting.forecast import Forecast
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-8.0, -8.0, 0.0), (16, 16, 2), 1.0)
STRICT = PROTOCOLS["occworld-strict"]
MACHINE = {"cpu": "a", "cores": 2, "memory_gib": 8.0, "gpu": None}
WINDOWS = {"split": "val", "rule": "occworld", "count": 2, "stride": 1, "history": 1, "horizon": 3, "scenes": 2,
           "input": "causal", "grid_pose": "ego"}
CAR = 4


def frame(first: int, count: int = 8) -> OccupancyFrame:
    return OccupancyFrame(np.arange(first, first + count), np.full(count, CAR, np.uint8), planar_pose(0, 0, 0), 0.5)


def report() -> dict:
    """Two scenes: forecast right in one, half right in the other; nothing but cars."""
    scores, measures = ForecasterScores("peer", 0, ego="P"), {
        "views": ViewScores(GRID, STRICT, [0, 1, 2]), "present": PresentScores(GRID, [0, 1, 2]),
        "coherence": CoherenceScores(GRID)}
    for number, shift in enumerate((0, 4)):
        window = Window.of(WindowKey(f"s{number}", 0), (frame(40),), (frame(40),) * 3)
        forecast = Forecast((frame(40 + shift),) * 3)
        scores.add(window, forecast)
        for one in measures.values():
            one.watch(window, {"peer": forecast})
    found = {name: one.report() for name, one in measures.items()}
    found |= {name: {"windows": 2, "rows": found[name]} for name in ("present", "coherence")}
    return make_report([scores, ForecasterScores("constant_velocity", 0)], STRICT, [0, 1, 2], WINDOWS, "G", 3,
                       {"commit": "abc1234"}, MACHINE, {}, **found)


def test_figures_stand_with_their_intervals():
    """8 + 4 voxels right of 8 + 12: IoU 60 %, from 1/3 to 1 by scene."""
    text = scores_markdown(report())
    assert "| peer" + " | 60.0 (33.3 to 100.0)" * 4 + " |" in text
    assert "rule `occworld`" in text and "commit abc1234" in text and "seed 3" in text
    assert "| 0-20 m | peer | 60.0 / 60.0 / 60.0 |" in text
    assert "| peer | 60.0 / 60.0 / 60.0 | 60.0 / 60.0 / 60.0 | 60.0 / 60.0 / 60.0 | 60.0 (33.3 to 100.0) |" in text
    assert "| truth | - | - | - |" in text  # no background, and no time passes
    assert "## Ensembles" not in text and "## Protocol `rays`" not in text
    columns = {line.count("|") for line in text.splitlines() if line.startswith("| peer | 60.0 (")}
    assert columns == {6}


def test_a_row_with_an_ego_setting_of_its_own_says_so():
    text = report_markdown(report())
    assert "| peer (ego setting P) | 0 |" in text and "input `causal`" in text
    assert "each target in its own ego grid" in text
    assert "| constant_velocity | 0 | - / - / - |" in text


def test_what_is_not_known_is_a_dash():
    assert spanned(None, [0.1, 0.2]) == "-" and spanned(0.5, [None, None]) == "50.0"
    assert spanned(0.5, [0.25, 0.75], 2, 1) == "0.50 (0.25 to 0.75)"
