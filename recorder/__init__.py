"""Every byte in and out: venues' frames, tapes, ledgers and run folders."""
