"""A made-up market of one symbol: an order book and the trades in it, moved by a seeded random walk.

A latent value leads: it trends, keeps to a range, rests or bursts for some seconds each. Takers know it a
little and buy below it, so the flow of orders tells something about the next seconds; makers follow
with their quotes after that. Whoever trades on the flow has an edge before costs, and costs eat most of it.

The same seed gives the same market to the last digit on every machine; see `apps.chance` for how. Prices are
whole ticks and sizes whole lots.
"""

from collections.abc import Iterator
from math import floor, sqrt

import msgspec

from apps.chance import Chance
from engine.ticks import BUY
from recorder.venues.kraken_frames import Day, Deal, Levels, PairRules

STEP_NS = 50_000_000
"""At most one thing happens in a market within this time."""

_STEP_S = STEP_NS / 1e9
_LEVELS_SHOWN = 10
_LEVELS_KEPT = 24
_LEVELS_EATEN_MAX = 3
_SPREAD_MAX = 5
_SELL = -BUY
_VALUE_MIN_GAPS = 50.0 * _LEVELS_KEPT

_TAKES, _RESTS, _WITHDRAWS = 0.03, 0.08, 0.03
"""Odds of a market order, a limit order, a cancellation within one step, at usual activity."""
_REQUOTES_WIDE, _REQUOTES_STALE, _REQUOTES_IDLE = 0.4, 0.09, 0.01
"""Odds that makers quote anew: the spread is too wide, the value left the quotes, nothing is wrong."""
_LAG_MAX = 0.7
"""Quotes that lag the value by so many standard deviations press takers as hard as can be."""
_DRIFT_KNOWN = 1.5
"""How hard a drift of one standard deviation a second presses them."""


class Temper(msgspec.Struct, frozen=True):
    """How a market behaves for a while.

    drift:       of the latent value, in standard deviations a second; its sign is drawn.
    reversion:   share of the way back to where the stretch began, a second.
    volatility:  times the pair's own.
    activity:    times the usual number of orders.
    """

    drift: float
    reversion: float
    volatility: float
    activity: float


# Calm, keeping to a range, trending, bursting.
TEMPERS = (
    Temper(drift=0.0, reversion=0.02, volatility=0.4, activity=0.45),
    Temper(drift=0.0, reversion=0.30, volatility=0.9, activity=0.85),
    Temper(drift=0.25, reversion=0.0, volatility=0.9, activity=1.1),
    Temper(drift=0.5, reversion=0.0, volatility=2.4, activity=2.4),
)
_TEMPER_ODDS = (0.28, 0.62, 0.90, 1.0)
"""Cumulative, in the order of TEMPERS."""
_TEMPER_S = (8.0, 40.0)
"""The shortest and the longest stretch."""


class PairModel(msgspec.Struct, frozen=True, kw_only=True):
    """A pair and how it moves.

    price:       where it starts, in ticks; the value never falls below 1,200 gaps, so that all levels are positive.
    volatility:  standard deviation of the latent value over one second, in ticks.
    gap:         typical distance between neighboring levels, in ticks.
    qty:         median size of a resting order, in lots.
    qty_step:    sizes are multiples of it, in lots.
    first_id:    of the first trade.
    """

    rules: PairRules
    price: int
    volatility: float
    gap: float
    qty: int
    qty_step: int
    first_id: int = 1


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one event did to a market.

    ts:          the venue's time, ns UTC.
    deals:       the matches, in order of price, away from the touch; empty where nobody took.
    bids, asks:  the shown levels that changed; 0 lots for those that are gone, none for those pushed out.
    is_touch:    whether the best bid or ask has another price or size.
    """

    ts: int
    deals: tuple[Deal, ...]
    bids: Levels
    asks: Levels
    is_touch: bool


def steps(start_ns: int, seconds: float) -> Iterator[int]:
    """The beginnings of the steps of a stretch of time."""
    return iter(range(start_ns, start_ns + int(seconds * 1e9), STEP_NS))


class SimulatedMarket:
    """One symbol's book and trades; `advance` is the only thing that moves it."""

    def __init__(self, model: PairModel, seed: int) -> None:
        self.model = model
        self._chance = Chance(f"{seed} {model.rules.symbol}")
        self._value = float(model.price)
        self._anchor = self._value
        self._temper = TEMPERS[0]
        self._drift = 0.0
        self._temper_ends_ns = 0
        self._sides: dict[int, dict[int, int]] = {BUY: {}, _SELL: {}}
        self._next_id = model.first_id
        self.day = Day(model.price, model.price, model.price, model.price, 0, 0)
        self._requote()

    def shown(self, side: int) -> list[tuple[int, int]]:
        """The best levels of a side as the venue shows them, best first."""
        return sorted(self._sides[side].items(), reverse=side == BUY)[:_LEVELS_SHOWN]

    def advance(self, now_ns: int) -> Change | None:
        """Lets one step pass that begins at `now_ns`, and tells what happened in it, if anything was seen."""
        self._move_value(now_ns)
        before = {side: self.shown(side) for side in (BUY, _SELL)}
        ts = now_ns + int(self._chance.uniform() * STEP_NS)
        deals = self._act(ts)
        after = {side: self.shown(side) for side in (BUY, _SELL)}
        if before == after:
            return None
        is_touch = any(before[side][0] != after[side][0] for side in (BUY, _SELL))
        bids, asks = (_difference(before[side], after[side], side) for side in (BUY, _SELL))
        return Change(ts, deals, bids, asks, is_touch)

    # The latent value

    def _move_value(self, now_ns: int) -> None:
        if now_ns >= self._temper_ends_ns:
            self._change_temper(now_ns)
        sigma, temper = self.model.volatility, self._temper
        pull = temper.reversion * (self._anchor - self._value)
        noise = sigma * temper.volatility * sqrt(_STEP_S) * self._chance.normal()
        self._value += (sigma * self._drift + pull) * _STEP_S + noise
        self._value = max(self._value, _VALUE_MIN_GAPS * self.model.gap)

    def _change_temper(self, now_ns: int) -> None:
        odds = self._chance.uniform()
        self._temper = next(temper for temper, most in zip(TEMPERS, _TEMPER_ODDS, strict=True) if odds < most)
        self._drift = self._temper.drift * self._side(0.5)
        self._anchor = self._value
        shortest, longest = _TEMPER_S
        seconds = shortest + (longest - shortest) * self._chance.uniform()
        self._temper_ends_ns = now_ns + int(seconds * 1e9)

    # Orders

    def _act(self, ts: int) -> tuple[Deal, ...]:
        """At most one order, and the matches that it makes."""
        bid, ask = self._best(BUY), self._best(_SELL)
        # -1 to 1: how far the value has run away from the quotes, and where it is going.
        lag = (self._value - (bid + ask) / 2) / (_LAG_MAX * self.model.volatility)
        pressure = min(max(lag + _DRIFT_KNOWN * self._drift, -1.0), 1.0)
        # What happens, each with its odds; takers come the more, the more there is to take.
        busy = self._temper.activity
        requotes = _requote_odds(bid, ask, self._value)
        takes = requotes + _TAKES * busy * (0.4 + 1.8 * abs(pressure))
        rests = takes + _RESTS * busy
        chance = self._chance.uniform()
        if chance < requotes:
            self._requote()
        elif chance < takes:
            return self._take(self._side(0.5 + 0.45 * pressure), ts)
        elif chance < rests:
            self._rest(self._side(0.5 + 0.45 * pressure))
        elif chance < rests + _WITHDRAWS * busy:
            self._withdraw(self._side(0.5 - 0.45 * pressure))
        return ()

    def _requote(self) -> None:
        """Makers pull what lies on the wrong side of the value, and quote around it."""
        spread = 1 + min(int(self._chance.exponential() * (0.8 + 0.8 * self._temper.volatility)), _SPREAD_MAX - 1)
        bid = floor(self._value - spread / 2.0)
        for side, best in ((BUY, bid), (_SELL, bid + spread)):
            levels = self._sides[side]
            for price in [price for price in levels if (price - best) * side > 0]:
                del levels[price]
            if best not in levels:
                levels[best] = self._qty()
            self._fill(side)

    def _rest(self, side: int) -> None:
        """A limit order, mostly some levels behind the touch, now and then inside the spread."""
        best, other = self._best(side), self._best(-side)
        price = best - side * (int(self._chance.exponential() * 4.0 * self.model.gap) - 1)
        if (other - price) * side <= 0:
            price = best
        levels = self._sides[side]
        levels[price] = levels.get(price, 0) + self._qty()
        self._fill(side)

    def _withdraw(self, side: int) -> None:
        """A shown level is canceled, or half of it."""
        price, qty = self.shown(side)[int(self._chance.uniform() * _LEVELS_SHOWN)]
        half = qty // 2 // self.model.qty_step * self.model.qty_step
        if half and self._chance.uniform() < 0.35:
            self._sides[side][price] = half
        else:
            del self._sides[side][price]
        self._fill(side)

    def _take(self, side: int, ts: int) -> tuple[Deal, ...]:
        """A market order eats the other side, at most a few levels, and what is left of it is canceled."""
        left = self._qty()
        deals = []
        levels = self._sides[-side]
        for price, resting in self.shown(-side)[:_LEVELS_EATEN_MAX]:
            qty = min(left, resting)
            deals.append(self._deal(side, price, qty, ts))
            left -= qty
            levels[price] = resting - qty
            if levels[price] == 0:
                del levels[price]
            if left == 0:
                break
        self._fill(-side)
        return tuple(deals)

    def _deal(self, side: int, price: int, qty: int, ts: int) -> Deal:
        day, trade_id = self.day, self._next_id
        self._next_id += 1
        low, high = min(day.low, price), max(day.high, price)
        self.day = Day(day.open, price, low, high, day.volume + qty, day.turnover + price * qty)
        return Deal(trade_id, side, price, qty, ts)

    def _fill(self, side: int) -> None:
        """Keeps the side as deep as it should be: more levels than are shown, and none far away."""
        levels = self._sides[side]
        if len(levels) < _LEVELS_KEPT:
            worst = self._worst(side)
            while len(levels) < _LEVELS_KEPT:
                worst -= side * (1 + int(self._chance.exponential() * self.model.gap))
                levels[worst] = self._qty()
        while len(levels) > _LEVELS_KEPT:
            del levels[self._worst(side)]

    def _best(self, side: int) -> int:
        levels = self._sides[side]
        return max(levels) if side == BUY else min(levels)

    def _worst(self, side: int) -> int:
        levels = self._sides[side]
        return min(levels) if side == BUY else max(levels)

    def _qty(self) -> int:
        """Log-normal, in whole steps and at least one."""
        steps = int(self._chance.log_normal(self.model.qty / self.model.qty_step))
        return max(steps, 1) * self.model.qty_step

    def _side(self, odds: float) -> int:
        """Buy with the given odds, else sell."""
        return BUY if self._chance.uniform() < odds else _SELL


def _requote_odds(bid: int, ask: int, value: float) -> float:
    if ask - bid > _SPREAD_MAX:
        return _REQUOTES_WIDE
    return _REQUOTES_IDLE if bid < value < ask else _REQUOTES_STALE


def _difference(before: Levels, after: Levels, side: int) -> list[tuple[int, int]]:
    """The levels to send so that whoever had `before` has `after`: first those gone, then those set.

    A level that was merely pushed out by better ones is not sent: the reader cuts it off himself.
    """
    was, now = dict(before), dict(after)
    gone = [(price, 0) for price in was if price not in now and not _is_pushed_out(price, after, side)]
    return gone + [level for level in after if was.get(level[0]) != level[1]]


def _is_pushed_out(price: int, after: Levels, side: int) -> bool:
    return len(after) == _LEVELS_SHOWN and (after[-1][0] - price) * side > 0
