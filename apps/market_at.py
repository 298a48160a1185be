"""The market as a tape had told of it by a tick."""

import msgspec

from apps.desks import batches_of
from apps.ingredients import Ingredients
from engine.engine import Engine
from engine.market import Market
from engine.ticks import Kind


def market_at(made_of: Ingredients, stop_seq: int) -> Market:
    """The market after the ticks before `stop_seq`, at least one of them, its cursor at the last.

    Ask it for what was known "before row `market.row + 1`".
    """
    engine, market = Engine([]), Market()
    for batch in batches_of(made_of.tape, msgspec.structs.replace(made_of.part, stop_seq=stop_seq)):
        if batch.first_seq + len(batch) < stop_seq:
            engine.process(batch)
            continue
        market = engine.market
        market.begin(batch)
        for row, kind in enumerate(batch.kind):
            market.row = row
            if kind == Kind.FEED:
                market.take_feed(row)
            elif market.has_losses:
                market.take_heard(row)
    return market
