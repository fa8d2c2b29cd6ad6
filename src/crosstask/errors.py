"""The errors that a user sees: one line each, saying what, which file or key, and what to do."""


class CrosstaskError(Exception):
    """Anything that stops a command; the message is one line. Exit code 1."""

    exit_code = 1


class InputError(CrosstaskError):
    """Something the user gave cannot be used: a file, a folder, a key of an experiment. Exit code 2."""

    exit_code = 2
