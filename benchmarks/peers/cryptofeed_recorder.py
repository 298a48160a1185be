"""cryptofeed's recorder of raw messages, as a client of the load venue: a peer to compare with.

Arguments: the port, the file for the count, the folder to record into. Runs in a Python that has cryptofeed.
"""

import asyncio
import json
import mmap
import struct
import sys
import time
from pathlib import Path

from cryptofeed.connection import WSAsyncConn
from cryptofeed.raw_data_collection import AsyncFileCallback

SYMBOLS = ["BTC/USD", "XRP/USD"]
REQUESTS = [
    {"method": "subscribe", "params": {"channel": "instrument"}, "req_id": 1},
    *({"method": "subscribe", "params": {"channel": name, "symbol": SYMBOLS}} for name in ("book", "ticker", "trade")),
]


async def main(port: str, counter: str, folder: str) -> None:
    """Record until killed; the counter file has messages received, and the first and the last one's time in ns."""
    connection = WSAsyncConn("wss://nowhere", "KRAKEN")
    connection.address = f"ws://127.0.0.1:{port}"  # it insists on TLS, which has no part in this comparison
    connection.raw_data_callback = AsyncFileCallback(folder)
    with Path(counter).open("r+b") as file, mmap.mmap(file.fileno(), 24) as count:
        async with connection.connect():
            for request in REQUESTS:
                await connection.write(json.dumps(request))
            received, first = 0, 0
            async for _ in connection.read():
                received += 1
                now = time.monotonic_ns()
                first = first or now
                struct.pack_into("<qqq", count, 0, received, first, now)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
