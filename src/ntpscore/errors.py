"""The exceptions of ntpscore: each says what was got, what was expected and what to do.

The command line prints the message of an `NtpscoreError` and exits with code 2; every other
exception is a bug.
"""

from ntpscore.plain_text import plain

# Characters of a message; what it quotes of a file may be of any length.
_LONGEST = 2500


class NtpscoreError(Exception):
    """Anything a user can mend: bad input, a missing file, too little memory.

    Args:
        message: what was got, what was expected and what to do; cut if it is very long.
    """

    def __init__(self, message: str) -> None:
        super().__init__(plain(message, keep="\n", longest=_LONGEST))


class DataError(NtpscoreError):
    """The labelled text is missing, malformed or unfit for the task."""


class MissingSplitError(DataError):
    """The data has no split of that name."""


class MissingColumnError(DataError):
    """The data has no column of a name that was asked for."""


class ModelError(NtpscoreError):
    """The language model or its tokenizer can't be loaded, or does not work as one."""


class MomentsError(NtpscoreError):
    """Hidden states, labels or saved moments that can't be accumulated or solved."""


class TrainingError(NtpscoreError):
    """Training went wrong: the loss is NaN or infinite, or what is to be trained isn't there."""


class MetricError(NtpscoreError):
    """A metric is not defined for these features, labels or this model."""


class StudyError(NtpscoreError):
    """A study file makes no sense, or its results don't fit it."""


class OutputError(NtpscoreError):
    """A result can't be written or read."""


class MissingPackageError(NtpscoreError, ImportError):
    """A package is not installed that not everybody needs."""
