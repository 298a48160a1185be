"""A free question to a run: one SELECT over its own files, cut off where it would not end."""

import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from apps.queries import open_run, some
from recorder.answers import parquet_bytes

SECONDS_MOST = 30.0
ROWS_MOST = 100_000
MEMORY_MOST = "2GB"
"""A question that needs more is refused: a session may be running on the same machine."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a query gave.

    rows:       at most ROWS_MOST.
    is_number:  of each column.
    parquet:    the same rows as a file.
    """

    names: list[str]
    rows: list[tuple[Any, ...]]
    is_number: list[bool]
    has_more: bool
    seconds: float
    parquet: bytes


def ask(run: str, sql: str) -> Answer:
    """The answer of one SELECT. Raises UserProblem for anything else, and for what takes too long."""
    began = time.perf_counter()
    con = open_run(Path(run), memory_most=MEMORY_MOST)
    watch = threading.Timer(SECONDS_MOST, con.interrupt)
    watch.start()
    try:
        found, has_more = some(con, sql, ROWS_MOST)
    finally:
        watch.cancel()
        con.close()
    rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True)) if found.num_rows else []
    return Answer(
        names=list(found.column_names),
        rows=rows,
        is_number=[_is_number(str(kind)) for kind in found.schema.types],
        has_more=has_more,
        seconds=time.perf_counter() - began,
        parquet=parquet_bytes(found),
    )


def _is_number(kind: str) -> bool:
    """Whether a type of Arrow's, by its name, is one of numbers."""
    return kind.startswith(("int", "uint", "float", "double", "decimal", "halffloat"))
