"""Events as rows of the ledger's table in memory, for a reader who does not want a file of them."""

from collections.abc import Sequence

import pyarrow as pa

from engine.events import Event
from recorder.ledger_columns import SCHEMA, filled_columns, tag_of, whole_rows


def rows_of(events: Sequence[Event]) -> pa.Table:
    """A row an event, those of one type together, with every column of the ledger."""
    kinds = dict.fromkeys(map(type, events))
    alike = [[event for event in events if type(event) is kind] for kind in kinds]
    tables = [whole_rows(tag_of(type(same[0])), filled_columns(same)) for same in alike]
    # `SCHEMA.empty_table()` would import pandas, where that is installed.
    return pa.concat_tables([pa.Table.from_batches([], SCHEMA), *tables])
