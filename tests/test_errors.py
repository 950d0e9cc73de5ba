"""What users read is one line, whatever is put into it."""

import pickle

import pytest

from occflow.errors import MOST_CHARACTERS, InputError


@pytest.mark.parametrize("text, shown", [
    ("/a  b/c: broken; copy it again", "/a  b/c: broken; copy it again"), ("a\n\tb\u2028c", "a  b c"),
    ("\x1b[31mred\x00", "\\x1b[31mred\\x00"), ("\ud800", "\\ud800"), ("Straße", "Straße"), ("", "")])
def test_a_message_is_one_line_that_a_terminal_only_prints(text, shown):
    assert str(InputError(text)) == shown and str(pickle.loads(pickle.dumps(InputError(text)))) == shown


def test_a_long_message_keeps_its_beginning_and_its_end():
    message = str(InputError("/log/table.json: no scene '" + "a" * 10 ** 6 + "'; unpack the tables again"))
    assert len(message) == MOST_CHARACTERS and message.startswith("/log/table.json: no scene 'aaa")
    assert message.endswith("aaa'; unpack the tables again") and " ... " in message
