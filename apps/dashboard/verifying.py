"""`wspt verify` for a page: a process of its own, as it runs strategies, that says how far it is.

As a program it prints a JSON object a line: `share` of the ticks now and then, and last `verdict` or `problem`.
"""

import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from threading import Thread

import msgspec

EVERY_S = 0.2


class Report(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of it."""

    share: float | None = None
    verdict: str | None = None
    problem: str | None = None


class Verification:
    """A run being verified, or one that was.

    share:   of its ticks that were replayed, 0 to 1.
    result:  the verdict or the problem in a sentence; empty until it is known.
    is_identical:  None until it is known.
    """

    def __init__(self, run: Path) -> None:
        self.share = 0.0
        self.result = ""
        self.is_identical: bool | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "apps.dashboard.verifying", str(run)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._listener = Thread(target=self._listen, name="verification", daemon=True)
        self._listener.start()

    def wait(self) -> None:
        """Until the result is known."""
        self._listener.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                report = msgspec.json.decode(line, type=Report)
                self.share = report.share if report.share is not None else self.share
                if report.verdict is not None or report.problem is not None:
                    self.is_identical = (report.verdict or "").startswith("identical")
                    self.result = report.verdict or report.problem or ""
        code = self._process.wait()
        self.result = self.result or f"It ended with {code} and no verdict."


def _main(run: Path) -> None:
    from apps.verify import verify  # noqa: PLC0415 - the page needs the class above, and not the engine
    from recorder.problems import Problem  # noqa: PLC0415
    from recorder.runs import read_manifest  # noqa: PLC0415

    out, done, said = sys.stdout, 0, 0.0

    def say(report: Report) -> None:
        print(msgspec.json.encode(report).decode(), file=out, flush=True)

    def progress(ticks: int) -> None:
        nonlocal done, said
        done += ticks
        if time.monotonic() - said >= EVERY_S:
            said = time.monotonic()
            say(Report(share=min(done / total, 1.0)))

    try:
        total = max(read_manifest(run).ticks, 1)
        with redirect_stdout(sys.stderr):  # what strategies print is no report
            verdict = verify(run, progress=progress)
    except Problem as problem:
        say(Report(problem=str(problem)))
        return
    if verdict.first_difference is None:
        say(Report(share=1.0, verdict=f"identical: {verdict.events:,} events, digest {verdict.digest}"))
    else:
        at = verdict.first_difference
        say(Report(share=1.0, verdict=f"different: first at event {at.seq} of {at.strategy}"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
