"""A study's group stands beside the product's, which knows nothing of it, and is checked as they are."""

import subprocess
import sys

import pytest

from occflow.command_line import compose_config
from occflow.errors import InputError
from studies import config_of

GROUPS = {"data": "study_data", "toy": "toy", "distillation": "distillation_study", "forecaster": "study",
          "risk": "risk_study", "sparse_dense": "benchmark"}


@pytest.mark.parametrize("study", GROUPS)
def test_a_study_adds_one_group_to_the_product_s(study):
    product, whole = compose_config([]), compose_config(["experiment=pretrained"], config_of(study))
    assert set(whole) - set(product) == {GROUPS[study]}
    assert whole["run_dir"] == "runs/pretrained"


@pytest.mark.parametrize("study", GROUPS)
def test_nothing_is_written_to_the_committed_pages_by_default(study):
    assert compose_config([], config_of(study))[GROUPS[study]]["output"].startswith("runs/")


@pytest.mark.parametrize("group", GROUPS.values())
def test_a_tool_has_no_study_s_keys(group):
    with pytest.raises(InputError, match=f"{group}: no such key"):
        compose_config([f"{group}.output=x"])


@pytest.mark.parametrize("study, override, reason", [
    ("toy", "toy.updates=many", "toy.updates: 'many' is not a whole number"),
    ("toy", "toy.update=3", "toy.update: no such key; toy has output,"),
    ("toy", "study.output=x", "study: no such key"), ("sparse_dense", "benchmark.store=[a]", "is not text, or null"),
    ("forecaster", "study.recordings=a", "study.recordings: 'a' is not a list of entries")])
def test_a_value_that_cannot_be_is_one_line(study, override, reason):
    with pytest.raises(InputError) as caught:
        compose_config([override], config_of(study))
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("override, name, entry", [
    ("study.recordings=[{name: one, kind: nuscenes}]", "recordings", {"name": "one", "kind": "nuscenes"}),
    ("study.ablations=[{name: x, change: {a.b: c}}]", "ablations", {"name": "x", "change": {"a.b": "c"}})])
def test_recordings_and_ablations_are_whatever_they_are_given(override, name, entry):
    assert compose_config([override], config_of("forecaster"))["study"][name] == [entry]


def test_help_of_a_study_begins_with_how_it_is_called_and_its_own_keys():
    shown = subprocess.run([sys.executable, "-m", "studies.toy", "--help"], capture_output=True, text=True).stdout
    usage = shown.partition("Usage: ")[2]
    assert usage.startswith("python -m studies.toy [KEY=VALUE ...]") and "toy:\n  output: runs/studies/toy" in usage
