"""The study: what is there is kept, halves do not overlap, tables say what was found."""

import json
from types import SimpleNamespace

import pytest

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.jobs.reconstruction import reconstruction
from studies import config_of
from studies.forecaster import study as forecaster_study
from studies.forecaster.fine_tuning import halves
from studies.forecaster.report import mean_rows, study_markdown
from studies.forecaster.study import changed, named, run_study

SCORES = {"iou": [0.8, 0.7, 0.6], "miou": [0.5, 0.4, 0.3], "movable_iou": [0.4, None, 0.2]}


def result(energy: float) -> dict:
    return {"rows": [{"name": "persistence", **SCORES}, {"name": "teacher-10", **SCORES, "energy": energy}],
            "windows": 3}


def config_for(tmp_path, *overrides: str) -> dict:
    return compose_config([f"study.output={tmp_path}/study", f"study.run_dir={tmp_path}/runs", *overrides],
                          config_of("forecaster"))


def test_every_part_is_kept_and_made_once(tmp_path, monkeypatch):
    made = []
    jobs = {"0": lambda: made.append(0) or result(0.2), "1": lambda: made.append(1) or result(0.4)}
    monkeypatch.setitem(forecaster_study.PARTS, "seeds", lambda config: jobs)
    for _ in range(2):
        table = run_study(config_for(tmp_path, "study.parts=[seeds]"))
    assert made == [0, 1] and (tmp_path / "study.md").read_text() == table
    assert set(json.loads((tmp_path / "study.json").read_text())["parts"]["seeds"]) == {"0", "1"}
    assert "| teacher-10 | 80.0 / 70.0 / 60.0 | 50.0 / 40.0 / 30.0 | 40.0 / - / 20.0 | 0.300 (0.100) | - |" in table


def test_results_of_other_trainings_are_not_taken_for_one_s_own(tmp_path, monkeypatch):
    monkeypatch.setitem(forecaster_study.PARTS, "seeds", lambda config: {"0": lambda: result(0.2)})
    run_study(config_for(tmp_path, "study.parts=[seeds]"))
    run_study(config_for(tmp_path, "study.parts=[seeds]", "train.save_seconds=5"))
    for other in ("train.mean.steps=7", "model=light"):
        with pytest.raises(InputError, match="study.json: results of other networks, data or trainings"):
            run_study(config_for(tmp_path, "study.parts=[seeds]", other))


def test_unknown_parts_and_keys_and_missing_networks_are_refused(tmp_path):
    with pytest.raises(InputError, match="'speed' is not known"):
        run_study(config_for(tmp_path, "study.parts=[speed]"))
    with pytest.raises(InputError, match="no key 'model.support.hole_grid'"):
        changed(config_for(tmp_path), {"model.support.hole_grid": True})
    with pytest.raises(InputError, match="run the part 'seeds' first"):
        run_study(config_for(tmp_path, "study.parts=[inputs]"))


def test_every_ablation_of_the_configuration_changes_the_networks_or_their_training(tmp_path):
    config = config_for(tmp_path)
    same = [name for name, values in named(config, "ablations").items()
            if all(changed(config, values.get("change", {}))[group] == config[group] for group in ("model", "train"))]
    assert not same


@pytest.mark.parametrize("entries", ["[{kind: nuscenes}]", "[{name: a}, {name: a}]", "[a]"])
def test_recordings_have_names_of_their_own(entries, tmp_path):
    with pytest.raises(InputError, match="study.recordings: an entry has no name of its own"):
        named(config_for(tmp_path, f"study.recordings={entries}"), "recordings")


@pytest.mark.parametrize("frames, first, second", [(16, [0], [6, 7]), (22, [0, 1, 2], [8, 9, 10, 11, 12, 13])])
def test_no_frame_that_was_trained_on_is_forecast(frames, first, second):
    store = SimpleNamespace(path="store", scenes=lambda: ["drive"], num_frames=lambda scene: frames)
    trained, scored = halves(store, 3, 6)
    assert [key.start for key in trained] == first and [key.start for key in scored] == second
    assert max(first) + 9 <= min(second) + 3
    with pytest.raises(InputError, match="long enough"):
        halves(store, 9, 8)


def test_reconstruction_counts_voxels_and_latents(small_forecaster, street_window):
    frames = street_window.history
    found = reconstruction(small_forecaster, frames)
    sites, latents = small_forecaster.encode_frames(frames)
    assert found["latent_numbers_a_frame"] == latents.numel() / len(frames) and found["frames"] == len(frames)
    assert 0 <= found["movable_iou"] <= 1 and found["iou"] != reconstruction(small_forecaster, frames, noise=3.0)["iou"]


def test_rows_of_seeds_are_averaged():
    [persistence, teacher] = mean_rows([result(energy)["rows"] for energy in (0.2, 0.4)])
    assert teacher["energy"] == pytest.approx(0.3) and "energy" not in persistence


def test_a_mean_of_fewer_seeds_says_so():
    both, one = result(0.2)["rows"], result(0.4)["rows"][:1]
    assert [row["name"] for row in mean_rows([both, one])] == [both[0]["name"], f"{both[1]['name']} (of 1)"]


def test_a_table_is_written_of_whatever_was_found():
    reconstruction = {"iou": 0.99, "miou": 0.9, "movable_iou": 0.95, "latent_numbers_a_frame": 100.0}
    found = {"parts": {"reconstruction": {"as it is": reconstruction}, "inputs": {"causal": result(0.1)},
                       "recordings": {"drive": {"simulation alone": result(1), "fine-tuned": result(1),
                                                "training_windows": 1}}}}
    text = study_markdown(found)
    assert "| as it is | 99.0 | 90.0 | 95.0 | 100 |" in text and "## Recording drive: fine-tuned" in text


def test_ablations_are_one_table_with_the_first_seed_first():
    found = {"parts": {"seeds": {"0": result(0.2), "1": result(0.3)}, "ablations": {"stays off": result(0.4)}}}
    lines = study_markdown(found).partition("## Ablations")[2].splitlines()
    assert [line.split("|")[1].strip() for line in lines if "teacher-10" in line] == [
        "everything: teacher-10", "stays off: teacher-10"] and not any("persistence" in line for line in lines)
