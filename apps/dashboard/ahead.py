"""Reading the run that the first browser will ask for, while that is still on its way."""

from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from apps.dashboard.choice import home, named_run, path_of
from apps.memory.run_memory import RunMemory
from recorder.runs import list_runs

_ahead: dict[Path, Future[RunMemory]] = {}


def read_ahead() -> None:
    """Begin to read, in a thread, the run that a session begins with where its address names none."""
    name = named_run() or next((run.name for run in list_runs(home())), "")
    if name:
        future = _ahead[path_of(name)] = Future()
        Thread(target=_read, args=(path_of(name), future), name="ahead", daemon=True).start()


def memory_ahead(path: Path) -> RunMemory | None:
    """The memory of a run that is being read ahead, once that is done: for whoever asks first. None of any other."""
    future = _ahead.pop(path, None)
    return None if future is None else future.result()


def _read(path: Path, future: Future[RunMemory]) -> None:
    try:
        run = RunMemory(path)
        run.look()
        future.set_result(run)
    except BaseException as error:
        future.set_exception(error)
