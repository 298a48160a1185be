"""What a run came to, for people and for machines: leaderboard, report, passport, difference."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from typing import Any, Literal

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from apps.problems import in_one_line
from recorder.passport import RECEIVED, Passport
from recorder.run_care import read_label
from recorder.runs import Manifest, Run
from recorder.tape import Tape

Row = Mapping[str, Any]

Justify = Literal["left", "right"]

_UNCUT = 100_000
"""Columns of the paper where no terminal sets a limit: what goes into a file or a pipe is never cut."""
_LEADERBOARD: tuple[tuple[str, str, Justify], ...] = (
    ("strategy", "name", "left"),
    ("equity", "equity", "right"),
    ("P&L", "pnl", "right"),
    ("ROI %", "roi_pct", "right"),
    ("fees", "fees", "right"),
    ("fills", "fills", "right"),
    ("round\ntrips", "round_trips", "right"),
    ("win\nrate %", "win_rate", "right"),
    ("profit\nfactor", "profit_factor", "right"),
    ("draw-\ndown %", "max_drawdown_pct", "right"),
)
_JSON_COLUMNS = (
    "name",
    "equity",
    "pnl",
    "roi_pct",
    "fees",
    "fills",
    "round_trips",
    "win_rate",
    "max_drawdown_pct",
    "profit_factor",
)
_METRICS: tuple[tuple[str, str, Justify], ...] = (
    ("strategy", "name", "left"),
    ("Sharpe", "sharpe", "right"),
    ("Sortino", "sortino", "right"),
    ("expec-\ntancy", "expectancy", "right"),
    ("held\ns", "holding_s", "right"),
    ("ex-\nposed %", "exposure_pct", "right"),
    ("turn-\nover", "turnover", "right"),
)
_JSON_METRICS = ("sharpe", "sortino", "samples", "sample_s", "expectancy", "holding_s", "exposure_pct", "turnover")


def replay_json(run: str, manifest: Manifest, leaderboard: Sequence[Row]) -> dict[str, Any]:
    """The one object that `wspt replay --json` prints."""
    return {
        "run": run,
        "tape": [path.given for path in manifest.tape.paths],
        "ticks": manifest.ticks,
        "seconds": round(manifest.seconds, 6),
        "ticks_per_s": round(manifest.ticks / manifest.seconds) if manifest.seconds else None,
        "digest": manifest.digest,
        "currency": manifest.configuration["currency"],
        "simulated": manifest.simulated,
        "status": manifest.status,
        "strategies": [
            {
                **{name: row[name] for name in _JSON_COLUMNS},
                **{name: row[name] for name in _JSON_METRICS if name in row},
                "digest": manifest.digests[row["name"]],
                "status": row["status"],
            }
            for row in leaderboard
        ],
    }


def print_replay(console: Console, run: str, manifest: Manifest, leaderboard: Sequence[Row]) -> None:
    """Leaderboard, totals and digest; the digest is the last line, on its own."""
    currency = manifest.configuration["currency"]
    say(console, f"{'SIMULATED market, ' if manifest.simulated else ''}{manifest.tape.venue}, amounts in {currency}")
    rows = [[_shown(name, row[name]) for _, name, _ in _LEADERBOARD] for row in leaderboard]
    print_table(console, [heading for heading, _, _ in _LEADERBOARD], rows, [justify for *_, justify in _LEADERBOARD])
    _print_metrics(console, [row for row in leaderboard if row["fills"] and "sharpe" in row])
    for row in leaderboard:
        if row["status"] != "ok":
            say(console, f"{row['name']} {row['status']}")
    say(console, "")
    say(console, *_totals(manifest, leaderboard).splitlines())
    say(console, f"run {run}")
    say(console, f"digest {manifest.digest}")


def _print_metrics(console: Console, leaderboard: Sequence[Row]) -> None:
    """Ratios of those who traded, and what they are made of."""
    if not leaderboard:
        return
    say(console, "")
    rows = [[_shown(name, row[name]) for _, name, _ in _METRICS] for row in leaderboard]
    print_table(console, [heading for heading, _, _ in _METRICS], rows, [justify for *_, justify in _METRICS])
    samples, length = leaderboard[0]["samples"], leaderboard[0]["sample_s"]
    if all(row["sharpe"] is None for row in leaderboard):
        say(console, f"Sharpe and Sortino need 30 returns of a varying equity: there are {samples}")
    else:
        say(console, f"Sharpe and Sortino of {samples} returns over {length:g} s each, annualized; no risk-free rate")


def _totals(manifest: Manifest, leaderboard: Sequence[Row]) -> str:
    with localcontext(Context()):  # a strategy may have changed the thread's
        return _summed(manifest, leaderboard)


def _summed(manifest: Manifest, leaderboard: Sequence[Row]) -> str:
    capital = Decimal(manifest.configuration["capital"])
    equities = [row["equity"] for row in leaderboard]
    known = [Decimal(equity) for equity in equities if equity is not None]
    pnl = sum((equity - capital for equity in known), Decimal(0))
    fees = sum((Decimal(row["fees"]) for row in leaderboard), Decimal(0))
    fills = sum(row["fills"] for row in leaderboard)
    trips = sum(row["round_trips"] for row in leaderboard)
    rate = manifest.ticks / manifest.seconds if manifest.seconds else 0.0
    unknown = len(equities) - len(known)
    missing = f" ({unknown} with unknown equity left out)" if unknown else ""
    strategies = "1 strategy" if len(leaderboard) == 1 else f"{len(leaderboard)} strategies"
    activity = (_counted(fills, "fill"), _counted(trips, "round trip"), _counted(manifest.events, "portfolio event"))
    return (
        f"{strategies}, {capital.normalize():f} each: equity {sum(known, Decimal(0)):,.2f}, "
        f"P&L {pnl:+,.2f} after {fees:,.2f} fees{missing}\n"
        f"{', '.join(activity)}\n"
        f"{manifest.ticks:,} ticks in {manifest.seconds:.2f} s ({rate:,.0f}/s)"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    match name:
        case "equity" | "fees":
            return f"{Decimal(value):.2f}"
        case "pnl":
            return f"{Decimal(value):+.2f}"
        case "roi_pct":
            return f"{value:+.2f}"
        case "win_rate":
            return f"{value * 100:.1f}"
        case "expectancy":
            return f"{Decimal(value):+.4f}"
        case "holding_s" | "exposure_pct":
            return f"{value:.1f}"
        case "profit_factor" | "max_drawdown_pct" | "sharpe" | "sortino" | "turnover":
            return f"{value:.2f}"
        case "fills" | "round_trips":
            return f"{value:,}"
    return str(value)


def inspect_json(tape: Tape) -> dict[str, Any]:
    """The one object that `wspt inspect --json` prints."""
    passport = tape.passport
    skew = passport.skew_ms
    return {
        "ticks": tape.rows,
        "frames": passport.frames,
        "symbols": tape.symbols,
        "venue": tape.venue,
        "start": tape.start,
        "end": tape.end,
        "kinds": passport.kinds,
        "simulated": tape.simulated,
        "source": tape.headers[0].source,
        "identity": tape.identity,
        "quality": {
            "gaps": passport.gaps,
            "checksum_ok": passport.checksum_ok,
            "checksum_failed": passport.checksum_failed,
            "reconnects": passport.reconnects,
            "unparsed": passport.unparsed,
            "duplicates": passport.duplicates,
            "crossed": passport.crossed,
            "rejected": passport.rejected,
            "clock_reversals": passport.clock_reversals,
            "time_source": passport.time_source,
            "skew_ms": {
                "p50": skew.p50 if skew else None,
                "p99": skew.p99 if skew else None,
                "max": skew.max if skew else None,
            },
            "longest_silence_s": passport.longest_silence_s,
        },
        "feed_events": passport.feed_events,
    }


def print_inspect(console: Console, tape: Tape) -> None:
    """What is on a tape, and its quality passport."""
    for name, value in _inspected(tape, tape.passport):
        say(console, f"{name:<10} {value}")


def _inspected(tape: Tape, passport: Passport) -> list[tuple[str, str]]:
    symbols = ", ".join(tape.symbols[:8]) + (f" and {len(tape.symbols) - 8} more" if len(tape.symbols) > 8 else "")
    skew = passport.skew_ms
    rows = [
        ("tape", ", ".join(str(path) for path in tape.paths)),
        ("venue", f"{tape.venue}{' (SIMULATED)' if tape.simulated else ''}, made by: {tape.headers[0].source}"),
        ("symbols", symbols),
        ("from", _time(tape.start)),
        ("to", f"{_time(tape.end)}  ({(tape.end - tape.start) / 1e9:,.1f} s)"),
        ("ticks", f"{tape.rows:,} in {passport.frames:,} frames"),
        ("kinds", ", ".join(f"{name} {count:,}" for name, count in passport.kinds.items() if count)),
        ("feed", ", ".join(f"{name} {count:,}" for name, count in passport.feed_events.items()) or "nothing reported"),
        ("times", f"{passport.time_source}, clock stepped back {passport.clock_reversals:,} times"),
        ("checksums", f"{passport.checksum_ok:,} right, {passport.checksum_failed:,} wrong"),
        ("gaps", f"{passport.gaps:,} in sequence, {passport.reconnects:,} reconnects"),
        ("odd", f"{passport.unparsed:,} unparsed, {passport.duplicates:,} duplicate, {passport.crossed:,} crossed"),
        ("silence", f"{passport.longest_silence_s:.3f} s at the longest"),
    ]
    if passport.time_source != RECEIVED:
        # Times of receipt that were made of the venue's own say nothing about how late anything was.
        rows.append(("skew", "unknown: there are no times of receipt"))
    elif skew is not None:
        rows.append(
            ("skew", f"receipt after event: p50 {skew.p50:.1f} ms, p99 {skew.p99:.1f} ms, max {skew.max:.1f} ms")
        )
    return rows


def _time(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}.{ts % 1_000_000_000:09d} UTC"


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """One line a run, the newest first; what is wrong with the broken ones comes after."""
    headings = ["run", "status", "created (UTC)", "tape", "strategies", "ticks", "digest"]
    justify: list[Justify] = ["left", "left", "left", "left", "right", "right", "left"]
    rows = [_run_row(run) for run in runs]
    labels = [read_label(run.path) for run in runs]
    if any(labels):
        headings, justify = [*headings, "label"], [*justify, "left"]
        rows = [[*row, label] for row, label in zip(rows, labels, strict=True)]
    print_table(console, headings, rows, justify)
    for run in runs:
        if run.manifest is None:
            say(console, run.problem)


def _run_row(run: Run) -> list[str]:
    manifest = run.manifest
    if manifest is None:
        return [run.name, "broken", "", "", "", "", ""]
    files = [path.given for path in manifest.tape.paths]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    tape = "".join(files[:1]) + more + (" (simulated)" if manifest.simulated else "")
    created = manifest.created[:19].replace("T", " ")
    counts = [str(len(manifest.strategies)), f"{manifest.ticks:,}"]
    return [run.name, f"{manifest.kind} {run.status}", created, tape, *counts, (manifest.digest or "")[:12]]


def runs_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The list that `wspt runs --json` prints."""
    return [
        {"name": run.name, "path": str(run.path), "label": read_label(run.path), "problem": run.problem}
        if run.manifest is None
        else {
            "name": run.name,
            "path": str(run.path),
            "label": read_label(run.path),
            "status": run.status,
            "kind": run.manifest.kind,
            "created": run.manifest.created,
            "tape": [path.given for path in run.manifest.tape.paths],
            "simulated": run.manifest.simulated,
            "strategies": sorted(run.manifest.strategies),
            "ticks": run.manifest.ticks,
            "digest": run.manifest.digest,
        }
        for run in runs
    ]


def print_difference(console: Console, difference: Mapping[str, Any]) -> None:
    """The first event in which two histories part: which desk, which event, what differs, and both versions."""
    recorded, replayed = difference["recorded"], difference["replayed"]
    say(console, f"different: {difference['strategy']} event {difference['seq']}, {_parting(recorded, replayed)}")
    say(console, f"  recorded {to_json(recorded) if recorded else 'nothing: the ledger has ended'}")
    say(console, f"  replayed {to_json(replayed) if replayed else 'nothing: the replay has ended'}")


def _parting(recorded: Mapping[str, Any] | None, replayed: Mapping[str, Any] | None) -> str:
    """In a few words, how two events differ; at most one of them is missing."""
    if recorded is None or replayed is None:
        return f"{(recorded or replayed or {})['type']} in only one of them"
    if recorded["type"] != replayed["type"]:
        return f"{recorded['type']} became {replayed['type']}"
    names = [name for name in {**recorded, **replayed} if recorded.get(name) != replayed.get(name)]
    return f"{recorded['type']} differs in {', '.join(names)}"


def print_answer(console: Console, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """What a query gave: decimals of one column with their points below one another, unknown values empty."""
    columns = [_cells([row[number] for row in rows]) for number in range(len(names))]
    justify: list[Justify] = ["right" if is_number else "left" for _, is_number in columns]
    cells = [list(row) for row in zip(*(texts for texts, _ in columns), strict=True)]
    print_table(console, names, cells, justify)
    if not rows:
        say(console, "(no rows)")


def _cells(values: Sequence[Any]) -> tuple[list[str], bool]:
    """A column's texts, and whether they are numbers."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, Decimal) and value.is_finite() for value in known):
        places = max(_places(value) for value in known)
        return ["" if value is None else f"{value:.{places}f}" for value in values], True
    is_number = bool(known) and all(type(value) in (int, float, Decimal) for value in known)
    return ["" if value is None else in_one_line(str(value)) for value in values], is_number


def _places(value: Decimal) -> int:
    """Digits behind the point, trailing zeros aside."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def print_table(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], justify: Sequence[Justify]
) -> None:
    """A table that is never cut: where it is wider than the terminal, each row becomes a block of lines."""
    # Laid out here: Rich's own table takes minutes for the million rows that a query may give.
    titles = _titles(headings)
    columns = list(zip(*titles, *rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    gap = "  " if sum(widths) + 2 * len(widths) - 2 <= console.width else " "
    if sum(widths) + len(gap) * (len(widths) - 1) > console.width:
        _print_blocks(console, headings, rows)
        return
    for title in titles:
        console.print(Text(_line(title, widths, justify, gap), style="bold"), soft_wrap=True)
    for row in rows:
        say(console, _line(row, widths, justify, gap))


def _titles(headings: Sequence[str]) -> list[list[str]]:
    """The lines of the headings, the last ones on the same line."""
    split = [heading.split("\n") for heading in headings]
    height = max(map(len, split))
    return [list(line) for line in zip(*([""] * (height - len(lines)) + lines for lines in split), strict=True)]


def _line(cells: Sequence[str], widths: Sequence[int], justify: Sequence[Justify], gap: str) -> str:
    padded = (
        " " * (width - cell_len(cell)) + cell if side == "right" else cell + " " * (width - cell_len(cell))
        for cell, width, side in zip(cells, widths, justify, strict=True)
    )
    return gap.join(padded).rstrip()


def _print_blocks(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    names = [" ".join(heading.replace("-\n", "").split()) for heading in headings]
    width = max(len(name) for name in names)
    for number, row in enumerate(rows):
        if number:
            say(console, "")
        for name, text in zip(names, row, strict=True):
            say(console, f"{name:<{width}}  {text}".rstrip())


def say(console: Console, *lines: str) -> None:
    """Lines as they are: not wrapped, not colored, nothing in them taken for markup or obeyed by the terminal."""
    for line in lines:
        print(in_one_line(line), file=console.file)


def stdout() -> Console:
    """What results are printed on."""
    width = None if sys.stdout.isatty() else _UNCUT
    return Console(width=width, markup=False, emoji=False, highlight=False)


def to_json(value: Any) -> str:
    """Strict JSON of plain values."""
    return msgspec.json.encode(value).decode()
