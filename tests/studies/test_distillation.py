"""The study of distillation: what is there is kept, budgets are equal, tables say what was found."""

import json
from types import SimpleNamespace

import pytest
import torch

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.jobs.train import distill_mfd
from studies import config_of
from studies.distillation.report import study_markdown
from studies.distillation.study import DistillationStudy, Scoring, cost_of, ledger_of

SETTINGS = {"updates": 60, "longer": 3, "curve_every": 30, "samples": 8, "sample_every": 3, "reference_steps": 50}


def row(name: str, nfe: int, energy: float) -> dict:
    scores = {"iou": [0.8, 0.7, 0.6], "miou": [0.5, 0.4, 0.3], "movable_iou": [0.4, 0.3, 0.2]}
    return {"name": name, "nfe": nfe, **scores, "average": {"iou": 0.7, "miou": 0.4, "movable_iou": 0.3},
            "energy": energy, "diversity": 0.2, "movable_energy": 0.5, "movable_diversity": 0.4}


def result(evaluations: int, energy: float = 0.2) -> dict:
    return {"updates": 60, "network_evaluations": evaluations, "update_seconds": 0.5, "minutes": 0.6,
            "rows": [row("student-1", 1, energy)]}


def study(**values) -> DistillationStudy:
    """A study of results alone, without networks."""
    made = object.__new__(DistillationStudy)
    made.values = {**compose_config([], config_of("distillation"))["distillation_study"], **values}
    made.groups, made.scoring = {}, SimpleNamespace()
    made.results = {}
    made.found = {"results": made.results, "settings": SETTINGS, "windows": 36, "versions": {"commit": "c"},
                  "machine": {"cpu": "x", "cores": 2, "gpu": None}}
    return made


def test_other_methods_get_as_many_evaluations_as_mfd():
    made = study()
    made.results = {"updates/mfd/0": result(11), "updates/vsd/0": result(7)}
    assert made.equal_updates("vsd") == round(60 * 11 / 7) and made.equal_updates("mfd") == 60
    with pytest.raises(InputError, match="needs 'updates' of mfd and dmd"):
        made.equal_updates("dmd")


def test_a_training_that_both_budgets_ask_for_is_made_once():
    made = study()
    made.results = {"updates/mfd/1": result(11), "updates/mfd/0": result(11)}
    assert made.result("evaluations", "mfd", 1) is made.results["updates/mfd/1"]


def test_repeated_methods_alone_have_all_seeds():
    places = [place for place, _ in study(parts=["updates"], methods=["mfd", "dmd"]).jobs()]
    assert places == ["updates/mfd/0", "updates/dmd/0", "updates/mfd/1", "updates/mfd/2"]


def test_the_page_tells_seeds_costs_and_aims():
    made = study()
    made.found["results"] = {"teacher": {"rows": [row("teacher-10", 10, 0.2), row("teacher-central", 0, 0.4)]},
                             "updates/mfd/0": result(11, 0.1), "updates/mfd/1": result(11, 0.3),
                             "stability/mfd/0": {"curve": {"30": row("student-1", 1, 0.25)}}}
    text = study_markdown(made.found)
    assert "| mfd | 1 | 2 | 60 |" in text
    assert "0.2000 (0.1414) | 0.5000 (0.0000) | - | - | 1.00 (0.00) | 11 | 0.50 | 0.6 |" in text
    assert "against `teacher-10`" in text and "| 30 | 0.2500 |" in text
    assert study_markdown(study().found)  # before anything was found


def test_outdated_results_are_marked_and_nothing_is_added_to_them(tmp_path):
    values = {**study().values, "output": str(tmp_path / "study")}
    ledger = ledger_of(values, "digest", 36)
    ledger.add(("outdated",), "Of old methods: `mfd`")
    assert "\n*Of old methods: `mfd`.*\n" in (tmp_path / "study.md").read_text()
    with pytest.raises(InputError, match="study.json: outdated"):
        ledger_of(values, "digest", 36)


def test_results_of_another_teacher_or_other_settings_are_refused(tmp_path):
    values = {**study().values, "output": str(tmp_path / "study")}
    ledger_of(values, "digest", 36).write()
    assert ledger_of({**values, "seeds": [5]}, "digest", 36).found["windows"] == 36
    for other in (("another", values), ("digest", {**values, "samples": 2})):
        with pytest.raises(InputError, match="study.json: results of other teachers or settings"):
            ledger_of(other[1], other[0], 36)


def test_costs_leave_the_warm_up_out():
    lines = [json.loads(line) for line in (
        '{"training": "student", "step": 25, "seconds": 9, "network_evaluations": 11, "update_seconds": 0.4}',
        '{"training": "student", "step": 50, "seconds": 30, "network_evaluations": 11, "update_seconds": 0.6}')]
    assert cost_of(lines) == {"network_evaluations": 11, "update_seconds": 0.5, "minutes": 0.5}


def test_distill_mfd_refuses_another_method():
    with pytest.raises(InputError, match="not vsd; run distill"):
        distill_mfd(compose_config(["distill=vsd"]))


def test_the_page_tells_gradients_and_guidance():
    made, branches = study(), dict.fromkeys(("coverage", "precision", "energy_distance", "parting_coverage",
                                             "parting_energy_distance"), 0.5)
    scored = {**row("student-1", 1, 0.2), "branches": branches, "truth": branches, "branch_windows": 9}
    made.found["results"] = {
        "gradients/mfd/6": {"noise": {"vsd": 4.0, "mfd": 2.0}, "change": {"white": {"vsd": 0.2, "mfd": 0.1}}},
        "guidance/teacher/1": {"rows": [{**scored, "diversity": 0.4}]}, "guidance/mfd/2": {"rows": [scored]}}
    text = study_markdown(made.found)
    assert "| 6 | noise | 1.00 (4) | 0.50 |" in text and "| 6 | error: white | 1.00 | 0.50 |" in text
    assert "| mfd | 2 | 80.0 / 70.0 / 60.0 | 40.0 / 30.0 / 20.0 | 0.2000 | 0.5000 | 0.50 | 0.500" in text


def test_guidance_without_branches_is_one_line():
    made = study(parts=["guidance"], guidance={"scales": [1.0], "methods": [], "samples": 2})
    made.scoring, made.teacher = object.__new__(Scoring), torch.nn.Identity()
    made.scoring.config, made.scoring.values = {"eval": {"branches": None}}, made.values
    [(place, job)] = made.jobs()
    with pytest.raises(InputError, match="eval.branches="):
        job()
    assert place == "guidance/teacher/1"
