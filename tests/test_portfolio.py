"""The state of a desk is the fold of its ledger, and its money adds up to the last digit, for every history."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given

from engine.digest import canonical_lines
from engine.events import Event, OrderFilled, PortfolioMarked, PortfolioOpened
from tests.builders import (
    BTC,
    ETH,
    ETH_BTC,
    a_desk,
    buy,
    close,
    cover,
    fills,
    folded,
    quote,
    replay,
    sell,
    short,
    state_of,
    the,
)
from tests.random_desks import Cast, casts, desks_of
from tests.random_markets import Move, market_of, moves

_decode = msgspec.json.Decoder(Event).decode


def own(events: Iterable[Event], name: str) -> list[Event]:
    return [event for event in events if event.strategy == name]


# -- the fold ------------------------------------------------------------------------------------------------------


@given(moves, casts)
def test_a_portfolio_folded_from_its_ledger_equals_the_one_that_ran(moves: list[Move], casts: list[Cast]) -> None:
    desks = desks_of(casts)

    events = replay(desks, market_of(moves))

    for desk in desks:
        assert state_of(folded(own(events, desk.name))) == state_of(desk.portfolio)


@given(moves, casts)
def test_a_ledger_read_back_from_its_canonical_lines_folds_to_the_same_state(
    moves: list[Move], casts: list[Cast]
) -> None:
    desks = desks_of(casts)

    events = replay(desks, market_of(moves))

    for desk in desks:
        read = [_decode(line) for line in canonical_lines(own(events, desk.name)).splitlines()]
        assert read == own(events, desk.name)
        assert state_of(folded(read)) == state_of(desk.portfolio)


@given(moves, casts)
def test_every_amount_in_a_ledger_has_twelve_decimals_and_no_negative_zero(
    moves: list[Move], casts: list[Cast]
) -> None:
    for event in replay(desks_of(casts), market_of(moves)):
        for field in event.__struct_fields__:
            amount = getattr(event, field)
            if isinstance(amount, Decimal):
                assert amount.as_tuple().exponent == -12, (field, event)
                assert amount or not amount.is_signed(), (field, event)


def test_opening_cash_has_the_same_bytes_however_it_is_written() -> None:
    def opened(cash: str) -> bytes:
        bench = a_desk(cash=cash)
        bench.on(quote(0, "99", "101"))
        return canonical_lines([the(bench.events, PortfolioOpened)])

    assert opened("100") == opened("100.00") == opened("1E+2")


# -- several currencies ----------------------------------------------------------------------------------------------


def test_buying_with_another_currency_spends_it_and_equity_is_valued_through_known_prices() -> None:
    bench = a_desk(signals=[None, None, buy("50 USD"), buy("0.1 BTC", symbol=ETH_BTC)])

    bench.on(quote(0, "10", "10.2", ETH), quote(1, "0.1", "0.1002", ETH_BTC), quote(2, "99", "100"))
    filled = the(bench.on(quote(3, "99", "100")), OrderFilled)
    marked = the(bench.finish(), PortfolioMarked)

    assert filled.cash == bench.portfolio.balance("BTC") == Decimal("0.5") - filled.quantity * filled.price
    assert filled.rate == Decimal("99.5")
    eth = bench.portfolio.balance("ETH")
    assert marked.equity == 50 + filled.cash * Decimal("99.5") + eth * Decimal("10.1")


def test_equity_is_unknown_where_a_holding_has_no_price() -> None:
    bench = a_desk(signals=[buy("0.1 ETH", symbol=ETH)], currency="EUR")
    bench.on(quote(0, "10", "10.2", ETH))

    assert the(bench.finish(), PortfolioMarked).equity == Decimal(100)  # nothing was bought: there is no USD


# -- longs and shorts ------------------------------------------------------------------------------------------------


def test_a_round_trip_at_one_price_costs_exactly_its_fees() -> None:
    bench = a_desk(signals=[buy("33.33 USD"), close()], taker_bps="7")

    bought, sold = fills(bench.on(quote(0, "100.01", "100.01000001"), quote(1, "100.01000001", "100.02")))

    assert bought.realized == -bought.fee
    assert bench.portfolio.cash() == 100 - bought.fee - sold.fee
    assert not bench.portfolio.positions


@pytest.mark.parametrize(
    ("signals", "position", "realized"),
    [
        ([buy("1 BTC"), sell("0.25 BTC")], "0.75", "-0.5"),
        ([buy("1 BTC"), sell("9 BTC")], "0", "-2"),
        ([short("0.5 BTC"), cover("0.25 BTC")], "-0.25", "-0.5"),
        ([short("0.5 BTC"), cover("9 BTC")], "0", "-1"),
        ([short("0.5 BTC"), buy("1 BTC")], "0.5", "-1"),
        ([buy("1 BTC"), short("1.5 BTC")], "-0.5", "-2"),
    ],
)
def test_what_reduces_realizes_and_what_goes_through_zero_turns_the_position(
    signals: list[object], position: str, realized: str
) -> None:
    bench = a_desk(signals=signals, cash="200")

    filled = fills(bench.on(quote(0, "99", "101"), quote(1, "99", "101")))

    assert filled[-1].position == Decimal(position)
    assert sum(fill.realized for fill in filled) == Decimal(realized)
    assert bench.portfolio.position(BTC).quantity == Decimal(position)
