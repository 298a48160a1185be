"""Finds strategy files, checks them, and makes a fresh module of each for every run."""

import contextvars
import copy
import functools
import hashlib
import importlib.util
import inspect
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from apps.config_file import RiskFile
from apps.containment import contained
from apps.problems import UserProblem, nearest
from engine import legacy
from engine.signals import Signal, Strategy, Trigger, trigger_of
from engine.snapshot import Snapshot

PARAMETERS = ("data", "config", "state", "portfolio")
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAME_MAX = 100
"""Characters of a strategy's name: files are named after it."""
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_NAME_MAX - 1}}}")
_SHOWN_MAX = 200
"""Characters of a value in a sentence about it."""
Said = Mapping[str, Any]
"""What stands in a strategy file, by name."""


class StrategyFile(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy and the code it came from.

    source:  the file's bytes, which a run keeps a copy of.
    risk:    its RISK, the limits it asks for.
    """

    strategy: Strategy
    path: Path
    source: bytes
    risk: Mapping[str, Any] = {}

    @property
    def sha256(self) -> str:
        """What names this version of the code."""
        return hashlib.sha256(self.source).hexdigest()


def find_strategies(places: Sequence[Path]) -> list[Path]:
    """The strategy files in `places`, each a file or a folder, in the order of their names.

    In a folder every `.py` file counts that does not begin with an underscore or a dot.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(path for path in place.glob("*.py") if path.name[0] not in "_.")
        elif place.is_file():
            found.append(place)
        else:
            raise UserProblem(f"{place}: expected a strategy file or a folder of them, found nothing there")
    if not found:
        named = ", ".join(str(place) for place in places)
        raise UserProblem(f"{named}: expected at least one strategy (a .py file with generate_signal), found none")
    return found


def load_strategies(paths: Iterable[Path]) -> list[StrategyFile]:
    """A fresh module of each file, in the order of their strategies' names; two must not share one."""
    loaded: dict[str, StrategyFile] = {}
    for path in paths:
        file = load_strategy(path)
        name = file.strategy.name
        if name in loaded:
            raise UserProblem(f"{path}: expected a strategy name of its own, found {name!r} in {loaded[name].path} too")
        loaded[name] = file
    return [loaded[name] for name in sorted(loaded)]


def load_strategy(path: Path) -> StrategyFile:
    """The strategy in one file, its module executed afresh. Raises UserProblem for anything that is wrong with it."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserProblem(f"{path}: expected a strategy file, found {error.strerror or error}") from error
    context = contextvars.Context()
    said = context.run(_executed, path, source)
    own = _kept_apart(source, context)
    function = said.get("generate_signal")
    if not callable(function):
        found = "no such name" if function is None else f"{type(function).__name__} {_shown(function)}"
        raise UserProblem(f"{path}: expected a function generate_signal(data, config, state), found {found}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UserProblem(f"{path}: expected a plain function generate_signal, found an async one, which nobody awaits")
    asked, wants = _by_place(path, function)
    strategy = Strategy(
        name=_name(path, said),
        version=_version(path, said),
        symbols=_symbols(path, said),
        config=_config(path, said),
        trigger=_trigger(path, said),
        generate_signal=own(asked),
        wants=wants,
        on_start=_hook(path, said, "on_start", own),
        on_fill=_hook(path, said, "on_fill", own),
        on_stop=_hook(path, said, "on_stop", own),
        path=str(path),
        first_line=function.__code__.co_firstlineno if isinstance(function, FunctionType) else 0,
    )
    return StrategyFile(strategy=strategy, path=path, source=source, risk=_risk(path, said))


def _kept_apart(source: bytes, context: contextvars.Context) -> Wrap:
    """What makes a function of the file run in `context`, where the file speaks of Decimal: the context it sets is then
    neither its neighbors' nor that of those who print. Others are spared the 60 ns a call.
    """
    return functools.partial(functools.partial, context.run) if b"decimal" in source else lambda function: function


def _executed(path: Path, source: bytes) -> Said:
    """The names of the file's module, which has a name itself that no library has, whatever the file is called."""
    _supply_predecessor()
    module = ModuleType(f"wspt_strategy_{path.stem}")
    module.__file__ = str(path)
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two for what nests too deeply
        line = getattr(error, "lineno", None)
        where = f"{path}:{line}" if line else str(path)
        found = getattr(error, "msg", None) or str(error) or "what nests too deeply"
        raise UserProblem(f"{where}: expected Python, found {found}") from error
    before = list(sys.path)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        with contained(), _own_chance():  # contained as when it runs
            exec(code, module.__dict__)  # running the user's strategy is what we are for
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        sys.modules.pop(module.__name__, None)
        line = _line_in(path, error)
        raise UserProblem(
            f"{path}:{line}: expected to load it, found {type(error).__name__}: {_first_line(error)}"
        ) from error
    finally:
        sys.path[:] = before  # the predecessor's files prepend their parent folder, where other names may live
    return vars(module)


@contextmanager
def _own_chance() -> Iterator[None]:
    """What is imported as `random` is a module of one's own: what a strategy draws from the numbers that it has seeded
    must not depend on who else draws, nor in how many processes.
    """
    spec = importlib.util.find_spec("random")
    assert spec is not None and spec.loader is not None
    common, own = random, importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    sys.modules["random"] = own
    try:
        yield
    finally:
        sys.modules["random"] = common


def _line_in(path: Path, error: BaseException) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] or 0 if lines else 0


def _first_line(error: BaseException) -> str:
    return (_asked(str, error).splitlines() or [""])[0]


def _shown(value: object) -> str:
    """A value of the file's as it would be written in Python, shortened."""
    text = _asked(repr, value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]} ..."


def _asked(what: Callable[[Any], str], value: object) -> str:
    """Its `str` or `repr`, which is the file's own and may fail like anything of it."""
    try:
        return what(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"<{type(error).__name__} while it was asked what it is>"


def _supply_predecessor() -> None:
    """Let `from ws_tester.types import DataSnapshot, Signal, Candle, Trade` find our types."""
    if "ws_tester" in sys.modules:
        return
    package, types = ModuleType("ws_tester"), ModuleType("ws_tester.types")
    for name, kind in {
        "DataSnapshot": Snapshot,
        "Signal": Signal,
        "Candle": legacy.Candle,
        "Trade": legacy.Trade,
        "OrderbookSnapshot": legacy.OrderbookSnapshot,
    }.items():
        setattr(types, name, kind)
    package.types = types  # type: ignore[attr-defined]  # a module made here has what we give it
    sys.modules["ws_tester"], sys.modules["ws_tester.types"] = package, types


def _name(path: Path, said: Said) -> str:
    name = said.get("STRATEGY_NAME", path.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserProblem(
            f"{path}: expected a strategy name of letters, digits, '_', '-' or '.', at most {_NAME_MAX} of them,"
            f" found {_shown(name)}"
        )
    return str.__str__(name)


def _version(path: Path, said: Said) -> str:
    version = said.get("STRATEGY_VERSION", "0")
    text = _asked(str, version)
    if not _is_utf8(text):
        raise UserProblem(f"{path}: expected STRATEGY_VERSION to be text, found {_shown(version)}")
    return text


def _symbols(path: Path, said: Said) -> tuple[str, ...] | None:
    symbols = said.get("SYMBOLS")
    if symbols is None:
        return None
    if not isinstance(symbols, list | tuple) or not symbols or not all(map(_is_utf8, symbols)):
        raise UserProblem(f"{path}: expected SYMBOLS to be a list such as ['BTC/USD'], found {_shown(symbols)}")
    return tuple(map(str.__str__, symbols))  # numpy's kind of text, for one, no manifest can hold


def _is_utf8(value: object) -> bool:
    """Whether it is text that a file can hold."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _config(path: Path, said: Said) -> Mapping[str, Any]:
    config = said.get("CONFIG", {})
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise UserProblem(f"{path}: expected CONFIG to be a dict with text keys, found {_shown(config)}")
    try:
        return copy.deepcopy(config)  # each desk gets a copy of its own
    except Exception as error:
        found = f"{type(error).__name__}: {_first_line(error)}"
        raise UserProblem(f"{path}: expected CONFIG to hold plain values, found {found}") from error


def _risk(path: Path, said: Said) -> Mapping[str, Any]:
    """The limits that the file asks for, those that there are."""
    given = said.get("RISK", {})
    known = [field.name for field in msgspec.structs.fields(RiskFile)]
    for name in given if isinstance(given, dict) else ():
        if name not in known:
            hint = nearest(name, known) if isinstance(name, str) else ""
            raise UserProblem(f"{path}: expected RISK to have {', '.join(known)}, found {_shown(name)}{hint}")
    try:
        return msgspec.structs.asdict(msgspec.convert(given, RiskFile))
    except msgspec.ValidationError as error:
        raise UserProblem(f"{path}: RISK: {error}") from error


def _trigger(path: Path, said: Said) -> Trigger:
    text = said.get("TRIGGER", "tick")
    try:
        return trigger_of(str.__str__(text) if isinstance(text, str) else _shown(text))
    except ValueError as error:
        raise UserProblem(f"{path}: TRIGGER: {error}") from error


def _hook(path: Path, said: Said, name: str, own: Wrap) -> Callable[..., Any] | None:
    hook = said.get(name)
    if hook is not None and not callable(hook):
        raise UserProblem(f"{path}: expected {name} to be a function, found {_shown(hook)}")
    return hook if hook is None else own(hook)


def _by_place(path: Path, function: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """The function as one that takes its arguments by position, and which of ours to give to it.

    Its parameters are known by their names, or by their places where there are three and those that have our names
    stand in our places. Further ones keep their defaults.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except Exception as error:  # what a callable of the file's own says of itself may be anything
        found = _shown(function)
        raise UserProblem(f"{path}: expected generate_signal to be a function in Python, found {found}") from error
    required = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
    asked = [parameter for parameter in parameters if parameter.name in PARAMETERS or parameter in required]
    ours = tuple(parameter.name for parameter in asked if parameter.name in PARAMETERS)
    if asked == parameters[: len(asked)] and all(parameter.kind in _BY_POSITION for parameter in asked):
        if len(ours) == len(asked):
            return function, ours
        if _are_three(parameters[:3]) and len(asked) <= 3:
            return function, PARAMETERS[:3]
    if len(ours) == len(asked) and all(parameter.kind == inspect.Parameter.KEYWORD_ONLY for parameter in asked):
        return lambda *given: function(**dict(zip(ours, given, strict=True))), ours
    names = ", ".join(map(str, parameters))
    raise UserProblem(
        f"{path}: expected generate_signal to take some of data, config, state, portfolio, found ({names})"
    )


def _are_three(parameters: Sequence[inspect.Parameter]) -> bool:
    """Whether these can be data, config and state under other names."""
    return len(parameters) == 3 and all(
        parameter.kind in _BY_POSITION and (parameter.name == ours or parameter.name not in PARAMETERS)
        for parameter, ours in zip(parameters, PARAMETERS[:3], strict=True)
    )
