"""The dashboard's process: Streamlit's own command, while the first run is being read already."""

import os
import sys
from threading import Thread

from streamlit.web.cli import main

from apps.dashboard.ahead import read_ahead


def _end_with_parent() -> None:
    """Whoever began us holds the other end of stdin, and lets go of it even where it is killed."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    Thread(target=_end_with_parent, name="parent", daemon=True).start()
    read_ahead()
    main(prog_name="streamlit")
