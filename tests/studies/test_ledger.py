"""What an earlier call of a study has found is taken up where it is sound, and refused before any work where not."""

import json

import pytest

from occflow.errors import InputError
from studies.ledger import earlier_results


def report(found: dict) -> str:
    return f"{found['rows']['a'] / found['rows']['b']:.2f}"


def test_results_are_taken_up_and_there_may_be_none(tmp_path):
    path, found = tmp_path / "study.json", {"rows": {"a": 1, "b": 2}, "more": {"c": None}}
    assert earlier_results(path, {"rows": {}}, report) == {"rows": {}}
    path.write_text(json.dumps(found))
    assert earlier_results(path, {"rows": {}}, report) == found


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\0", '{"rows": {"a": NaN, "b": 1}}',
                                  '{"rows": 1}', '{"rows": {"a": 1}}', '{"rows": {"a": 1, "b": 0}}',
                                  '{"rows": {"a": 1, "b": "2"}}', '{"rows": {"a": 1' + "0" * 400 + ', "b": 1}}'])
def test_what_makes_no_report_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(InputError, match="study.json: .*remove it") as error:
        earlier_results(path, {}, report)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert path.read_text() == text
