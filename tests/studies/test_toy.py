"""The study on points: all methods are in it, what is there is kept, the page tells what was found."""

import json

import pytest

from occflow.command_line import compose_config
from occflow.distill.methods import METHODS as NAMES
from occflow.distill.methods import method_from_config
from occflow.errors import InputError
from studies import config_of
from studies.toy import study as toy_study
from studies.toy.points import METHODS
from studies.toy.report import toy_markdown
from studies.toy.study import PARTS, run_toy_study


def values(tmp_path, **changes) -> dict:
    return {**compose_config([], config_of("toy"))["toy"], "output": f"{tmp_path}/toy", "seeds": [0, 1], **changes}


def ring_row(energy: float, **more) -> dict:
    return {"energy": energy, "off": 0.1, "curve": [[1, 0.2]], **more}


def test_every_method_of_the_family_is_studied():
    assert {type(method) for method in METHODS.values()} == set(NAMES.values())


PRODUCTS = {"mean flow (eulerian)": "mean_flow", "mean flow, data": "mean_flow_data", "vsd, 3 draws": "vsd_draws",
            "dmd, adversarial": "dmd_adversarial", "terminal velocity, data": "terminal_velocity_data",
            "mfd, maps": "mfd_map"}
NAMED = {"mfd, ralston": {"steps_a_mean_velocity": 1, "solver": "ralston"}, "mfd, two steps": {"student_steps": 2},
         "vsd, two steps": {"student_steps": 2}}


@pytest.mark.parametrize("name", [name for name in METHODS if "plain" not in name])
def test_a_method_has_the_settings_on_points_that_it_has_on_the_forecaster(name):
    product = name.partition(",")[0] if name in NAMED else PRODUCTS.get(name, name.replace(" ", "_"))
    chosen = compose_config([f"distill={product}"])["distill"]
    chosen |= {"head_blocks": 2, **NAMED.get(name, {})}  # on points: the size of a network
    assert METHODS[name] == method_from_config(chosen)


def test_all_parts_have_all_seeds_and_no_training_is_begun_to_know(tmp_path):
    jobs = {part: list(make(values(tmp_path))) for part, make in PARTS.items()}
    assert all(f"{name}/{seed}" in jobs["ring"] for name in METHODS for seed in (0, 1))
    some = PARTS["ring"](values(tmp_path, methods=["energy"]))
    assert {name for name in some if "/" in name} == {"energy/0", "energy/1"}
    with pytest.raises(InputError, match="toy.methods: .dance. is not known"):
        PARTS["ring"](values(tmp_path, methods=["dance"]))
    assert {"mfd/0", "vsd, longer/1", "mfd, 6 auxiliary updates/1"} <= set(jobs["futures"])
    assert "white/1" in jobs["error"] and "0.1/1" in jobs["variance"] and "teacher-50" in jobs["resampling"]


def test_what_is_there_is_kept_and_other_settings_are_refused(tmp_path, monkeypatch):
    made = []
    jobs = {"mfd/0": lambda: made.append(0) or ring_row(0.01, points="0 0 100 50"),
            "mfd/1": lambda: made.append(1) or ring_row(0.03)}
    monkeypatch.setitem(toy_study.PARTS, "ring", lambda config: jobs)
    for _ in range(2):
        page = run_toy_study(values(tmp_path, parts=["ring"]))
    assert made == [0, 1] and "| mfd | **0.0200** (0.0100 0.0300) | 0.100 | - | - |" in page
    assert (tmp_path / "toy.md").read_text() == page and ">mfd<" in (tmp_path / "toy.svg").read_text()
    with pytest.raises(InputError, match="other settings"):
        run_toy_study(values(tmp_path, parts=["ring"], updates=7))
    found = json.loads((tmp_path / "toy.json").read_text()) | {"outdated": "Of old methods: `mfd`"}
    assert "\n*Of old methods: `mfd`.*\n" in toy_markdown(found)
    (tmp_path / "toy.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="toy.json: outdated"):
        run_toy_study(values(tmp_path, parts=["ring"]))
    with pytest.raises(InputError, match="toy.parts"):
        run_toy_study(values(tmp_path, parts=["dance"]))


def test_the_page_has_a_table_of_every_part():
    estimators = {"vsd": 2.0, "vsd, 3 draws": 1.0, "mfd": 3.0}
    found = {"settings": {"updates": 5}, "ring": {"mfd/0": ring_row(0.1)}, "lag": {"mfd/0": ring_row(0.2)},
             "resampling": {"teacher-50": {"0.3": {"energy": 0.0, "stayed": 0.9}}},
             "futures": {"mfd/0": {"weight": 0.65, "off": 0.1, "curve": [[1, 0.6], [2, 0.65]]}},
             "variance": {"0.1/0": estimators}, "error": {"white/0": estimators}}
    page = toy_markdown(json.loads(json.dumps(found)))
    assert page.count("## ") == 6
    assert "| mfd | 0.650 | 0.100 | 0.600 0.650 |" in page and "| white | 1.00 | 0.50 | 1.50 |" in page
