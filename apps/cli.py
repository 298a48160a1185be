"""The console script: the commands by name, and what their mistakes look like."""

import atexit
import errno
import gc
import io
import os
import sys
from pathlib import Path
from threading import current_thread, main_thread
from typing import NoReturn, TextIO

import typer

from apps.commands import config, dashboard, diff, explain, live, replay, runs, strategies, tapes
from apps.problems import UserProblem, in_one_line
from recorder.problems import Problem

app = typer.Typer(
    name="wspt",
    help="Record and replay market data, and paper-trade on it: same tape in, same history out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# In the order of `--help`. The modules import what a command needs when it runs, so that help answers at once.
app.command()(replay.replay)
app.command()(replay.verify)
app.command()(explain.explain)
app.command()(diff.diff)
app.command()(runs.sql)
app.command()(tapes.inspect)
app.command("import")(tapes.import_)
app.command()(tapes.simulate)
app.command()(runs.runs)
app.command()(dashboard.dashboard)
app.command()(dashboard.report)
app.command()(strategies.new)
app.command()(config.config)
app.command()(live.live)
app.command()(live.record)
app.command()(tapes.recover)
app.command()(live.serve)


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Why a disk takes no more: not ours to mend."""


_GC_THRESHOLD = 20_000
"""New objects after which garbage is looked for. Of those of a start nearly all stay, and Python's 700 would have it
look through them a hundred times.
"""


def main() -> NoReturn:
    """The console script: a mistake of the user's is one sentence and exit code 2, Ctrl+C is 130."""
    gc.set_threshold(_GC_THRESHOLD)
    # Where a stream was closed for us (`>&-`), the next file opened would get its number and what was meant for it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  # as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  # as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather an escaped symbol than none of what was found
    results = sys.stdout = _kept_for_results(sys.stdout)
    try:
        _check_words(sys.argv[1:])
        try:
            app(standalone_mode=True)
        finally:
            results.flush()
            sys.stdout = sys.stderr  # what strategies left to be said at the end is no result
    except Problem as problem:
        print(f"wspt: {in_one_line(str(problem))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        _write_no_more(results)
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print(f"wspt: expected a file's name, found one that is too long: {error.filename}", file=sys.stderr)
            sys.exit(2)
        if error.errno not in _NO_ROOM:
            raise
        print(f"wspt: {error.filename or 'output'}: expected room to write, found: {error.strerror}", file=sys.stderr)
        _write_no_more(results)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


class _Results(io.TextIOWrapper):
    """Where results go. What other threads print, which only strategies' do, goes to stderr."""

    def write(self, text: str, /) -> int:
        return super().write(text) if current_thread() is main_thread() else sys.stderr.write(text)


def _kept_for_results(stdout: TextIO) -> TextIO:
    """A stream to where `stdout` led; what is written to its descriptor behind our back, as by a program that a
    strategy starts, goes to stderr.
    """
    if not isinstance(stdout, io.TextIOWrapper) or stdout is not sys.__stdout__ or sys.__stderr__ is None:
        return stdout
    stdout.flush()
    results = os.dup(stdout.fileno())
    os.dup2(sys.__stderr__.fileno(), stdout.fileno())
    by_lines = stdout.line_buffering or stdout.write_through
    stream = _Results(os.fdopen(results, "wb"), stdout.encoding, stdout.errors, line_buffering=by_lines)
    atexit.register(stream.close)
    return stream


def _write_no_more(stdout: TextIO) -> None:
    """What is left for stdout is dropped: the interpreter would fail on it once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)


def _check_words(words: list[str]) -> None:
    """File names may be any bytes on Linux. What is not text cannot stand in a manifest, nor be given to Arrow."""
    for word in words:
        if not word.isascii() and any("\ud800" <= char <= "\udfff" for char in word):
            raise UserProblem(f"{word}: expected a name in UTF-8, found other bytes")
