"""Offer to both sides: rest a bid below the middle and an ask above it, and live on the distance between them.

The belief is that most who take our offers know no more than we do, so that a fill on one side is followed by one on
the other. It loses when they do know more: the price runs through our bid and stays there, and we hold what nobody
wants (adverse selection). Two things hold that in check. Inventory moves both offers against itself, so that the side
which reduces it is the nearer one; and where one more fill would exceed `inventory`, only that side is offered.

At the fees of a small account even a fill on both sides earns less than it costs, unless `half_spread_bps` exceeds the
maker fee, and then it rarely fills. This is a business for those with rebates.
"""

from engine import Signal

TRIGGER = "every:2s"
CONFIG = {
    "half_spread_bps": 4.0,  # distance of each offer from the middle
    "skew_bps": 3.0,  # how far a full inventory moves both offers
    "requote_bps": 2.0,  # offers this close to where they belong may stay and keep their place
    "inventory": 40.0,  # most to hold on either side, quote currency
    "size": 15.0,  # of one offer, quote currency
}
CRUMBS = 0.1  # of an offer's size: what two offers of unequal quantity leave is too little to be offered itself


def generate_signal(data, config, state, portfolio):
    """Take back offers that the market has left behind, and make new ones."""
    symbol, mid = data.symbol, data.mid
    if mid != mid:  # one side of the book is empty: nobody knows the middle
        return None
    held = portfolio.position(symbol)
    if abs(held) * mid < config["size"] * CRUMBS:
        held = 0.0
    load = max(-1.0, min(1.0, held * mid / config["inventory"]))
    center = mid * (1 - load * config["skew_bps"] / 10_000)
    bid = center * (1 - config["half_spread_bps"] / 10_000)
    ask = center * (1 + config["half_spread_bps"] / 10_000)
    state["indicators"] = {"mid": mid, "bid": bid, "ask": ask, "load": load}

    wanted = _offers(symbol, bid, ask, held, load, config)
    resting = [order for order in portfolio.open_orders if order.symbol == symbol]
    if _is_near(resting, wanted, mid * config["requote_bps"] / 10_000):
        return None
    return [Signal("cancel", symbol, reason=f"mid is now {mid:g}"), *wanted] if resting else wanted


def _offers(symbol, bid, ask, held, load, config):
    """What should rest now. The side that reduces a position offers all of it."""
    offers, size = [], config["size"]
    has_room = abs(load) + size / config["inventory"] <= 1
    if held < 0:
        offers.append(_offer("cover", symbol, bid, load, size=-held, size_in="base"))
    elif has_room:
        offers.append(_offer("buy", symbol, bid, load, size=size))
    if held > 0:
        offers.append(_offer("sell", symbol, ask, load, size=held, size_in="base"))
    elif has_room:
        offers.append(_offer("short", symbol, ask, load, size=size))
    return offers


def _offer(action, symbol, price, load, **size):
    reason = f"{action} at {price:.8g}, inventory {load:+.0%}"
    return Signal(action, symbol, order_type="limit", limit_price=price, post_only=True, reason=reason, **size)


def _is_near(resting, wanted, tolerance):
    """Whether the offers that rest are those that should, give or take the tolerance in price."""
    sides = {order.side: order.limit_price for order in resting}
    return len(resting) == len(wanted) and all(
        abs(sides.get(offer.action, float("inf")) - offer.limit_price) <= tolerance for offer in wanted
    )
