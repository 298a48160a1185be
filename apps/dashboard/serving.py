"""The dashboard as a process: Streamlit with our script, our colors, and no ears beyond this machine unless told."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Self

from apps.dashboard.choice import CHOSEN, HOME
from apps.problems import UserProblem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORT = 8501
_NICENESS = 10
_LOOK_EVERY_S = 0.05
_SCRIPT = Path(__file__).with_name("app.py")

_OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "type",
    "client.showErrorLinks": "false",
    "runner.magicEnabled": "false",
    # A look through every object there is, after each redrawing of a fragment, took nine tenths of the Python time.
    "runner.postScriptGC": "false",
    "logger.level": "warning",
    "theme.light.primaryColor": "#1c7fc2",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f5f4f0",
    "theme.light.textColor": "#2b2a27",
    "theme.dark.primaryColor": "#56b4e9",
    "theme.dark.backgroundColor": "#161513",
    "theme.dark.secondaryBackgroundColor": "#23211f",
    "theme.dark.textColor": "#ece9e2",
}


def serve(home: Path, run: str, *, host: str, port: int) -> None:
    """Be the dashboard until Ctrl+C or SIGTERM; the address goes to stdout, a warning about it to stderr."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with Dashboard(home, run, host=host, port=port) as dashboard:
        if host not in LOOPBACK:
            print(f"wspt: everybody who reaches {host} can read these runs, and label and delete them", file=sys.stderr)
        dashboard.wait_until_it_listens()
        print(dashboard.url, flush=True)
        with suppress(KeyboardInterrupt):
            dashboard.wait()


class Dashboard:
    """The dashboard in a process of its own; as a context manager it ends with it.

    home:  the folder of runs.
    run:   the run to begin with, a name in `home` or a folder; empty for the newest.
    port:  where to listen; 0 takes a free one.
    gives_way:  whether everybody else on the machine goes first.

    Raises UserProblem where Streamlit is not installed or the address cannot be listened on.
    """

    def __init__(
        self, home: Path, run: str, *, host: str = LOOPBACK[0], port: int = PORT, gives_way: bool = False
    ) -> None:
        if find_spec("streamlit") is None:
            raise UserProblem("dashboard: expected Streamlit, found none; `uv sync --extra dashboard` installs it")
        port = _free_port(host, port)
        self._address = (host, port)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        options = {**_OPTIONS, "server.address": host, "server.port": str(port)}
        words = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "apps.dashboard.process", "run", str(_SCRIPT), *words],
            env={**os.environ, HOME: str(home.resolve()), CHOSEN: run},
            stdin=subprocess.PIPE,  # which ends with us, and it with that
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl+C at a terminal goes to everybody there; this one is told by us, when it is its turn.
            start_new_session=True,
        )
        self._is_closing = False
        Thread(target=self._pass_on, name="dashboard", daemon=True).start()
        if gives_way:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)

    def wait_until_it_listens(self) -> None:
        """Until a browser can connect: Streamlit takes its seconds to begin."""
        while self._process.poll() is None:
            with suppress(OSError), socket.create_connection(self._address, timeout=1):
                return
            time.sleep(_LOOK_EVERY_S)
        self.wait()

    def wait(self) -> None:
        """Until it ends by itself, which is a mistake."""
        if self._process.wait():
            raise UserProblem(f"dashboard: expected it to go on, found it ended with {self._process.returncode}")

    def close(self) -> None:
        """End it. Without effect the second time."""
        self._is_closing = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pass_on(self) -> None:
        """What it complains of, but not about the browsers that it leaves behind when it is ended."""
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                if not self._is_closing:
                    sys.stderr.write(line.decode(errors="replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as server:
            number: int = server.getsockname()[1]
            return number
    except OSError as error:
        raise UserProblem(
            f"--host {host} --port {port}: expected an address to listen on, found: {os.strerror(error.errno or 0)}"
        ) from error
