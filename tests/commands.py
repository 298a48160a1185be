"""The commands as a user runs them: a place to stand in, in this process or in one of their own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apps.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]
WSPT = (sys.executable, "-c", "import signal; signal.alarm(600); from apps.cli import main; main()")
"""The console script, whether or not the environment's folder of scripts is on the path.

It ends by itself after ten minutes, also where the test that started it was killed.
"""

EAGER = '''"""Buys now and closes a little later, again and again, so that a short tape has much to tell."""

from engine import Signal

TRIGGER = "trade"
CONFIG = {"every": 5, "size": 10.0}


def generate_signal(data, config, state):
    """A trade in turn opens or closes."""
    seen = state["seen"] = state.get("seen", 0) + 1
    if seen % config["every"]:
        return None
    if seen // config["every"] % 2:
        return Signal("buy", data.symbol, config["size"], reason="it is time")
    return Signal("close", data.symbol, reason="it is time")
'''
PATIENT = EAGER.replace('"every": 5', '"every": 11')


class Result(NamedTuple):
    """What a command left behind: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout as one JSON value."""
        return json.loads(self.out)


class Place:
    """A folder to run commands in, with `strategies/` of its own; no command writes outside of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "strategies").mkdir()

    def strategy(self, name: str, source: str = EAGER) -> Path:
        """A strategy file."""
        path = self.folder / "strategies" / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        return path

    def file(self, name: str, content: str | bytes) -> Path:
        """Any file."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def wspt(self, *words: str | Path) -> Result:
        """Run a command in this process."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.folder):
            patch.setattr(sys, "argv", ["wspt", *map(str, words)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
                main()
        code = left.value.code
        assert isinstance(code, int)
        return Result(code, out.getvalue(), err.getvalue())

    def start(self, *words: str | Path, program: Sequence[str] = WSPT, **environment: str) -> "subprocess.Popen[str]":
        """Start a command in a process and a process group of its own."""
        return subprocess.Popen(
            [*program, *map(str, words)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def spawn(self, *words: str | Path, program: Sequence[str] = WSPT, **environment: str) -> Result:
        """Run a command in a process of its own."""
        process = self.start(*words, program=program, **environment)
        out, err = process.communicate(timeout=60)
        return Result(process.returncode, out, err)
