"""Tapes made, mended and looked at."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from apps.commands.options import AsJson, TapeNames, tape_named
from apps.problems import UserProblem


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
    """Make a tape of captured frames or ticks.

    Frames go through the decoders that a live feed uses.
    """
    from apps.importing import import_files
    from apps.report import inspect_json, print_inspect, stdout, to_json

    tape = import_files(kind, venue, files, out)
    if as_json:
        print(to_json(inspect_json(tape)))
    else:
        print_inspect(stdout(), tape)


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The tape to write.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same tape.")] = 7,
    minutes: Annotated[float, typer.Option(min=0.01, help="Length in minutes of tape time.")] = 10.0,
) -> None:
    """Make a tape of a simulated market.

    It is marked as simulated wherever it is used.
    """
    from apps.importing import simulated_tape
    from apps.report import print_inspect, stdout

    print_inspect(stdout(), simulated_tape(seed, minutes, out))


def recover(
    tape: Annotated[Path, typer.Argument(help="Folder of a recording that ended before it could be sealed.")],
) -> None:
    """Seal what a crash left behind; what was whole is kept, what was torn is set aside."""
    from apps.report import print_inspect, stdout
    from recorder.sealing import recover as seal_rest
    from recorder.tape import Tape

    if not tape.is_dir():
        raise UserProblem(f"{tape}: expected the folder of a recording, found none")
    for sealed in seal_rest(tape):
        kept = f", {sealed.torn_bytes} torn bytes kept in {sealed.torn}" if sealed.torn else ""
        print(f"{sealed.log} -> {sealed.part or 'nothing'} ({sealed.rows:,} ticks){kept}", file=sys.stderr)
    print_inspect(stdout(), Tape.open(tape))
