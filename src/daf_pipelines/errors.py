"""The errors of this project: each is one clear message, shown without a traceback."""

import errno
import reprlib

from pydantic import ValidationError


class DAFError(Exception):
    """A mistake that the user can mend.

    The message says what was expected, what arrived, where, and what to do. The command line
    shows it as it is; only other exceptions come with a traceback.
    """


class DataError(DAFError):
    """Images, masks or a dataset layout are not what the pipeline needs."""


class ImageError(DataError):
    """A file is not the image or the mask that it should be.

    Attributes:
        name: What the message calls the file.
        check: What it fails: "missing_file", "empty_file", "truncated", "decompression_bomb", or
            else "unreadable".
        finding: What is wrong, without the file's name.
        remedy: What to do.
    """

    def __init__(self, name: str, check: str, finding: str, remedy: str) -> None:
        # All of them are `args`, so that the error comes whole out of another process.
        super().__init__(name, check, finding, remedy)
        self.name = name
        self.check = check
        self.finding = finding
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.name}: {self.finding}. {self.remedy}."


class ParameterError(DAFError):
    """A parameter has a value that cannot work."""


class WeightsError(DAFError):
    """Pretrained weights are missing or do not fit the backbone."""


class StaleArtifactError(DAFError):
    """A persisted output belongs to another dataset or to other parameters than those asked for."""


class MetricUndefinedError(DAFError):
    """A metric has no value on this data; the message is the reason."""


def explain_files(error: OSError, otherwise: str = "") -> str | None:
    """What the operating system refused, and what to do; None where the user can do nothing.

    Args:
        error: Of a file or folder.
        otherwise: What else can be done where one may not be used.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{error.strerror}: {error.filename or error}. Free space; then the same command goes "
            "on from the last checkpoint."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR) and error.filename:
        return (
            f"{error.strerror}: {error.filename}. Make it readable, and writable where files are "
            f"made{otherwise}."
        )
    return None


def faults_of(error: ValidationError, *root: str) -> str:
    """What pydantic has found, in words: where below the root, what was expected, what arrived."""
    told = []
    for fault in error.errors(include_url=False):
        place = ".".join(map(str, (*root, *fault["loc"])))
        got, found = fault["input"], fault["msg"].removeprefix("Value error, ")
        arrived = "" if isinstance(got, dict) else f"; got {reprlib.repr(got)}"
        told.append((f"{place}: " if place else "") + found + arrived)
    return "; ".join(told)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else f"{type(error).__name__}, no details"
