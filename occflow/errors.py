"""The one exception that users are meant to read."""


class InputError(Exception):
    """Something given to occflow is missing, broken or of the wrong kind.

    The message is one line: what is wrong, where (file, frame, field) and what to do about it.
    Command lines print it without a traceback and exit with status 2.
    """
