"""What ``python -m daf_pipelines.study`` tells of a mistake."""

import errno
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from daf_pipelines.study import __main__ as command
from daf_pipelines.study.plan import Study


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number), "data/study/x.lock")


def test_no_study(tmp_path: Path) -> None:
    result = CliRunner().invoke(command.main, ["list", str(tmp_path)])
    assert (result.exit_code, "Name the folder of a study" in result.output) == (1, True)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_files_that_cannot_be_written(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Path) -> Study:
        raise refused(number)

    monkeypatch.setattr(Study, "read", read)
    result = CliRunner().invoke(command.main, ["list", "x"])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {os.strerror(number)}: data/study/x.lock. ")
    assert "--params" not in result.output


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Path) -> Study:
        raise refused(errno.EIO)

    monkeypatch.setattr(Study, "read", read)
    result = CliRunner().invoke(command.main, ["list", "x"])
    assert isinstance(result.exception, OSError)
