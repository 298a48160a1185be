"""Tapes made, mended and looked at."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.commands.options import RUNS, AsJson, TapeNames, tape_named
from apps.problems import UserProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recorder.sealing import SealedLog


def inspect(
    tapes: TapeNames,
    as_json: AsJson = False,
) -> None:
    """Show what is on a tape, and how good it is."""
    from apps.report import inspect_json, print_inspect, stdout, to_json

    tape, _ = tape_named(tapes)
    if as_json:
        print(to_json(inspect_json(tape)))
    else:
        print_inspect(stdout(), tape)


def import_(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="hftbacktest, cryptofeed, frames or ticks.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The captured files, in order.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The tape to write.")],
    venue: Annotated[str | None, typer.Option(help="Whose frames they are: kraken or binance.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a tape of captured frames, or of a plain table.

    hftbacktest: lines of `nanoseconds frame`; cryptofeed: lines of `seconds: frame`; frames: one raw frame a line.
    They go through the decoders that a live feed uses.

    ticks: a CSV or Parquet table with the columns ts (whole ns since 1970, UTC) and symbol (such as BTC/USD), and
    price, size and perhaps side (buy or sell, whoever took) for trades; bid, bid_size, ask, ask_size for quotes.
    """
    from apps.importing import import_files
    from apps.report import inspect_json, print_inspect, stdout, to_json

    was_there = out.is_file()
    tape = import_files(kind, venue, files, out)
    if was_there:
        print(f"{out}: the tape that was there is replaced", file=sys.stderr)
    unquoted = [symbol for symbol in tape.symbols if "/" not in symbol]
    if unquoted:
        found = ", ".join(unquoted[:8])
        print(f"{out}: expected symbols such as BTC/USD, found {found}: nothing can be bought there", file=sys.stderr)
    if not any(tape.passport.kinds[news] for news in ("trade", "quote", "book")):
        asked = f"; are these frames of {venue}?" if venue else ""
        print(f"{out}: no trade, quote or book was found in {', '.join(map(str, files))}{asked}", file=sys.stderr)
    if as_json:
        print(to_json(inspect_json(tape)))
    else:
        print_inspect(stdout(), tape)


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The tape to write.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same tape.")] = 7,
    minutes: Annotated[float, typer.Option(min=0.01, max=100_000, help="Length in minutes of tape time.")] = 10.0,
) -> None:
    """Make a tape of a simulated market.

    It is marked as simulated wherever it is used.
    """
    from apps.importing import simulated_tape
    from apps.report import print_inspect, stdout

    print_inspect(stdout(), simulated_tape(seed, minutes, out))


def recover(
    place: Annotated[str, typer.Argument(metavar="RUN|TAPE", help="A run, or a recording, that was killed.")],
) -> None:
    """Make whole what a crash left: a tape is sealed, a run's history made again from it.

    What was whole is kept, what was torn is set aside.
    """
    from apps.recovery import seal_folders
    from apps.report import print_inspect, stdout
    from recorder.runs import LATEST, MANIFEST, find_run
    from recorder.tape import Tape

    tape = Path(place)
    if place == LATEST or (RUNS / place / MANIFEST).is_file() or (tape / MANIFEST).is_file():
        recover_run(find_run(place, RUNS))
        return
    if not tape.is_dir():
        raise UserProblem(f"{tape}: expected a run, or the folder of a recording, found neither")
    tell_sealed(seal_folders([tape], tape))
    print_inspect(stdout(), Tape.open(tape))


def recover_run(run: Path) -> None:
    """The run, and what is to be told about it. Exit code 1 where what was on disk is not what its tape gives."""
    from apps.comparison import difference_as_json
    from apps.recovery import ASIDE
    from apps.recovery import recover_run as make_whole
    from apps.report import print_difference, stdout

    recovery = make_whole(run)
    tell_sealed(recovery.sealed)
    remade, manifest = recovery.remade, recovery.manifest
    if remade is None:
        print(f"{run} is {manifest.status}: there was nothing to recover.")
        return
    lost = f", {remade.lost_ticks:,} of them without their tick" if remade.lost_ticks else ""
    print(
        f"{run}: {remade.found:,} events were on disk{lost}, {manifest.events:,} are there now, "
        f"from {manifest.ticks:,} ticks, digest {manifest.digest}"
    )
    if remade.problem:
        print(f"NOT as it was: {remade.problem}; what was there is kept in ledger/{ASIDE}", file=sys.stderr)
    if remade.difference is not None:
        print(f"NOT as it was: what was there is kept in ledger/{ASIDE}", file=sys.stderr)
        shown = difference_as_json(remade.difference)
        assert shown is not None
        print_difference(stdout(), shown)
    if remade.problem or remade.difference is not None:
        raise typer.Exit(1)


def tell_sealed(logs: "Sequence[SealedLog]") -> None:
    for sealed in logs:
        kept = f", {sealed.torn_bytes} torn bytes kept in {sealed.torn}" if sealed.torn else ""
        print(f"{sealed.log} -> {sealed.part or 'nothing'} ({sealed.rows:,} ticks){kept}", file=sys.stderr)
