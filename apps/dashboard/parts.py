"""What a P&L is made of, as the pages call it and as `attribution` does."""

PARTS = {"price moved": "price_move", "spread": "spread", "slippage": "slippage", "fees": "fees", "P&L": "pnl"}
