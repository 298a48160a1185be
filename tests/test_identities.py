"""What must hold after every event of every history, whatever was ordered, on whatever terms."""

from collections.abc import Iterable
from decimal import Decimal

from hypothesis import given

from engine.events import Event, OrderFilled, OrderSubmitted
from engine.execution import assets
from engine.portfolio import Portfolio
from tests.audit import Books, Orders, audit_market
from tests.builders import folded, replay, state_of
from tests.random_desks import Cast, casts, desks_of
from tests.random_markets import Move, market_of, moves


def own(events: Iterable[Event], name: str) -> list[Event]:
    return [event for event in events if event.strategy == name]


@given(moves, casts)
def test_balances_are_opening_plus_realized_minus_cost_after_every_event(moves: list[Move], casts: list[Cast]) -> None:
    desks = desks_of(casts)

    events = replay(desks, market_of(moves))

    for desk in desks:
        portfolio, books = Portfolio(), Books()
        for event in own(events, desk.name):
            portfolio.apply(event)
            books.take(event)
            assert portfolio.balances == books.balances


@given(moves, casts)
def test_fills_never_exceed_their_order_and_filled_and_open_make_what_was_submitted(
    moves: list[Move], casts: list[Cast]
) -> None:
    desks = desks_of(casts)

    events = replay(desks, market_of(moves))

    for desk in desks:
        orders = Orders()
        for event in own(events, desk.name):
            orders.take(event)


@given(moves, casts)
def test_nothing_owned_or_available_is_ever_below_zero_where_nobody_shorts(
    moves: list[Move], casts: list[Cast]
) -> None:
    desks = desks_of(casts, can_short=False)

    events = replay(desks, market_of(moves))

    for desk in desks:
        portfolio = Portfolio()
        for event in own(events, desk.name):
            portfolio.apply(event)
            assert min(portfolio.balances.values()) >= 0
            assert all(portfolio.available(asset) >= 0 for asset in portfolio.balances)
            assert all(position.quantity > 0 for position in portfolio.positions.values())


@given(moves, casts)
def test_spending_never_takes_what_is_available_below_zero(moves: list[Move], casts: list[Cast]) -> None:
    desks = desks_of(casts)

    events = replay(desks, market_of(moves))

    for desk in desks:
        portfolio = Portfolio()
        for event in own(events, desk.name):
            before = dict.fromkeys(portfolio.balances, Decimal(0)) | {
                asset: portfolio.available(asset) for asset in portfolio.balances
            }
            portfolio.apply(event)
            is_spending = isinstance(event, OrderSubmitted | OrderFilled) and event.side == "buy"
            if is_spending:
                quote = assets(event.symbol)[1]
                assert portfolio.available(quote) >= min(before.get(quote, Decimal(0)), 0)


@given(moves, casts)
def test_nothing_fills_beyond_what_the_market_showed(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of(moves)
    plain = [cast._replace(terms=cast.terms._replace(costs=cast.terms.costs % 2, fills=0)) for cast in casts]

    events = replay(desks_of(plain, can_short=False), tape)

    for name in {event.strategy for event in events}:
        audit_market(own(events, name), tape)


@given(moves, casts)
def test_the_sum_over_desks_is_the_sum_of_their_ledgers(moves: list[Move], casts: list[Cast]) -> None:
    desks = desks_of(casts)

    events = replay(desks, market_of(moves))

    held: dict[str, Decimal] = {}
    for desk in desks:
        for asset, amount in desk.portfolio.balances.items():
            held[asset] = held.get(asset, Decimal(0)) + amount
    books: dict[str, Decimal] = {}
    for desk in desks:
        of_desk = Books()
        for event in own(events, desk.name):
            of_desk.take(event)
        for asset, amount in of_desk.balances.items():
            books[asset] = books.get(asset, Decimal(0)) + amount
        assert state_of(folded(own(events, desk.name))) == state_of(desk.portfolio)
    assert held == books
