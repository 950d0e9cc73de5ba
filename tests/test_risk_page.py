"""The snippet of docs/risk.md runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
from small_logs import write_tiny_nuscenes

import occflow
from occflow.errors import InputError
from occflow.occupancy.settings import DEMO_HORIZON

PAGE = Path(__file__).parents[1] / "docs/risk.md"
SWEEPS = 2 * (12 + DEMO_HORIZON) + 1  # keyframes 0 to 18: frame 12 has a known horizon


def test_the_snippet_of_the_page_runs_from_any_folder(tmp_path, monkeypatch, capsys):
    root = write_tiny_nuscenes(tmp_path, SWEEPS)["root"]
    store = occflow.build(occflow.open_log(root), tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    snippet = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    assert "path/to/store" in snippet
    names: dict = {}
    exec(snippet.replace("path/to/store", str(store.path)), names)
    risk, task = names["risk"], names["task"]
    assert risk.any.futures == 8 and len(risk.any.until) == DEMO_HORIZON and risk.complete
    low, high = risk.interval
    assert low <= risk.probability <= high and not np.isnan(risk.unseen).any()
    assert capsys.readouterr().out.startswith("strike: ") and (tmp_path / "risk.png").stat().st_size > 1000
    with pytest.raises(InputError, match="pose 0 is not finite"):
        occflow.planned_path(task, [(np.nan, 0, 0)], [1.0])
    with pytest.raises(InputError, match="no futures"):
        occflow.risk(names["path"], [])
    alone = occflow.risk(names["path"], [names["futures"][0]])
    assert alone.probability in (0, 1)
