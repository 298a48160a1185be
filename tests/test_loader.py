"""The strategy door: what a file may look like, and the one sentence that says what is wrong with it."""

import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from apps.loader import find_strategies, load_strategies, load_strategy
from apps.problems import UserProblem
from engine.signals import spelled, trigger_of

ODD = "class Odd:\n    def __repr__(self): raise SystemExit\n"
IDLE = "def generate_signal(data):\n    return None\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a strategy file and gives its path."""

    def write(source: str | bytes, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        return path

    return write


# -- what a module may leave out ---------------------------------------------------------------------------------


def test_everything_but_generate_signal_has_a_default(write: Write) -> None:
    strategy = load_strategy(write(IDLE)).strategy

    assert (strategy.name, strategy.version, strategy.symbols, strategy.config) == ("mine", "0", None, {})
    assert (strategy.trigger.kind, strategy.trigger.interval_ns) == ("tick", 0)
    assert (strategy.on_start, strategy.on_fill, strategy.on_stop) == (None, None, None)


def test_what_a_module_says_is_taken(write: Write) -> None:
    source = """
STRATEGY_NAME, STRATEGY_VERSION, SYMBOLS = "dip-1.2", 3, ["BTC/USD"]
CONFIG, TRIGGER = {"size": 5.0}, "every:500ms"
def generate_signal(data, config, state): ...
def on_start(config, state): ...
def on_fill(fill, state): ...
def on_stop(state): ...
"""
    strategy = load_strategy(write(source)).strategy

    assert (strategy.name, strategy.version, strategy.symbols) == ("dip-1.2", "3", ("BTC/USD",))
    assert (dict(strategy.config), strategy.trigger.interval_ns) == ({"size": 5.0}, 500_000_000)
    assert None not in (strategy.on_start, strategy.on_fill, strategy.on_stop)


def test_a_file_is_known_by_the_hash_of_its_bytes(write: Write) -> None:
    assert load_strategy(write(IDLE)).sha256 != load_strategy(write(IDLE + "\n")).sha256


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("book", "book"),
        ("candle:1m", "candle:1m"),
        ("candle:90s", "candle:90s"),
        ("every:500ms", "every:500ms"),
        ("every:48h", "every:2d"),
        ("candle:3600s", "candle:1h"),
    ],
)
def test_a_trigger_is_told_in_the_largest_unit_that_fits(given: str, told: str) -> None:
    assert spelled(trigger_of(given)) == told
    assert trigger_of(told) == trigger_of(given)


# -- parameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "wants"),
    [
        ("data", ("data",)),
        ("", ()),
        ("data, config, state", ("data", "config", "state")),
        ("portfolio, state, data", ("portfolio", "state", "data")),
        ("config, data, portfolio, state", ("config", "data", "portfolio", "state")),
        ("data, state={}", ("data", "state")),
        ("state, data, verbose=False", ("state", "data")),
        ("snapshot, settings, memory", ("data", "config", "state")),
        ("data, cfg, memory", ("data", "config", "state")),
        ("snapshot, settings, memory=None", ("data", "config", "state")),
        ("a, b, c, debug=False", ("data", "config", "state")),
    ],
)
def test_parameters_are_given_by_name_or_three_by_place(parameters: str, wants: tuple[str, ...], write: Write) -> None:
    assert load_strategy(write(f"def generate_signal({parameters}): ...")).strategy.wants == wants


@pytest.mark.parametrize(
    "parameters",
    [
        "data, market",
        "a, b",
        "a, b, c, d",
        "snapshot, state, config",  # by place they would be swapped
        "data, verbose=False, state=None",  # by place the state would be verbose
        "*arguments",
        "data, **options",
        "data, *, state",  # half by place, half by name
    ],
)
def test_parameters_that_could_be_mistaken_are_refused(parameters: str, write: Write) -> None:
    with pytest.raises(UserProblem, match=r"expected generate_signal to take some of data, config, state, portfolio"):
        load_strategy(write(f"def generate_signal({parameters}): ..."))


def test_parameters_that_come_by_name_alone_are_given_so(write: Write) -> None:
    strategy = load_strategy(write("def generate_signal(*, state, data, depth=3): return data, state, depth")).strategy

    assert strategy.wants == ("state", "data")
    assert strategy.generate_signal("the state", "the data") == ("the data", "the state", 3)


def test_a_method_or_another_callable_is_asked_like_a_function(write: Write) -> None:
    source = "class Idle:\n    def decide(self, data, state): ...\ngenerate_signal = Idle().decide\n"

    assert load_strategy(write(source)).strategy.wants == ("data", "state")


def test_what_a_module_makes_up_when_it_is_asked_is_not_asked_for(write: Write) -> None:
    strategy = load_strategy(write(f"def __getattr__(name):\n    return 1 / 0\n{IDLE}")).strategy

    assert (strategy.name, strategy.symbols, strategy.on_fill) == ("mine", None, None)


def test_symbols_of_numpys_are_text(write: Write) -> None:
    strategy = load_strategy(write(f"import numpy as np\nSYMBOLS = [np.str_('BTC/USD')]\n{IDLE}")).strategy

    assert strategy.symbols == ("BTC/USD",)
    assert type(strategy.symbols[0]) is str


# -- each load is fresh ------------------------------------------------------------------------------------------


def test_each_load_makes_a_fresh_module(write: Write) -> None:
    path = write("CALLS = []\nCONFIG = {'calls': CALLS}\ndef generate_signal(data):\n    CALLS.append(data)\n")
    first, second = load_strategy(path).strategy, load_strategy(path).strategy

    first.generate_signal("a tick")

    assert first.generate_signal.__globals__["CALLS"] == ["a tick"]  # type: ignore[attr-defined]  # a function has them
    assert second.generate_signal.__globals__["CALLS"] == []  # type: ignore[attr-defined]


def test_the_config_of_a_module_is_not_the_config_that_is_handed_out(write: Write) -> None:
    strategy = load_strategy(write(f"CONFIG = {{'levels': [1, 2]}}\n{IDLE}")).strategy

    strategy.generate_signal.__globals__["CONFIG"]["levels"].append(3)  # type: ignore[attr-defined]

    assert strategy.config["levels"] == [1, 2]


def test_a_file_named_like_a_library_does_not_stand_in_for_it(write: Write) -> None:
    path = write(f"import random\nDICE = random.Random(7)\n{IDLE}", "random.py")

    assert load_strategy(path).strategy.name == "random"
    assert sys.modules["random"] is random


def test_a_dataclass_can_be_defined_in_a_strategy(write: Write) -> None:
    imports = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    path = write(f"{imports}@dataclass\nclass Level:\n    price: float\n{IDLE}")

    assert load_strategy(path).strategy.name == "mine"


@pytest.mark.parametrize("ending", [IDLE, "raise ValueError"])
def test_the_search_path_is_what_it_was_whatever_the_file_did_to_it(ending: str, write: Write) -> None:
    before = list(sys.path)
    path = write(f"import sys\nsys.path.insert(0, '/somewhere')\n{ending}")

    with suppress(UserProblem):
        load_strategy(path)

    assert sys.path == before


def test_the_current_folder_is_what_it_was_whatever_the_file_did_to_it(write: Write, tmp_path: Path) -> None:
    before = Path.cwd()

    load_strategy(write(f"import os\nos.chdir({str(tmp_path)!r})\n{IDLE}"))

    assert Path.cwd() == before


def test_calls_nest_at_least_as_deep_as_before_whatever_the_file_did_to_that(write: Write) -> None:
    before = sys.getrecursionlimit()

    load_strategy(write(f"import sys\nsys.setrecursionlimit(sys.getrecursionlimit() - 1)\n{IDLE}"))

    assert sys.getrecursionlimit() == before


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def generate_signal(data:\n", r"mine\.py:1: expected Python, found "),
        ("x = 1\nif x\n", r"mine\.py:2: expected Python, found expected ':'"),
        (b"x = '\xff'\n", r"mine\.py.*: expected Python, found "),
        (b"x = 1\0\n", r"mine\.py.*: expected Python, found "),
        ("x = " + "-" * 20_000 + "1\n", r"mine\.py.*: expected Python, found "),
        ("", r"expected a function generate_signal\(data, config, state\), found no such name"),
        ("generate_signal = 'BUY'\n", r"expected a function generate_signal.*, found str 'BUY'"),
        ("generate_signal = dict\n", r"expected generate_signal to be a function in Python, found <class 'dict'>"),
        ("\nimport no_such_library\n", r"mine\.py:2: .* found ModuleNotFoundError: No module named 'no_such_library'"),
        ("from engine import Sgnal\n", r"mine\.py:1: .* found ImportError: cannot import name 'Sgnal'"),
        ("from ws_tester.types import Nothing\n", r"mine\.py:1: .* found ImportError: cannot import name 'Nothing'"),
        ("def size():\n    return 1 / 0\nsize()\n", r"mine\.py:2: .* found ZeroDivisionError: division by zero"),
        ("class Odd(BaseException): ...\nraise Odd\n", r"mine\.py:2: .* found Odd: "),
        (
            "class Mute(Exception):\n    def __str__(self): return 1 / 0\nraise Mute\n",
            r"mine\.py:3: .* found Mute: <ZeroDivisionError while",
        ),
        ("async def generate_signal(data): ...\n", r"expected a plain function generate_signal, found an async one"),
        ("raise SystemExit('enough')\n", r"mine\.py:1: .* found SystemExit: enough"),
        (f"CONFIG = [1]\n{IDLE}", r"expected CONFIG to be a dict with text keys, found \[1\]"),
        (f"CONFIG = {{1: 2}}\n{IDLE}", r"expected CONFIG to be a dict with text keys, found \{1: 2\}"),
        (f"import sys\nCONFIG = {{'m': sys}}\n{IDLE}", r"expected CONFIG to hold plain values, found TypeError: "),
        (f"SYMBOLS = 'BTC/USD'\n{IDLE}", r"expected SYMBOLS to be a list such as \['BTC/USD'\], found 'BTC/USD'"),
        (f"SYMBOLS = []\n{IDLE}", r"expected SYMBOLS to be a list such as \['BTC/USD'\], found \[\]"),
        (f"RISK = {{'max_positon': 1}}\n{IDLE}", r"expected RISK to have .*, found 'max_positon'; .* 'max_position'\?"),
        (
            f"RISK = {{'max_open_orders': 1.5}}\n{IDLE}",
            r"RISK: Expected `int.*, got `float` - at `.*max_open_ord",
        ),
        (f"RISK = 5\n{IDLE}", r"RISK: Expected `object`, got `int`"),
        (f"SYMBOLS = [1]\n{IDLE}", r"expected SYMBOLS to be a list such as \['BTC/USD'\], found \[1\]"),
        (f"TRIGGER = 'candles:1m'\n{IDLE}", r"TRIGGER: expected tick, .*, found 'candles:1m'"),
        (f"TRIGGER = 'candle:1 minute'\n{IDLE}", r"TRIGGER: expected an interval such as 500ms.*, found '1 minute'"),
        (f"TRIGGER = 60\n{IDLE}", r"TRIGGER: expected tick, .*, found '60'"),
        (f"STRATEGY_NAME = '../up'\n{IDLE}", r"expected a strategy name of letters, .*, found '\.\./up'"),
        (f"STRATEGY_NAME = 7\n{IDLE}", r"expected a strategy name of letters, .*, found 7"),
        (f"STRATEGY_NAME = 'x' * 101\n{IDLE}", r"expected a strategy name of .*, at most 100 of them, found 'xxx"),
        (f"STRATEGY_NAME = 'x' * 5_000\n{IDLE}", r"found 'x{199} \.\.\.$"),
        (f"STRATEGY_VERSION = '\\ud800'\n{IDLE}", r"expected STRATEGY_VERSION to be text, found '\\ud800'"),
        (f"SYMBOLS = ['\\ud800/USD']\n{IDLE}", r"expected SYMBOLS to be a list .*, found \['\\ud800/USD'\]"),
        (f"on_fill = 'me'\n{IDLE}", r"expected on_fill to be a function, found 'me'"),
        (f"{ODD}SYMBOLS = [Odd()]\n{IDLE}", r"expected SYMBOLS to be a list .*, found <SystemExit while"),
        (f"{ODD}CONFIG = Odd()\n{IDLE}", r"expected CONFIG to be a dict .*, found <SystemExit while"),
        (f"{ODD}TRIGGER = Odd()\n{IDLE}", r"TRIGGER: expected tick, .*, found '<SystemExit while"),
        (f"{ODD}RISK = {{Odd(): 1}}\n{IDLE}", r"expected RISK to have .*, found <SystemExit while"),
        (f"{ODD}on_start = Odd()\n{IDLE}", r"expected on_start to be a function, found <SystemExit while"),
        (
            "class Bad(Exception):\n    def __str__(self): raise SystemExit\nraise Bad\n",
            r"mine\.py:3: .* found Bad: <SystemExit while",
        ),
        (
            "class Shy:\n    def __call__(self): ...\n    @property\n    def __signature__(self): return 1 / 0\n"
            "generate_signal = Shy()\n",
            r"expected generate_signal to be a function in Python, found <mine\.Shy object|found <wspt_strategy",
        ),
    ],
)
def test_a_mistake_is_one_sentence_that_names_file_and_finding(
    source: str | bytes, sentence: str, write: Write
) -> None:
    with pytest.raises(UserProblem, match=sentence) as problem:
        load_strategy(write(source))

    assert "mine.py" in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_file_that_failed_to_load_leaves_no_module_behind(write: Write) -> None:
    with pytest.raises(UserProblem):
        load_strategy(write("1 / 0\n", "gone.py"))

    assert not [name for name in sys.modules if name.endswith("gone")]


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserProblem, match=r"none\.py: expected a strategy file, found No such file or directory"):
        load_strategy(tmp_path / "none.py")


# -- several files -----------------------------------------------------------------------------------------------


def test_strategies_come_in_the_order_of_their_names_whatever_their_files_are_called(write: Write) -> None:
    paths = [write(IDLE, "a.py"), write(f"STRATEGY_NAME = 'Z'\n{IDLE}", "b.py"), write(IDLE, "c.py")]

    assert [file.strategy.name for file in load_strategies(paths)] == ["Z", "a", "c"]


def test_two_strategies_of_one_name_are_refused_and_both_files_named(write: Write) -> None:
    paths = [write(IDLE, "dip.py"), write(f"STRATEGY_NAME = 'dip'\n{IDLE}", "other.py")]

    with pytest.raises(UserProblem, match=r"other\.py: expected a strategy name of its own, found 'dip' in .*dip\.py"):
        load_strategies(paths)


def test_a_folder_gives_its_python_files_but_the_hidden_ones(write: Write, tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "_helper.py", ".hidden.py", "notes.txt"):
        write(IDLE, name)

    assert [path.name for path in find_strategies([tmp_path])] == ["a.py", "b.py"]


def test_files_and_folders_can_be_named_together(write: Write, tmp_path: Path) -> None:
    inside, single = write(IDLE, "more/a.py"), write(IDLE, "single.py")

    assert find_strategies([single, tmp_path / "more"]) == [single, inside]


def test_a_place_where_nothing_is_found_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserProblem, match=r"nowhere: expected a strategy file or a folder of them, found nothing"):
        find_strategies([tmp_path / "nowhere"])


def test_an_empty_folder_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserProblem, match=r"expected at least one strategy \(a \.py file with generate_signal\)"):
        find_strategies([tmp_path])
