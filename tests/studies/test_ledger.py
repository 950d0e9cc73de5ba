"""What an earlier call of a study has found is taken up where it is sound, and refused before any work where not."""

import json

import pytest

from occflow.errors import InputError
from studies.ledger import Ledger


def report(found: dict) -> str:
    return f"{found['rows']['a'] / found['rows']['b']:.2f}"


def test_results_are_taken_up_and_there_may_be_none(tmp_path):
    path, found = tmp_path / "study.json", {"rows": {"a": 1, "b": 2}, "more": {"c": None}}
    assert Ledger(tmp_path / "study", report, fresh={"rows": {}}).found == {"rows": {}}
    path.write_text(json.dumps(found))
    assert Ledger(tmp_path / "study", report, fresh={"rows": {}}).found == found


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\0", '{"rows": {"a": NaN, "b": 1}}',
                                  '{"rows": 1}', '{"rows": {"a": 1}}', '{"rows": {"a": 1, "b": 0}}',
                                  '{"rows": {"a": 1, "b": "2"}}', '{"rows": {"a": 1' + "0" * 400 + ', "b": 1}}'])
def test_what_makes_no_report_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(InputError, match="study.json: .*remove it") as error:
        Ledger(tmp_path / "study", report)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert path.read_text() == text


def test_what_is_there_is_not_made_again_and_every_result_is_written_at_once(tmp_path):
    made = []

    def job(name: str) -> int:
        made.append(name)
        if name == "c":
            assert json.loads((tmp_path / "study.json").read_text())["rows"] == {"a": 1, "b": 2}
            assert (tmp_path / "study.md").read_text() == "0.50"
            raise KeyboardInterrupt
        return len(made)

    jobs = [(("rows", name), lambda name=name: job(name)) for name in "abc"]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Ledger(tmp_path / "study", lambda found: report(found) if len(found["rows"]) > 1 else "-").make(jobs)
    assert made == ["a", "b", "c", "c"]


def test_results_of_other_settings_are_refused_and_notes_are_of_the_last_call(tmp_path):
    def ledger(steps: int, machine: str) -> Ledger:
        return Ledger(tmp_path / "v1.5", str, {"steps": steps}, "steps", notes={"machine": machine})

    ledger(3, "old").add(("part",), 1)
    assert ledger(3, "new").found == {"steps": 3, "machine": "new", "part": 1}
    with pytest.raises(InputError, match=r"v1.5.json: results of other steps; remove it"):
        ledger(4, "new")
