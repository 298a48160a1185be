"""What a terminal shows of a session: the feed, the leaderboard and the newest fills, cut to its size."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from apps.board import Board, DeskRow, FillRow
from apps.figures import fixed, percent, signed
from apps.standing import Standing, SymbolStanding

_OLD_S = 5.0
_BETWEEN = 3
"""Columns of the terminal between two columns of a table."""
_STATUS_MIN, _REASON_MIN = 6, 28
"""What a status is worth, and one that says why a desk has stopped."""
_CURVE_MIN, _CURVE_FROM = 16, 90
"""Points of a curve at least, and how wide a terminal is that has no room for more."""
_BLOCKS = "▁▂▃▄▅▆▇█"


def picture(standing: Standing, board: Board | None, width: int, height: int) -> RenderableType:
    """What there is to see, cut to a terminal of so many columns and rows."""
    parts: list[RenderableType] = [_head(standing)]
    room = height - 3 - _is_elsewhere(standing)
    has_desks = board is not None and bool(board.desks)
    most = min(room // 3, room - 8) if has_desks else room // 3  # the leaderboard goes before a second symbol
    symbols = standing.symbols[: max(1, most)]
    parts.append(_feed(symbols, len(standing.symbols) - len(symbols)))
    room -= len(symbols) + 4
    if board is None:
        return Group(*parts)
    if board.problem and room > 3:
        old = f"the leaderboard is of a moment ago: {board.problem}"
        parts += ["", Text(old, "yellow", no_wrap=True, overflow="ellipsis")]
        room -= 2
    if board.desks and room > 3:
        most = room - 6 if room > 9 else room - 2 if len(board.desks) <= room - 2 else room - 3
        desks = board.desks[: max(1, most)]
        parts += ["", _leaderboard(desks, len(board.desks) - len(desks), width)]
        room -= len(desks) + 4
    if board.fills and room > 3:
        parts += ["", _fills(board.fills[: room - 3], width)]
    return Group(*parts)


def _head(standing: Standing) -> Text:
    head = Text(no_wrap=True, overflow="ellipsis")
    if standing.is_simulated:
        head.append(" SIMULATED ", "bold black on yellow")
        head.append(" ")
    head.append(standing.venue, "bold")
    if standing.is_connected:
        head.append(" connected ", "green")
    else:
        head.append(f" NOT CONNECTED: {standing.problem} ", "bold red")
    hours, rest = divmod(int(standing.seconds), 3600)
    head.append(f" {hours}:{rest // 60:02}:{rest % 60:02}  {standing.messages:,} messages")
    head.append(f"  {standing.rate:,.0f}/s  {standing.ticks:,} ticks")
    if standing.reconnects:
        head.append(f"  reconnects {standing.reconnects}", "yellow")
    if _is_elsewhere(standing):
        head.append("\n")
        head.append(f"{standing.url} is not the venue's own address", "yellow")
    head.append("\n")
    return head


def _is_elsewhere(standing: Standing) -> bool:
    """Whether a line says that this is not the venue's own address."""
    return standing.is_foreign and not standing.is_simulated


def _feed(symbols: Sequence[SymbolStanding], more: int) -> Table:
    table = _table(("symbol", "left"), ("bid", "right"), ("ask", "right"), ("spread", "right"), ("age", "right"))
    for name in ("gaps", "checksums", "feed"):
        table.add_column(name, justify="left" if name == "feed" else "right", header_style="dim")
    for one in symbols:
        mid = (one.bid + one.ask) / 2
        spread = f"{(one.ask - one.bid) / mid * 10_000:.2f} bps" if mid == mid and mid else "-"
        is_old = one.age_s is not None and one.age_s >= _OLD_S
        table.add_row(
            one.symbol,
            _price(one.bid, one.decimals),
            _price(one.ask, one.decimals),
            spread,
            Text("-" if one.age_s is None else f"{one.age_s:.1f} s", "yellow" if is_old else ""),
            _count(one.gaps),
            _count(one.checksums),
            Text(one.state, "green" if one.state == "ok" else "dim" if one.state == "waiting" else "bold red"),
        )
    if more:
        table.add_row(Text(f"and {more} more", "dim"))
    return table


class _Column(NamedTuple):
    """A column of a table that must fit: its cells, and whether it may be cut or left out where there is no room.

    least:  columns of the terminal that it is worth; a text may be cut down to so many. 0: it is never cut.
    """

    name: str
    cells: Sequence[Text]
    is_number: bool = True
    is_needed: bool = True
    least: int = 0

    @property
    def full(self) -> int:
        return max(cell_len(self.name), *(cell.cell_len for cell in self.cells))

    @property
    def needs(self) -> int:
        return min(self.full, self.least) if self.least else self.full


def _leaderboard(desks: Sequence[DeskRow], more: int, width: int) -> Table:
    """As much of the leaderboard as there is room for; what is needed most stands first in `wanted`."""

    def texts(values: Iterable[str]) -> list[Text]:
        return [Text(value) for value in values]

    name = _Column("strategy", texts(desk.name for desk in desks), is_number=False, least=24)
    equity = _Column("equity", texts(fixed(desk.equity, 2) for desk in desks))
    pnl = _Column("P&L", [_signed(desk.pnl) for desk in desks])
    fills = _Column("fills", texts(f"{desk.fills:,}" for desk in desks))
    states = [Text(desk.status, "" if desk.status == "ok" else "bold red") for desk in desks]
    worth = _STATUS_MIN if all(desk.status == "ok" for desk in desks) else _REASON_MIN
    status = _Column("status", states, is_number=False, least=worth)
    roi = _Column("ROI %", [_signed(desk.roi_pct) for desk in desks], is_needed=False)
    points = max(width - _CURVE_FROM, _CURVE_MIN)
    curves = [Text(sparkline(_thinned(desk.curve, points)), "cyan") for desk in desks]
    curve = _Column("equity over time", curves, is_number=False, is_needed=False)
    drawdown = _Column("drawdown %", texts(fixed(desk.max_drawdown_pct, 2) for desk in desks), is_needed=False)
    wins = _Column("win %", texts(percent(desk.win_rate) for desk in desks), is_needed=False)
    fees = _Column("fees", texts(fixed(desk.fees, 2) for desk in desks), is_needed=False)
    trips = _Column("trips", texts(f"{desk.round_trips:,}" for desk in desks), is_needed=False)
    holds = _Column("holds", texts(desk.holds for desk in desks), is_number=False, is_needed=False, least=12)
    wanted = (name, equity, pnl, fills, status, roi, holds, curve, drawdown, wins, fees, trips)
    order = (name, equity, pnl, roi, fills, fees, trips, wins, drawdown, curve, holds, status)
    return _fitting(order, wanted, more, width)


def _fills(fills: Sequence[FillRow], width: int) -> Table:
    def texts(values: Iterable[str]) -> list[Text]:
        return [Text(value) for value in values]

    times = texts(f"{datetime.fromtimestamp(fill.ts / 1e9, UTC):%H:%M:%S}" for fill in fills)
    columns = (
        _Column("last fills", times, is_number=False),
        _Column("strategy", texts(fill.strategy for fill in fills), is_number=False, least=24),
        _Column("side", texts(fill.side for fill in fills), is_number=False),
        _Column("quantity", texts(f"{fill.quantity.normalize():f}" for fill in fills)),
        _Column("symbol", texts(fill.symbol for fill in fills), is_number=False),
        _Column("price", texts(f"{fill.price.normalize():f}" for fill in fills)),
        _Column("P&L", [_signed(fill.realized, 4) for fill in fills], is_needed=False),
        _Column("reason", texts(fill.reason or "" for fill in fills), is_number=False, is_needed=False, least=8),
    )
    return _fitting(columns, columns, 0, width)


def _fitting(order: Sequence[_Column], wanted: Sequence[_Column], more: int, width: int) -> Table:
    """The columns for which there is room, in their order: numbers whole, texts cut to what is left.

    wanted:  the same columns, the most wanted first.
    """
    shown: list[_Column] = []
    rest = Text(f"and {more} more" if more else "", "dim")
    extra = max(rest.cell_len - order[0].full, 0)
    room = width - extra
    for column in wanted:
        if column.is_needed or column.needs + _BETWEEN <= room:
            shown.append(column)
            room -= column.needs + _BETWEEN
    table = _table()
    for column in order:
        if column not in shown:
            continue
        wide = column.needs + max(min(column.full - column.needs, room), 0)
        room -= wide - column.needs
        wide += extra if column is order[0] else 0
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        table.add_column(
            column.name, width=wide, justify=justify, no_wrap=True, overflow="ellipsis", header_style="dim"
        )
    for row in zip(*(column.cells for column in order if column in shown), strict=True):
        table.add_row(*row)
    if more:
        table.add_row(rest)
    return table


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True, header_style="dim")
    return table


def sparkline(values: Sequence[float]) -> str:
    """A curve as blocks, the lowest value at the bottom and the highest at the top; a flat one in the middle."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[3] * len(values)
    steps = (len(_BLOCKS) - 1) / (high - low)
    return "".join(_BLOCKS[round((value - low) * steps)] for value in values)


def _thinned(values: Sequence[float], most: int) -> Sequence[float]:
    """At most so many of them, evenly apart, the first and the last among them."""
    if len(values) <= most:
        return values
    return [values[round(number * (len(values) - 1) / (most - 1))] for number in range(most)]


def _price(price: float, decimals: int) -> str:
    return f"{price:,.{decimals}f}" if price == price else "-"


def _count(count: int) -> Text:
    return Text(f"{count:,}", "yellow" if count else "dim")


def _signed(amount: Decimal | float | None, decimals: int = 2) -> Text:
    tone = "dim" if not amount else "green" if amount > 0 else "red"
    return Text(signed(amount, decimals), tone)
