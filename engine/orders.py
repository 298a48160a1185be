"""The sides and kinds an order can have, and its life as a table."""

BUYING = frozenset({"buy", "cover"})
"""Sides that take base units in; the others give them away."""

WAITING = frozenset({"stop", "stop_limit", "take_profit", "trailing_stop"})
"""Types that wait at the venue for a price before they trade."""

ORDER_LIFE: dict[str, frozenset[str]] = {
    "": frozenset({"OrderSubmitted"}),
    "OrderSubmitted": frozenset({"OrderRested", "OrderFilled", "OrderRejected", "OrderExpired", "OrderCanceled"}),
    "OrderRested": frozenset({"StopTriggered", "OrderFilled", "OrderCanceled", "OrderExpired"}),
    "StopTriggered": frozenset({"OrderRested", "OrderFilled", "OrderCanceled", "OrderExpired"}),
    "OrderFilled": frozenset({"OrderFilled", "OrderRested", "OrderCanceled", "OrderExpired"}),
    "OrderCanceled": frozenset(),
    "OrderExpired": frozenset(),
    "OrderRejected": frozenset(),
}
"""What may follow what in the ledger of one order. Only a fill with something `left` is followed by anything."""
