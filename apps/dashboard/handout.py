"""A run as one page to send: every chart and table in the file itself, nothing fetched from anywhere."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from apps import figures
from apps.dashboard.drawing import Line, Marks, chart, points
from apps.dashboard.markup import (
    STYLE,
    Column,
    Markup,
    badge,
    box,
    card,
    cards,
    html,
    named,
    table,
    title,
    tone_of,
    toned,
)
from apps.dashboard.palette import DOWN, QUIET, UP, colors, dashes
from apps.dashboard.parts import PARTS
from apps.dashboard.status import status_cell
from apps.memory import market_questions, questions
from apps.memory.run_memory import Row, RunMemory, currency
from recorder.runs import RunProblem

POINTS = 400
TRIPS = 15
FILLS = 400
_OWN_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 1080px; padding: 2rem 1.2rem 3rem; font: 15px/1.45 system-ui, sans-serif;
  background: light-dark(#ffffff, #161513); color: light-dark(#2b2a27, #ece9e2); }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.2rem; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); } svg .mark { stroke: light-dark(#ffffff, #161513); }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.6rem; }
@media (max-width: 720px) { .two { display: block; } }
"""


def handout(path: Path) -> str:
    """The page of a run. Raises RunProblem where there is none, or nothing in it, or not all of it can be read."""
    run = RunMemory(path)
    try:
        run.look()
        if run.manifest is None or run.problem or not questions.leaderboard(run):
            raise RunProblem(run.problem or f"{path}: expected a ledger, found none yet")
        run.tape.wait()
        return _page(run)
    finally:
        run.close()


def _page(run: RunMemory) -> str:
    board = questions.leaderboard(run)
    parts: list[str] = [
        _head(run),
        _cards(run, board),
        _board(run, board),
        title("Equity", currency(run)),
        _equity(run),
    ]
    for row in board:
        parts += _desk(run, row)
    parts += [_market(run), _made_of(run)]
    body = "".join(parts)
    css = STYLE.read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html(run.path.name)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}{_OWN_STYLE}</style></head>'
        f'<body class="stApp">{box(body)}</body></html>\n'
    )


def _head(run: RunMemory) -> Markup:
    manifest, known = run.manifest, questions.span(run)
    assert manifest is not None
    simulated = badge("SIMULATED market", "warn") if manifest.simulated else ""
    when = f"{figures.moment(known[0])} to {figures.moment(known[1])} UTC" if known else ""
    said = f"{manifest.tape.venue} · {manifest.kind} {run.status} · {when} · paper trading, no real order was placed"
    return Markup(
        f'<div class="w-head"><span class="name" style="font-size:1.5rem">{html(run.path.name)}</span>{simulated}</div>'
        f'<p class="w-quiet">{html(said)}</p>'
    )


def _cards(run: RunMemory, board: list[Row]) -> Markup:
    unit = currency(run)
    equity = sum(row["equity"] for row in board if row["equity"] is not None)
    pnl = sum(row["pnl"] for row in board if row["pnl"] is not None)
    fees = f"{figures.money(sum(row['fees'] for row in board))} {unit} fees"
    return cards(
        [
            card("Total equity", figures.money(equity), unit, figures.several(len(board), "desk")),
            card("P&L after fees", figures.signed(pnl), unit, "", tone_of(float(pnl))),
            card("Fills", figures.count(sum(row["fills"] for row in board)), "", fees),
            card("Market data", figures.count(run.manifest.ticks if run.manifest else None), "ticks"),
        ]
    )


def _board(run: RunMemory, board: list[Row]) -> Markup:
    unit, color = currency(run), colors(row["name"] for row in board)
    columns = (
        Column("strategy"),
        Column("equity", unit, True),
        Column("P&L", unit, True),
        Column("ROI", "%", True),
        Column("fees", unit, True),
        Column("fills", "", True),
        Column("round trips", "", True),
        Column("win rate", "%", True),
        Column("drawdown", "%", True),
        Column("status"),
    )
    rows = [
        (
            named(row["name"], color[row["name"]]),
            figures.money(row["equity"]),
            toned(figures.signed(row["pnl"]), tone_of(row["pnl"])),
            toned(figures.signed(row["roi_pct"]), tone_of(row["roi_pct"])),
            figures.money(row["fees"]),
            figures.count(row["fills"]),
            figures.count(row["round_trips"]),
            figures.percent(row["win_rate"]),
            figures.fixed(row["max_drawdown_pct"], 2),
            status_cell(row["status"], run.status),
        )
        for row in board
    ]
    return Markup(title("Leaderboard") + table(columns, rows, wide=frozenset({9})))


def _equity(run: RunMemory) -> Markup:
    series = questions.equity_curves(run, points=POINTS)
    color, dash = colors(series), dashes(series)
    lines = [Line(name, points(rows), color[name], dash[name], is_steps=True) for name, rows in series.items()]
    return chart(lines, unit=currency(run), end=_end(run))


def _desk(run: RunMemory, row: Row) -> Iterable[str]:
    """One strategy: its equity, its drawdown, where it traded, what it cost."""
    name = row["name"]
    yield f"<h2>{html(name)}</h2>"
    said = (
        f"equity {figures.money(row['equity'])}, P&L {figures.signed(row['pnl'], 4)} {currency(run)}, {row['status']}"
    )
    yield toned(said, "quiet")
    curve = points(questions.equity_curves(run, [name], POINTS)[name])
    fallen = points(questions.drawdown(run, name, POINTS))
    yield '<div class="two">'
    line = Line("equity", curve, UP, is_steps=True)
    yield f"<div>{title('Equity', currency(run))}{chart([line], width=520, height=190, end=_end(run))}</div>"
    line = Line("drawdown", fallen, DOWN, is_steps=True, is_filled=True)
    yield f"<div>{title('Drawdown', '%')}{chart([line], width=520, height=190, end=_end(run))}</div></div>"
    for traded in questions.traded(run, name)[:2]:
        yield _prices(run, name, traded["symbol"])
    yield '<div class="two"><div>' + _costs(run, name) + "</div><div>" + _refused(run, name) + "</div></div>"
    yield _trips(run, name)


def _prices(run: RunMemory, name: str, symbol: str) -> Markup:
    bars = market_questions.candles(run, symbol)
    places = market_questions.price_places(run).get(symbol, 2)
    fills = questions.fills_on_chart(run, name, symbol, FILLS)
    marks = []
    for sides, what, color in ((("buy", "cover"), "bought", UP), (("sell", "short"), "sold", DOWN)):
        found = [(fill["ts"], fill["price"], _told(fill, places)) for fill in fills if fill["side"] in sides]
        marks.append(Marks(what, found, color, is_up=what == "bought"))
    drawn = chart([Line("price", points(bars, "close"), QUIET)], marks, unit=symbol.partition("/")[2], places=places)
    return Markup(title(f"Trades of {symbol}", f"the last {len(fills):,}; hover for the reason") + drawn)


def _told(fill: Row, places: int) -> str:
    price = figures.fixed(fill["price"], places)
    return (
        f"{figures.clock(fill['ts'])} {fill['side']} {figures.quantity(fill['quantity'])} at {price}: {fill['reason']}"
    )


def _costs(run: RunMemory, name: str) -> Markup:
    found = questions.attribution(run, name)
    if found is None:
        return Markup("")
    amounts = {part: found[column] for part, column in PARTS.items()}
    rows = [(part, toned(figures.signed(amount, 4), tone_of(amount))) for part, amount in amounts.items()]
    return Markup(title("Where the P&L comes from", currency(run)) + table((Column(""), Column("", "", True)), rows))


def _refused(run: RunMemory, name: str) -> Markup:
    found = questions.rejections(run, name)
    if not found:
        return Markup("")
    rows = [(row["reason"], figures.count(row["times"])) for row in found]
    return Markup(title("Refused") + table((Column("reason"), Column("times", "", True)), rows, wide=frozenset({0})))


def _trips(run: RunMemory, name: str) -> Markup:
    found = questions.round_trips(run, name, TRIPS)
    if not found:
        return Markup("")
    places = market_questions.price_places(run)
    columns = (
        Column("closed", "UTC"),
        Column("held for", "", True),
        Column("symbol"),
        Column("side"),
        Column("entry", "", True),
        Column("exit", "", True),
        Column("P&L", currency(run), True),
        Column("fees", currency(run), True),
    )
    rows = [
        (
            figures.moment(row["closed"]),
            figures.duration(row["closed"] - row["opened"]),
            row["symbol"],
            row["side"],
            figures.fixed(row["entry_price"], places.get(row["symbol"], 2)),
            figures.fixed(row["exit_price"], places.get(row["symbol"], 2)),
            toned(figures.signed(row["pnl"], 4), tone_of(row["pnl"])),
            figures.cents(row["fees"]),
        )
        for row in found
    ]
    return Markup(title("Round trips", f"the last {len(found)}") + table(columns, rows))


def _market(run: RunMemory) -> Markup:
    found = market_questions.feed_health(run)
    if not found:
        return Markup("")
    columns = (
        Column("symbol"),
        Column("last tick", "UTC"),
        Column("gaps", "", True),
        Column("wrong checksums", "", True),
        Column("stale", "", True),
        Column("crossed", "", True),
    )
    names = ("gaps", "checksums", "stale", "crossed")
    rows = [
        (row["symbol"], figures.moment(row["last_ts"]), *(figures.count(row[name]) for name in names)) for row in found
    ]
    return Markup(f"<h2>Market data</h2>{table(columns, rows)}")


def _made_of(run: RunMemory) -> Markup:
    """Enough to make it again."""
    manifest = run.manifest
    assert manifest is not None
    facts = {
        "digest": manifest.digest or "none: the run has not ended",
        "tape": ", ".join(path.given for path in manifest.tape.paths),
        "tape identity": manifest.tape.identity,
        **{f"strategies/{name}.py": f"sha256 {record.sha256}" for name, record in manifest.strategies.items()},
        "libraries": ", ".join(f"{name} {number}" for name, number in manifest.libraries.items()),
        "made by": f"wspt {version('wspt')}",
    }
    return Markup(f"<h2>What it was made of</h2>{table((Column(''), Column('')), facts.items(), wide=frozenset({1}))}")


def _end(run: RunMemory) -> int | None:
    known = questions.span(run)
    return known[1] if known else None
