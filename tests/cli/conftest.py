"""The command line in this process: TensorFlow starts once."""

import dataclasses
import logging
import os
import sys
from collections.abc import Callable

import pytest

from tfrs_twotower.cli import main, screen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str

    def error(self) -> str:
        """Requires exit code 2, no traceback, and one line about an error, after lines of progress; returns it."""
        assert self.returncode == 2, self.stderr
        assert "Traceback" not in self.stderr
        lines = self.stderr.splitlines()
        assert [line.startswith("Error: ") for line in lines] == [False] * (len(lines) - 1) + [True], self.stderr
        return lines[-1].removeprefix("Error: ")


@pytest.fixture
def call(monkeypatch, capsys) -> Callable[..., Result]:
    """Runs a command as a user would, without a network, on a wide terminal."""
    for name, value in (
        ("https_proxy", "http://127.0.0.1:9"),
        ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
        ("PIP_EXTRA_INDEX_URL", ""),
        ("PIP_RETRIES", "0"),
        ("PIP_CONFIG_FILE", os.devnull),
    ):
        monkeypatch.setenv(name, value)
    for console in (screen.out, screen.err):
        monkeypatch.setattr(console, "_width", 200)
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "tfrs_twotower")]
    levels = [logger.level for logger in loggers]

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["tfrs-twotower", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        return Result(returncode=exited.value.code or 0, stdout=captured.out, stderr=captured.err)

    yield run
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
