"""What a run came to, for people and for machines: leaderboard, report, passport, difference."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from recorder.passport import Passport
from recorder.runs import Manifest, Run
from recorder.tape import Tape

Row = Mapping[str, Any]

_LEADERBOARD = (
    ("strategy", "name", "left"),
    ("equity", "equity", "right"),
    ("P&L", "pnl", "right"),
    ("ROI %", "roi_pct", "right"),
    ("fees", "fees", "right"),
    ("fills", "fills", "right"),
    ("round trips", "round_trips", "right"),
    ("win rate", "win_rate", "right"),
    ("profit factor", "profit_factor", "right"),
    ("max drawdown %", "max_drawdown_pct", "right"),
    ("status", "status", "left"),
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
                "digest": manifest.digests[row["name"]],
                "status": row["status"],
            }
            for row in leaderboard
        ],
    }


def print_replay(console: Console, run: str, manifest: Manifest, leaderboard: Sequence[Row]) -> None:
    """Leaderboard, totals and digest; the digest is the last line, on its own."""
    currency = manifest.configuration["currency"]
    title = f"{'SIMULATED market, ' if manifest.simulated else ''}{manifest.tape.venue}, amounts in {currency}"
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading, _, justify in _LEADERBOARD:
        table.add_column(heading, justify=justify, no_wrap=heading != "status")  # type: ignore[arg-type]  # a literal
    for row in leaderboard:
        table.add_row(*(_shown(name, row[name]) for _, name, _ in _LEADERBOARD))
    console.print(table)
    console.print()
    console.print(_totals(manifest, leaderboard), highlight=False)
    console.print(f"run {run}", highlight=False, soft_wrap=True)
    console.print(f"digest {manifest.digest}", highlight=False, soft_wrap=True)


def _totals(manifest: Manifest, leaderboard: Sequence[Row]) -> str:
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
    return (
        f"{len(leaderboard)} strategies, {capital.normalize():f} each: equity {sum(known, Decimal(0)):.2f}, "
        f"P&L {pnl:+.2f} after {fees:.2f} fees, {fills} fills, {trips} round trips{missing}\n"
        f"{manifest.ticks:,} ticks in {manifest.seconds:.2f} s ({rate:,.0f}/s), {manifest.events:,} portfolio events"
    )


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    match name:
        case "equity":
            return f"{Decimal(value):.2f}"
        case "pnl":
            return f"{Decimal(value):+.2f}"
        case "fees":
            return f"{Decimal(value):.2f}"
        case "roi_pct":
            return f"{value:+.2f}"
        case "win_rate":
            return f"{value * 100:.0f} %"
        case "profit_factor" | "max_drawdown_pct":
            return f"{value:.2f}"
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
    passport = tape.passport
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in _inspected(tape, passport):
        table.add_row(name, value)
    console.print(table)


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
    if skew is not None:
        rows.append(
            ("skew", f"receipt after event: p50 {skew.p50:.1f} ms, p99 {skew.p99:.1f} ms, max {skew.max:.1f} ms")
        )
    return rows


def _time(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}.{ts % 1_000_000_000:09d} UTC"


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """One line a run, the newest first."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("run", "status", "created", "tape", "strategies", "ticks", "digest"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("strategies", "ticks") else "left")
    for run in runs:
        manifest = run.manifest
        if manifest is None:
            table.add_row(run.name, "broken", "", run.problem)
            continue
        tape = ", ".join(path.given for path in manifest.tape.paths) + (" (simulated)" if manifest.simulated else "")
        digest = (manifest.digest or "")[:12]
        counts = (str(len(manifest.strategies)), f"{manifest.ticks:,}")
        table.add_row(run.name, f"{manifest.kind} {manifest.status}", manifest.created, tape, *counts, digest)
    console.print(table)


def runs_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The list that `wspt runs --json` prints."""
    return [
        {"name": run.name, "path": str(run.path), "problem": run.problem}
        if run.manifest is None
        else {
            "name": run.name,
            "path": str(run.path),
            "status": run.manifest.status,
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


def to_json(value: Any) -> str:
    """Strict JSON of plain values."""
    return msgspec.json.encode(value).decode()
