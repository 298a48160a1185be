"""The sides an order can have, and its life as a table."""

BUYING = frozenset({"buy", "cover"})
"""Sides that take base units in; the others give them away."""

ORDER_LIFE: dict[str, frozenset[str]] = {
    "": frozenset({"OrderSubmitted"}),
    "OrderSubmitted": frozenset({"OrderRested", "OrderFilled", "OrderRejected", "OrderExpired"}),
    "OrderRested": frozenset({"OrderFilled", "OrderCanceled"}),
    "OrderFilled": frozenset(),
    "OrderCanceled": frozenset(),
    "OrderExpired": frozenset(),
    "OrderRejected": frozenset(),
}
"""What may follow what in the ledger of one order."""
