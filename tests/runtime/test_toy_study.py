"""The toy study end to end at a tiny budget: every kind of job, kept results, the page."""

import json

import pytest

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.runtime import toy_gradients
from occflow.runtime.toy_study import FUTURES, run_toys


def test_every_kind_of_job_runs_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_gradients, "REPEATS", 4)
    monkeypatch.setattr(toy_gradients, "REFERENCE_REPEATS", 4)
    methods = ["mfd", "consistency", "mean_flow", "terminal_velocity"]
    config = compose_config([f"toy_study.output={tmp_path}", f"toy_study.methods=[{','.join(methods)}]",
                             "toy_study.seeds=[0]", "toy_study.samples=16", "toy_study.start_steps=2",
                             "toy_study.steps=2", "toy_study.scored=40"])
    groups = {name: compose_config([f"distill={name}"])["distill"] for name in {*methods, *FUTURES}}
    text = run_toys(config, groups)
    assert all(f"| {name} |" in text for name in methods) and "mfd, auxiliary sees no condition" in text
    assert "data against data" in text and "mfd, 6 Euler steps" in text
    assert (tmp_path / "toy.svg").read_text().count("<path") == 1 + len(methods)
    found = (tmp_path / "toy.json").read_text()
    assert run_toys(config, groups) == text and (tmp_path / "toy.json").read_text() == found
    assert json.loads(found)["results"]["ring/mean_flow/0"]["energy_distance"].keys() == {"1", "2", "4"}
    config["toy_study"]["steps"] = 3
    with pytest.raises(InputError, match="other settings"):
        run_toys(config, groups)
