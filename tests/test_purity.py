"""The one-way street, checked: what engine files and strategies import, and that the linters see it when they stray."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE_FILES = sorted((ROOT / "engine").rglob("*.py"))
STRATEGY_FILES = sorted((ROOT / "strategies").rglob("*.py"))

IMPURE_MODULES = frozenset(
    {
        "asyncio", "concurrent", "ctypes", "glob", "io", "logging", "multiprocessing", "os", "pathlib", "random",
        "secrets", "select", "shelve", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile",
        "threading", "time", "urllib", "uuid",
    }
)  # fmt: skip
"""Standard library modules that reach a clock, a file, a socket, another thread or chance."""

IMPURE_BUILTINS = frozenset({"open", "input", "print", "hash", "id", "exec", "eval", "__import__"})
"""Builtins that do I/O, hide an import, or answer differently in the next process."""


def modules_imported(source: str) -> set[str]:
    """The top-level names of all that `source` imports, wherever in the file the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names |= {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom(level=0, module=str(module)):
                names.add(module.partition(".")[0])
            case ast.ImportFrom():
                names.add(".")
    return names


def builtins_used(source: str) -> set[str]:
    """The impure builtins that `source` names, called or passed on; a price called `open` is its own."""
    nodes = list(ast.walk(ast.parse(source)))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return (read - bound) & IMPURE_BUILTINS


def strangers_in_engine(source: str) -> set[str]:
    """What an engine file may not import and does."""
    return modules_imported(source) - ((sys.stdlib_module_names - IMPURE_MODULES) | {"engine", "msgspec"})


def strangers_in_strategy(source: str) -> set[str]:
    """What a strategy may not import and does."""
    return modules_imported(source) - ((sys.stdlib_module_names - IMPURE_MODULES) | {"engine", "talipp"})


def name_of(path: Path) -> str:
    """A path as it stands in the repository: the test's id."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name_of)
def test_engine_file_imports_the_pure_standard_library_and_msgspec_only(path: Path) -> None:
    assert strangers_in_engine(path.read_text("utf-8")) == set()


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name_of)
def test_engine_file_uses_no_builtin_that_differs_between_runs(path: Path) -> None:
    assert builtins_used(path.read_text("utf-8")) == set()


@pytest.mark.parametrize("path", STRATEGY_FILES, ids=name_of)
def test_shipped_strategy_imports_the_engine_the_standard_library_and_talipp_only(path: Path) -> None:
    assert strangers_in_strategy(path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "stranger"),
    [
        ("import time", "time"),
        ("import os.path as p", "os"),
        ("from random import Random", "random"),
        ("def f():\n    import numpy\n", "numpy"),
        ("from recorder.tape import Tape", "recorder"),
        ("from . import ticks", "."),
    ],
)
def test_impure_import_is_found_however_it_is_written(source: str, stranger: str) -> None:
    assert strangers_in_engine(source) == {stranger}


def test_impure_builtin_is_found_when_it_is_only_passed_on() -> None:
    assert builtins_used("key = sorted(rows, key=id)") == {"id"}


def test_a_price_called_open_is_not_the_builtin() -> None:
    assert builtins_used("def bar(open, close):\n    return close - open\n") == set()


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import environ",
        "from datetime import datetime\nNOW = datetime.now()",
        "import datetime as dt\nNOW = dt.datetime.utcnow()",
        "import decimal\ndecimal.getcontext().prec = 5",
    ],
)
def test_ruff_refuses_what_the_engine_may_not_touch(line: str) -> None:
    path = ROOT / "engine" / "not_there.py"

    ruff = run("-m", "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", str(path), "-", text=line)

    assert ruff.returncode == 1, ruff.stderr
    assert "is banned" in ruff.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("engine/clock.py", "import time", "The engine reads no clock"),
        ("engine/tape.py", "import recorder.feed", "apps above recorder above engine"),
        ("recorder/shortcut.py", "import engine.portfolio", "The recorder knows the engine's ticks and events"),
        ("recorder/second_feed.py", "import websockets", "websockets lives in"),
        ("apps/session.py", "import pyarrow", "pyarrow lives in"),
        ("apps/session.py", "import duckdb", "duckdb lives in"),
        ("apps/session.py", "import strategies.idea", "Nothing imports a strategy"),
        ("apps/memory/questions.py", "import apps.screen", "A run in memory knows nobody who looks at it"),
        ("strategies/peek.py", "import recorder.feed", "A strategy knows the engine"),
    ],
)
def test_import_linter_refuses_a_step_against_the_street(tmp_path: Path, module: str, line: str, contract: str) -> None:
    a_house(tmp_path)
    (tmp_path / module).write_text(f"{line}\n")

    linter = run("-c", "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])", cwd=tmp_path)

    assert linter.returncode == 1, linter.stdout + linter.stderr
    assert [row for row in linter.stdout.splitlines() if row.startswith(contract) and "BROKEN" in row]


def test_import_linter_accepts_each_package_in_its_home(tmp_path: Path) -> None:
    a_house(tmp_path)

    linter = run("-c", "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])", cwd=tmp_path)

    assert linter.returncode == 0, linter.stdout + linter.stderr


def a_house(root: Path) -> None:
    """The four packages under our import contracts, small and in order."""
    shutil.copy(ROOT / "pyproject.toml", root)
    files = {
        "engine/__init__.py": "",
        "engine/ticks.py": "import msgspec",
        "engine/portfolio.py": "import decimal",
        "recorder/__init__.py": "",
        "recorder/tape.py": "import pyarrow.parquet\nimport engine.ticks",
        "recorder/feed.py": "import websockets.asyncio.client",
        "apps/__init__.py": "",
        "apps/cli.py": "import typer\nimport apps.queries\nimport recorder.feed",
        "apps/queries.py": "import duckdb",
        "apps/memory/__init__.py": "import apps.queries",
        "apps/board.py": "import msgspec",
        "apps/board_queries.py": "import apps.board\nimport apps.memory",
        "apps/screen.py": "import apps.board",
        "apps/dashboard/__init__.py": "import streamlit\nimport apps.memory",
        "strategies/idea.py": "import talipp\nimport engine",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"{text}\n")


def run(*args: str, text: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """This Python with `args`, fed `text`."""
    return subprocess.run([sys.executable, *args], input=text, cwd=cwd, capture_output=True, text=True, check=False)
