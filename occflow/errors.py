"""The one exception that users are meant to read."""

MOST_CHARACTERS = 500  # of a message
ENDING = 160  # of them for its end, which says what to do


class InputError(Exception):
    """Something given to occflow is missing, broken or of the wrong kind.

    The message is one line: what is wrong, where (file, frame, field) and what to do about it. Whatever names, values
    and reasons of others are put into it, it stays a line of at most MOST_CHARACTERS that a terminal only prints.
    Command lines print it without a traceback and exit with status 2.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_short(printable(str(message))))


def printable(text: str) -> str:
    """The text in one line: breaks and tabs are spaces, and what a terminal would obey is spelt out."""
    return text if text.isprintable() else spelt_out("".join(" " if letter.isspace() else letter for letter in text))


def spelt_out(text: str) -> str:
    """The text in one line: breaks, and whatever else a terminal would obey or cannot show, as Python spells them."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS - ENDING - 5]} ... {text[-ENDING:]}"
