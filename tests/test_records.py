"""Records, sizes and names that files claim are believed only where they can be."""

import json
from dataclasses import dataclass

import pytest
from typing_extensions import TypedDict

from occflow.errors import InputError
from occflow.records import (
    bounded,
    conform,
    file_name,
    inside,
    one_line,
    parse_json,
    read_json,
    refuse_broken_seal,
    sealed,
    shown_name,
)


class Record(TypedDict):
    name: str
    sizes: list[int]
    scale: float
    note: str | None


@dataclass(frozen=True)
class Point:
    x: float
    y: float


SOUND = {"name": "a", "sizes": [1, 2], "scale": 2, "note": None}


def test_a_sound_record_comes_back_as_it_is(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"name": "a", "sizes": [1, 2], "scale": 2, "note": null}')
    assert read_json(path, Record) == SOUND == read_json(path)
    assert conform({"x": 1, "y": 2.5}, Point) == Point(1.0, 2.5)


@pytest.mark.parametrize("change, field", [
    ({"name": 3}, "name"), ({"sizes": [1, "2"]}, "sizes.1"), ({"sizes": {"a": 1}}, "sizes"), ({"scale": "2"}, "scale"),
    ({"sizes": [1.5]}, "sizes.0"), ({"sizes": [True]}, "sizes.0"), ({"note": 1}, "note")])
def test_a_field_of_another_type_is_named(change, field):
    with pytest.raises(ValueError, match=f"field '{field}'"):
        conform({**SOUND, **change}, Record)


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="field 'scale'"):
        conform({name: value for name, value in SOUND.items() if name != "scale"}, Record)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 5_000_000, b"[" * 100 + b"]" * 100, b'{"a": NaN}', b"[Infinity]",
                                  b"[1e999]", b"\xff\xfe", b"[" + b"1" * 5000 + b"]", b"[1" + b"0" * 400 + b"]",
                                  b'{"a": 1}' + b" " * 2000])
def test_what_is_no_record_is_one_line(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_bytes(text)
    with pytest.raises(InputError) as refused:
        read_json(path, remedy="write it again", max_bytes=1000 if text.endswith(b"  ") else 64 << 20)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()) == 1
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


@pytest.mark.parametrize("text, shown", [
    ("a\n b\t\u2028c", "a b c"), ("\x1b[31mred\x00", "\\x1b[31mred\\x00"), ("\ud800", "\\ud800"), ("", "str"),
    ("x" * 10 ** 6, "x" * 157 + "...")])
def test_somebody_elses_text_is_one_line_that_no_terminal_obeys(text, shown):
    assert one_line(text) == shown


def test_a_seal_tells_every_change_of_a_record_and_none_of_its_notation():
    record = sealed({**SOUND, "parts": {"b": [1.5, None], "a": "ä"}})
    refuse_broken_seal(parse_json(json.dumps(record, indent=1, ensure_ascii=False)))
    for changed in ({**record, "scale": 3}, {**record, "more": 1}, {**record, "sha256": "0"},
                    {**record, "sizes": [2, 1]}, {**record, "parts": dict(reversed(record["parts"].items()))},
                    {name: record[name] for name in record if name != "note"}, SOUND, {}):
        with pytest.raises(ValueError, match="not as it was written"):
            refuse_broken_seal(changed)


def test_sizes_are_bounded():
    assert bounded(5, 10, "frames") == 5
    for wrong in (11, -1, float("nan"), float("inf"), True, "5", None):
        with pytest.raises(ValueError, match="frames"):
            bounded(wrong, 10, "frames")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "c:d", "a\0b", "a\nb", "x" * 300, 5])
def test_some_names_are_no_file_names(name):
    assert file_name("scene-0001_a.b") == "scene-0001_a.b"
    with pytest.raises(ValueError, match="file name"):
        file_name(name)


def test_names_lead_nowhere_but_into_their_folder(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    (root / "link").symlink_to(tmp_path / "disk")
    (root / "sub" / "link").symlink_to(tmp_path)
    (root / "file").symlink_to(tmp_path / "disk")
    (root / "loop").symlink_to(root / "loop")
    assert inside(root, "sub/file.bin") == root / "sub" / "file.bin"
    assert inside(root, "link/x") == root / "link" / "x"  # a folder that the user keeps on another disk
    for name in ("../x", "/etc/passwd", "sub/../../x", "sub/link/x", "link/../../x", "file", "C:\\x",
                 "a\0b", "loop/x", 3, "a" * 300, "ä" * 200, "a/" * 600):
        with pytest.raises(ValueError, match="leads out|followed|too long"):
            inside(root, name)


def test_json_numbers_are_finite():
    assert parse_json("[1, 2.5e3]") == [1, 2500.0]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 300, "\ud800", None, 3])
def test_names_that_cannot_be_shown_in_a_line_are_refused(name):
    assert shown_name("teacher 10 / a") == "teacher 10 / a"
    with pytest.raises(ValueError, match="is no name"):
        shown_name(name)
