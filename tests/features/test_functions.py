"""A function is carried as text: complete, of one form, the same alone and among others, and no row hurts another."""

from __future__ import annotations

import linecache
import math
import random
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import count, cycle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import FunctionRefused
from fullcircle.features.functions import Failed, check, compute, load, on_demand, requirements, spec
from fullcircle.runtimes.libraries import needed
from fullcircle.types.definitions import FunctionSpec
from fullcircle.types.features import OnDemand

RATE = 0.2
CELLS = count()


def cell(text: str) -> Any:
    """What the last definition of a notebook's cell is, typed as in IPython: its text is only in linecache."""
    lines = textwrap.dedent(text).strip().splitlines(keepends=True)
    file = f"<ipython-input-{next(CELLS)}-0>"
    linecache.cache[file] = (0, None, lines, file)
    names: dict[str, Any] = {"on_demand": on_demand, "RATE": RATE, "__name__": "__main__"}
    exec(compile("".join(lines), file, "exec"), names)  # noqa: S102 - a cell of this test
    return list(names.values())[-1]


def feature(body: str, *, inputs: str = "x", options: str = "returns=float") -> OnDemand:
    made = cell(
        f"@on_demand({options})\ndef made({inputs}):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ")
    )
    assert isinstance(made, OnDemand)
    return made


def ask(made: OnDemand, *rows: object, kinds: Mapping[str, str] | None = None) -> list[Any]:
    """The answers to rows of tuples, or of single values where there is one input."""
    table = [row if isinstance(row, tuple) else (row,) for row in rows]
    columns = {name: [row[place] for row in table] for place, name in enumerate(made.inputs)}
    return compute(spec(made), made.call, columns, len(table), kinds=kinds)


def judge(made: OnDemand, *rows: object, kinds: Mapping[str, str] | None = None) -> None:
    table = [row if isinstance(row, tuple) else (row,) for row in rows]
    columns = {name: [row[place] for row in table] for place, name in enumerate(made.inputs)}
    check(spec(made), columns, len(table), kinds=kinds)


VECTORIZED = 'returns=float, imports=["numpy as np"], vectorized=True'


# --- what a feature is --------------------------------------------------------------------------------


@on_demand(returns=float, imports=["math", "numpy as np"], description="how far over the limit, in orders")
def overdrawn(amount: float | None, limit: float) -> float | None:
    """A docstring."""
    if amount is None:  # a comment
        return None
    ratio: float = np.float64(amount) / limit
    return math.log1p(abs(ratio))


def test_a_feature_is_its_text_its_inputs_and_its_imports() -> None:
    assert overdrawn.name == "overdrawn"
    assert overdrawn.inputs == ("amount", "limit")
    assert overdrawn.returns == "float"
    assert overdrawn.imports == ("math", "numpy as np")
    assert overdrawn.description == "how far over the limit, in orders"
    assert not overdrawn.vectorized
    assert overdrawn.source == (
        "def overdrawn(amount, limit):\n    if amount is None:\n        return None\n"
        "    ratio = np.float64(amount) / limit\n    return math.log1p(abs(ratio))"
    )
    assert spec(overdrawn) == FunctionSpec(
        name="overdrawn",
        source=overdrawn.source,
        inputs=("amount", "limit"),
        returns="float",
        imports=("math", "numpy as np"),
    )
    assert ask(overdrawn, (None, 2.0), (3, 2.0)) == [None, math.log1p(1.5)]


@pytest.mark.parametrize(("kind", "word"), [(int, "int"), (float, "float"), (bool, "bool"), (str, "str")])
def test_the_kind_of_the_answer_is_one_of_four(kind: type, word: str) -> None:
    @on_demand(returns=kind, name="other")
    def same(x: object) -> object:
        return x

    assert (same.returns, same.name, same.source) == (word, "other", "def other(x):\n    return x")
    with pytest.raises(FunctionRefused, match="kind of an on-demand feature"):
        on_demand(returns=dict)


def test_comments_layout_hints_and_docstrings_do_not_change_the_text_and_a_constant_does() -> None:
    plain = feature("y = x * 2\nreturn (y + 1)")
    wordy = feature(
        '''
        """Twice and one."""

        y: float = (x   # the amount
                    * 2)
        return y + 1  # and one
        ''',
        inputs="x: 'float'",
    )
    assert spec(plain) == spec(wordy)
    assert spec(plain) != spec(feature("y = x * 3\nreturn y + 1"))
    sorted_alike = [feature("return x", options=f"returns=float, imports={each}") for each in _orders("math", "json")]
    assert spec(sorted_alike[0]) == spec(sorted_alike[1])
    spaced = feature("return x", options='returns=float, imports=[" numpy   as np", "math as math"]')
    assert spaced.imports == ("math", "numpy as np")


def _orders(*names: str) -> list[list[str]]:
    return [list(names), list(reversed(names))]


def test_a_text_of_several_lines_inside_an_indented_function_is_kept_as_it_is() -> None:
    @on_demand(returns=str)
    def letter(name: str) -> str:
        return f"""Dear {name},
    indented as it was
not at all"""

    assert ask(letter, "Ada") == ["Dear Ada,\n    indented as it was\nnot at all"]


def test_what_is_called_is_the_text_and_not_the_object_that_was_written() -> None:
    made = cell(
        """
        class math:
            floor = staticmethod(lambda x: -1)

        @on_demand(returns=int, imports=["math"])
        def whole(x):
            return math.floor(x)
        """
    )
    assert ask(made, 2.5) == [2]


def test_nested_scopes_and_recursion_bring_all_they_need() -> None:
    made = feature(
        """
        def inner(y: Undeclared, *rest, more=1) -> Undeclared:
            total = 0
            return [total + each * scale for each in (y, *rest) if (kept := each) is not None] + [kept, more]
        scale = 2
        try:
            return sum(inner(x)) if x < 10 else made(x - 10)
        except (TypeError, ValueError) as error:
            return bool(str(error)) + (lambda z: z)(1)
        """
    )
    assert ask(made, 1, 21, "a") == [4.0, 4.0, 2.0]


# --- what is refused when it is written ---------------------------------------------------------------


@pytest.mark.parametrize("body", ["return x * RATE", "return [RATE for _ in (x,)][0]", "return (lambda: RATE)()"])
def test_a_name_from_outside_is_refused_by_name_and_line(body: str) -> None:
    with pytest.raises(FunctionRefused, match="'RATE', which it does not bring along") as caught:
        feature(f"y = 1\n{body}")
    assert str(caught.value.received).endswith("-0>, line 4")
    assert caught.value.next_step is not None
    assert "declare it in imports, or move the value of RATE into the function" in caught.value.next_step


def test_the_line_is_that_of_the_file() -> None:
    with pytest.raises(FunctionRefused) as caught:

        @on_demand(
            returns=float,
        )
        def priced(x: float) -> float:
            x = max(x, 0.0)
            return _line() + x

    text = Path(__file__).read_text(encoding="utf-8").splitlines()
    file, _, line = str(caught.value.received).rpartition(", line ")
    assert file == __file__
    assert text[int(line) - 1].strip() == "return _line() + x"


def _line() -> int:
    return 0


@pytest.mark.parametrize(
    "name",
    [
        *("open", "input", "print", "breakpoint", "help", "eval", "exec", "compile", "__import__", "globals"),
        *("locals", "vars", "getattr", "setattr", "delattr", "id", "hash", "exit", "quit"),
        *("BaseException", "SystemExit", "KeyboardInterrupt"),
    ],
)
def test_builtins_that_reach_outside_are_refused(name: str) -> None:
    with pytest.raises(FunctionRefused, match=f"uses {name}: "):
        feature(f"return {name}(x)")
    with pytest.raises(FunctionRefused, match=f"uses {name}: "):
        feature(f"hidden = {name}\nreturn hidden(x)")
    assert ask(feature(f"{name} = x\nreturn {name}"), 1.5) == [1.5]  # a name of its own


@pytest.mark.parametrize(
    "module",
    [
        *("random", "secrets", "time", "os", "os.path as p", "sys", "subprocess", "socket", "threading", "uuid"),
        *("builtins", "importlib", "io", "pathlib", "ctypes", "multiprocessing", "numpy.random as r", "_thread"),
    ],
)
def test_modules_of_chance_clock_and_machine_are_refused(module: str) -> None:
    with pytest.raises(FunctionRefused, match=f"cannot import {module.partition(' ')[0]}: "):
        on_demand(returns=float, imports=[module])(len)


@pytest.mark.parametrize(
    "text",
    ["from datetime import date", "os.path", "a, b", "", "1", "math as", "math as 1", "numpy as sum", "json as if"],
)
def test_an_import_is_a_module_or_a_module_under_a_name(text: str) -> None:
    with pytest.raises(FunctionRefused, match="import"):
        on_demand(returns=float, imports=[text])(len)


def test_an_import_is_not_one_text_and_no_name_is_taken_twice() -> None:
    with pytest.raises(FunctionRefused, match="given as one text"):
        on_demand(returns=float, imports="math")(len)
    with pytest.raises(FunctionRefused, match="a name that is taken"):
        on_demand(returns=float, imports=["math as m", "json as m"])(len)


@pytest.mark.parametrize(
    ("body", "imports", "what"),
    [
        ("return np.random.normal(x)", "numpy as np", "numpy.random"),
        ("return d.datetime.now().year", "datetime as d", "datetime.datetime.now"),
        ("return datetime.date.today().year", "datetime", "datetime.date.today"),
        ("math.seen = x\nreturn x", "math", "changes math.seen"),
        ("math.table[0] += x\nreturn x", "math", r"changes math.table\[0\]"),
        ("decimal.getcontext().prec = 2\nreturn x", "decimal", r"changes decimal.getcontext\(\).prec"),
        ("del math.pi\nreturn x", "math", "changes math.pi"),
        ("return math.__dict__", "math", "uses __dict__"),
        ("return x.__class__.__mro__[1].__subclasses__()", "math", "uses __"),
        ("made.seen = x\nreturn x", "math", "changes made.seen"),
        ("again = made\nreturn again(x)", "math", "uses itself other than by a call"),
        ("global RATE\nRATE = x\nreturn x", "math", "declares RATE to be from outside"),
        ("def f():\n    nonlocal x\n    x = 1\nf()\nreturn x", "math", "declares x to be from outside"),
        ("import math\nreturn x", "math", "imports in its body: import math"),
        ("from math import pi\nreturn x", "math", "imports in its body: from math import pi"),
        ("class A:\n    pass\nreturn x", "math", "defines a class: A"),
        ("yield x", "math", "generator"),
        ("def f():\n    yield x\nreturn next(f())", "math", "generator"),
        ("async def f():\n    return x\nreturn 1", "math", "asynchronous"),
    ],
)
def test_state_chance_and_what_cannot_be_checked_are_refused(body: str, imports: str, what: str) -> None:
    with pytest.raises(FunctionRefused, match=what):
        feature(body, options=f'returns=float, imports=["{imports}"]')


@pytest.mark.parametrize("inputs", ["*x", "**x", "x=1", "x, y=[]", "*, x", "x, *, y", "x, /", ""])
def test_arguments_are_plain_so_no_default_can_hold_state(inputs: str) -> None:
    with pytest.raises(FunctionRefused, match="something else than plain arguments"):
        feature("return 1", inputs=inputs)


def test_only_plain_functions_become_features() -> None:
    limit = 3.0

    def closed(x: float) -> float:
        return x / limit

    class Holder:
        def method(self, x: float) -> float:
            return x

    refused: list[tuple[Callable[..., Any], str]] = [
        (closed, "variables of the function around it: limit"),
        (Holder.method, "is a method"),
        (Holder().method, "no plain function"),
        (Holder, "no plain function"),
        (math.sqrt, "no plain function"),
        (lambda x: x, "is a lambda"),
    ]
    for function, what in refused:
        with pytest.raises(FunctionRefused, match=what):
            on_demand(returns=float)(function)


def test_asynchronous_functions_are_refused() -> None:
    with pytest.raises(FunctionRefused, match="asynchronous"):
        cell("@on_demand(returns=float)\nasync def made(x):\n    return x")


@pytest.mark.parametrize(
    "decorators",
    [
        "@on_demand(returns=float)\n@functools.cache",
        "@on_demand(returns=float)\n@wrapped",
        "@on_demand(returns=float)\n@untouched",
        "@untouched\n@on_demand(returns=float)",
        "@on_demand(returns=float)\n@hidden",
    ],
)
def test_other_decorators_are_refused(decorators: str) -> None:
    text = """
    import functools

    def untouched(f):
        return f

    def hidden(f):
        def g(x):
            return f(x)
        return g

    def wrapped(f):
        @functools.wraps(f)
        def g(x):
            return f(x)
        return g
    """
    with pytest.raises(FunctionRefused, match=r"decorator besides on_demand|another decorator|around it: f"):
        cell(textwrap.dedent(text) + f"\n{decorators}\ndef made(x):\n    return x")


def test_a_function_whose_text_cannot_be_had_is_refused() -> None:
    names: dict[str, Any] = {"on_demand": on_demand}
    with pytest.raises(FunctionRefused, match="text of the on-demand function 'made' cannot be had") as caught:
        exec("@on_demand(returns=float)\ndef made(x):\n    return x", names)  # noqa: S102 - what is tested
    assert caught.value.next_step == "write it in a file or a notebook, not at a plain prompt or in exec"


def test_a_file_that_was_changed_since_it_was_imported_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "changed.py"
    text = "def made(x):\n    return x\n"
    names: dict[str, Any] = {}
    exec(compile(text, str(file), "exec"), names)  # noqa: S102 - a module of this test
    for other in (
        "def other(x):\n    return x\n",
        "def made(x, y):\n    return x\n",
        "\n",
        "if True:\n    made = 1\n",
    ):
        file.write_text(other)
        with pytest.raises(FunctionRefused):
            on_demand(returns=float)(names["made"])
    file.write_text(text)
    assert on_demand(returns=float)(names["made"]).source == text.rstrip()


@pytest.mark.parametrize("name", ["a b", "1st", "if", "x" * 64, "math", "a;b"])
def test_a_name_that_cannot_be_that_of_a_feature_is_refused(name: str) -> None:
    with pytest.raises(FunctionRefused, match="name of an on-demand function"):
        feature("return x", options=f'returns=float, imports=["math"], name="{name}"')


def test_another_name_never_changes_what_a_call_inside_means() -> None:
    with pytest.raises(FunctionRefused, match="one of its two names"):
        feature("return abs(x)", options='returns=float, name="abs"')
    with pytest.raises(FunctionRefused, match="one of its two names"):
        feature("return made(x)", options='returns=float, name="other"')


# --- loading from the text ----------------------------------------------------------------------------

CHILD = """
import sys
import msgspec
from fullcircle.features.functions import compute, load
from fullcircle.types.definitions import FunctionSpec

light = sorted({"numpy", "pandas", "pyarrow", "hypothesis"} & set(sys.modules))
specs, columns = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[list[FunctionSpec], dict[str, list]])
n = len(columns["amount"])
answers = [compute(spec, load(spec), columns, n) for spec in specs]
sys.stdout.buffer.write(msgspec.json.encode([light, "test_functions" in sys.modules, answers]))
"""


@on_demand(returns=float, imports=["numpy as np"], vectorized=True)
def exceeding(amount: Any, limit: Any) -> Any:
    return np.sqrt(np.abs(amount)) - np.exp(-np.abs(limit))


def test_a_process_without_the_project_gives_the_same_bits(tmp_path: Path) -> None:
    rows: list[tuple[float | None, float]] = []
    number = st.floats(allow_nan=False, allow_infinity=False)

    @settings(max_examples=200, database=None)
    @given(st.none() | number, number)
    def draw(amount: float | None, limit: float) -> None:
        rows.append((amount, limit))

    draw()
    assert len(rows) >= 200
    specs = [spec(overdrawn), spec(exceeding)]
    columns: dict[str, list[float | None]] = {"amount": [row[0] for row in rows], "limit": [row[1] for row in rows]}
    done = subprocess.run(
        [sys.executable, "-I", "-c", CHILD],
        input=msgspec.json.encode((specs, columns)),
        capture_output=True,
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    heavy, has_project, answers = msgspec.json.decode(done.stdout)
    assert (heavy, has_project) == ([], False)
    for made, found in zip((overdrawn, exceeding), answers, strict=True):
        here = compute(spec(made), made.call, columns, len(rows))
        assert [_bits(answer) for answer in here] == [
            Failed(answer["text"]) if isinstance(answer, dict) else _bits(answer) for answer in found
        ]
        assert sum(isinstance(answer, float) for answer in here) > 100


def _bits(answer: Any) -> Any:
    return struct.pack("<d", answer) if isinstance(answer, float) else answer


RAN: list[str] = []


@pytest.mark.parametrize(
    "text",
    [
        "RAN.append(1)\ndef made(x):\n    return x",
        "def made(x):\n    return x\nmade(1)",
        "@RAN.append\ndef made(x):\n    return x",
        "def made(x=RAN.append(1)):\n    return x",
        "def made(x, *, y=RAN.append(1)):\n    return x",
        "def other(x):\n    return x",
        "def made(x, y):\n    return x",
        "def made(y):\n    return y",
        "def made(x):\n    return RAN",
        "def made(x):\n    return open(x)",
        "def made(x):\n    return __import__('os')",
        "def made(x):\n    return ().__class__",
        "def made(x):\n    import os\n    return x",
        "async def made(x):\n    return x",
        "made = lambda x: x",
        "class made:\n    pass",
        "def made(x):\n    break",
        "def made(x):\n    nonlocal y",
        "def made(x",
        "def made(x):\n    return " + "(" * 500 + "x" + ")" * 500,
        "def made(x):\n    return x" + " + x" * 2500,
        "def made(x):\n    return x\0",
        "",
    ],
)
def test_a_tampered_text_is_refused_before_any_of_it_runs(text: str) -> None:
    with pytest.raises(FunctionRefused):
        load(FunctionSpec(name="made", source=text, inputs=("x",), returns="float"))
    assert RAN == []


def test_hints_in_a_tampered_text_are_never_looked_at() -> None:
    text = "def made(x: 1 / 0) -> 1 / 0:\n    y: 1 / 0 = x\n    return y"
    assert load(FunctionSpec(name="made", source=text, inputs=("x",), returns="float"))(2) == 2


def test_imports_and_kind_of_a_tampered_definition_are_checked() -> None:
    good = spec(feature("return x"))
    for bad in (replace(good, imports=("os",)), replace(good, returns="bytes"), replace(good, name="x y")):
        with pytest.raises(FunctionRefused):
            load(bad)


def test_a_library_that_is_not_there_is_named() -> None:
    with pytest.raises(FunctionRefused, match="nowhere_to_be_found") as caught:
        feature("return nowhere.f(x)", options='returns=float, imports=["nowhere_to_be_found.deep as nowhere"]')
    assert caught.value.next_step == "install nowhere_to_be_found"


def test_the_distributions_of_the_imports_are_found() -> None:
    made = feature("return jinja.x", options='returns=float, imports=["jinja2.sandbox as jinja", "math"]')
    assert needed(requirements([spec(made), spec(overdrawn)])) == ("Jinja2",)
    assert requirements([spec(feature("return x"))]) == {}


def test_functions_whose_libraries_look_for_what_they_need_work() -> None:
    options = 'returns=int, imports=["datetime"]'
    made = feature('return datetime.datetime.strptime(x, "%d.%m.%Y").year', options=options)
    assert ask(made, "24.12.2024") == [2024]


# --- answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "given", "answer"),
    [
        ("float", 1, 1.0),
        ("float", -0.0, -0.0),
        ("float", np.float32(0.1), 0.10000000149011612),
        ("float", np.int64(3), 3.0),
        ("float", np.array(2.5), 2.5),
        ("float", None, None),
        ("float", math.nan, None),
        ("float", np.float64("nan"), None),
        ("float", np.ma.masked, None),
        ("float", math.inf, "no finite number"),
        ("float", True, "no finite number"),
        ("float", np.bool_(True), "no finite number"),
        ("float", "1", "no finite number"),
        ("float", Decimal(1), "no finite number"),
        ("float", np.array([1.0]), "no finite number"),
        ("float", 10**400, "OverflowError"),
        ("int", 2**63 - 1, 2**63 - 1),
        ("int", 2**63, "no whole number of 64 bits"),
        ("int", -(2**63), -(2**63)),
        ("int", 3.0, 3),
        ("int", np.int8(-3), -3),
        ("int", 3.5, "no whole number of 64 bits"),
        ("int", -math.inf, "no whole number of 64 bits"),
        ("int", False, "no whole number of 64 bits"),
        ("int", math.nan, None),
        ("bool", True, True),
        ("bool", np.bool_(False), False),
        ("bool", 1, "no truth value"),
        ("bool", "True", "no truth value"),
        ("bool", None, None),
        ("str", "Zürich", "Zürich"),
        ("str", np.str_("x"), "x"),
        ("str", "", ""),
        ("str", b"x", "no text"),
        ("str", 1, "no text"),
        ("str", "\ud800", "UnicodeEncodeError"),
        ("str", None, None),
    ],
)
def test_an_answer_is_a_plain_value_of_its_kind_or_missing_or_failed(returns: str, given: Any, answer: Any) -> None:
    found = compute(FunctionSpec(name="f", source="", inputs=("x",), returns=returns), lambda _: given, {"x": [1]}, 1)
    if isinstance(found[0], Failed):
        assert answer in found[0].text
        assert str(given) not in found[0].text or returns == "bool" or len(str(given)) < 2
    else:
        assert (type(found[0]), repr(found[0])) == (type(answer), repr(answer))


def test_a_row_that_fails_hurts_no_other_and_shows_no_value() -> None:
    made = feature("return 1 / x")
    assert ask(made, 1, 0, 4.0, None, "secret") == [
        1.0,
        Failed("the function could not answer this row (ZeroDivisionError)"),
        0.25,
        *[Failed("the function could not answer this row (TypeError)")] * 2,
    ]


def test_missing_values_come_as_none_whatever_they_were() -> None:
    made = feature("return x is None", options="returns=bool")
    assert ask(made, None, math.nan, np.float64("nan"), 0, "", False) == [True, True, True, False, False, False]
    assert compute(spec(made), made.call, {"x": np.array([1.0, math.nan])}, 2) == [False, True]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (np.array([1, 2], dtype=np.int32), ["int"] * 2),
        (np.array([1, 2], dtype=np.float32), ["float"] * 2),
        (np.array([True, False]), ["bool"] * 2),
        (np.array(["a", "b"]), ["str"] * 2),
        (np.array(["a", None, np.int64(1)], dtype=object), ["str", "NoneType", "int"]),
        ([np.float32(1), np.bool_(True), np.str_("x")], ["float", "bool", "str"]),
        ([datetime(2024, 1, 1), Decimal(1), [1, 2]], ["datetime", "Decimal", "list"]),
    ],
)
def test_a_function_of_single_values_gets_pythons_own(column: Sequence[Any], words: list[str]) -> None:
    made = feature("return type(x).__name__".replace(".__name__", ""), options="returns=str")
    found = compute(spec(made), lambda x: type(x).__name__, {"x": column}, len(column))
    assert found == words


def test_columns_that_do_not_fit_are_refused() -> None:
    made = feature("return x")
    columns: list[dict[str, Any]] = [{}, {"x": [1]}, {"x": np.zeros(2, dtype="datetime64[ns]")}]
    for each in columns:
        with pytest.raises(FunctionRefused, match="column for the on-demand function"):
            compute(spec(made), made.call, each, 2)


def test_no_rows_have_no_answers() -> None:
    assert ask(overdrawn) == []
    assert ask(exceeding) == []
    judge(overdrawn)
    judge(exceeding)


# --- arrays -------------------------------------------------------------------------------------------


def seen(rows: Sequence[object], kinds: Mapping[str, str] | None = None) -> list[tuple[str, Any]]:
    """What array each row is in, and its value there."""
    found: list[tuple[str, Any]] = []

    def look(array: Any) -> Any:
        found.extend((array.dtype.name, value) for value in array.tolist())
        return np.zeros(len(array))

    as_data = FunctionSpec(name="f", source="", inputs=("x",), returns="float", vectorized=True)
    compute(as_data, look, {"x": list(rows)}, len(rows), kinds=kinds)
    return sorted(found, key=repr)


ANY_VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_infinity=False)
    | st.text(max_size=3)
    | st.just(datetime(2024, 1, 1))
)


@given(
    st.lists(ANY_VALUE, max_size=6), st.sampled_from([None, "int64", "float64", "bool", "text", "time[us]", "str"])
)
def test_what_an_array_is_depends_on_no_other_row(rows: list[object], kind: str | None) -> None:
    kinds = None if kind is None else {"x": kind}
    assert repr(seen(rows, kinds)) == repr(sorted((seen([row], kinds)[0] for row in rows), key=repr))


def test_numbers_and_booleans_are_float64_and_texts_are_objects() -> None:
    assert seen([1, 2.5, True]) == [("float64", 1.0), ("float64", 1.0), ("float64", 2.5)]
    assert seen(["a", "b"]) == [("object", "a"), ("object", "b")]
    assert repr(seen([None])) == "[('float64', nan)]"
    assert repr(seen([None], {"x": "bool"})) == "[('float64', nan)]"
    assert seen(["a", None], {"x": "text"}) == [("object", "a"), ("object", None)]


def test_integers_without_an_exact_float_are_not_rounded_in_silence() -> None:
    made = feature("return x + 1", options=VECTORIZED)
    answers = ask(made, 2**53, 2**53 + 1, -(2**53) - 1, 1)
    assert answers[0] == 2.0**53
    assert answers[3] == 2.0
    assert all(isinstance(answer, Failed) and "2**53" in answer.text for answer in answers[1:3])
    with pytest.raises(FunctionRefused, match=r"integers beyond 2\*\*53") as caught:
        judge(made, 1, 2**53 + 1)
    assert caught.value.next_step == "write it without vectorized, for single values"
    single = feature("return x + 1", options="returns=int")
    judge(single, 1, 2**53 + 1)
    assert ask(single, 2**53 + 1) == [2**53 + 2]


def test_a_batch_that_raises_is_halved_until_the_culprit_is_alone() -> None:
    sizes: list[int] = []

    def picky(array: Any) -> Any:
        sizes.append(len(array))
        if (array == 13).any():
            raise LookupError("secret 13")
        return array * 2

    as_data = FunctionSpec(name="f", source="", inputs=("x",), returns="int", vectorized=True)
    answers = compute(as_data, picky, {"x": list(range(64))}, 64)
    assert answers.pop(13) == Failed("the function could not answer this row (LookupError)")
    assert answers == [2 * value for value in range(64) if value != 13]
    assert len(sizes) == 13


def test_a_vectorized_function_answers_every_kind() -> None:
    upper = feature(
        "return np.array([None if each is None else each.upper() for each in x], dtype=object)",
        options='returns=str, imports=["numpy as np"], vectorized=True',
    )
    assert ask(upper, "a", None, "ß", kinds={"x": "text"}) == ["A", None, "SS"]
    over = feature("return x > 1", options="returns=bool, vectorized=True")
    assert ask(over, 1, 2, None) == [False, True, False]
    whole = feature("return [each // 1 for each in x]", options="returns=int, vectorized=True")
    assert ask(whole, 1.5, None, True) == [1, None, 1]
    for made, kinds in ((upper, {"x": "text"}), (over, None), (whole, None)):
        judge(made, *(("a", None, "b") if kinds else (1.5, None, -3)), kinds=kinds)


@pytest.mark.parametrize(
    "body", ["return 1.0", "return x[:1]", "return x.reshape(-1, 1)", "return np.sum(x)", "return 'a'"]
)
def test_a_batch_needs_an_answer_for_each_row(body: str) -> None:
    made = feature(body, options=VECTORIZED)
    with pytest.raises(FunctionRefused, match="answers with another shape") as caught:
        judge(made, 1.0, 2.0, 3.0)
    assert str(caught.value.received).endswith(" for 8 rows")


def test_masked_answers_are_missing_and_times_are_no_numbers() -> None:
    made = feature("return np.ma.masked_less(x, 0)", options=VECTORIZED)
    assert ask(made, 1, -1) == [1.0, None]
    times = feature('return x.astype("datetime64[ns]")', options=VECTORIZED.replace("float", "int"))
    assert [type(answer) for answer in ask(times, 1.0, 2.0)] == [Failed, Failed]


def test_an_infinite_answer_fails_its_row_and_numpy_is_quiet_whatever_was_asked_of_it() -> None:
    made = feature("return np.log(x)", options=VECTORIZED)
    single = feature("return np.log(np.float64(x))", options='returns=float, imports=["numpy as np"]')
    with np.errstate(all="raise"):
        for each in (made, single):
            assert ask(each, 1.0, 0.0, -1.0) == [
                0.0,
                Failed("the function's answer to this row is no finite number"),
                None,
            ]


# --- the check ----------------------------------------------------------------------------------------

NUMBERS = [3.0, 1.0, None, 2.0, 5.0, 4.0, -2.5, 0.0]


@pytest.mark.parametrize(
    "body",
    [
        "return x - np.nanmean(x)",
        "return x / np.nanmax(np.abs(x))",
        "return np.sort(x)",
        "return np.argsort(np.argsort(x))",
        "return np.nancumsum(x)",
        "return x[::-1]",
        "return np.where(np.arange(len(x)) == 0, 0.0, x)",
        "return x + len(x)",
        "return x + np.isnan(x).any()",
    ],
)
def test_a_look_at_the_rest_of_the_batch_is_caught(body: str) -> None:
    made = feature(body, options=VECTORIZED)
    with pytest.raises(FunctionRefused, match="'made' answers a row differently when asked") as caught:
        judge(made, *NUMBERS)
    assert "x=" in str(caught.value.received)
    assert "at first" in str(caught.value.received)
    assert "mean" in str(caught.value.next_step)


def test_a_difference_shows_the_row_and_both_answers() -> None:
    made = feature("return x - np.mean(x)", inputs="x, city", options=VECTORIZED)
    with pytest.raises(FunctionRefused) as caught:
        judge(made, (1.0, "Oslo"), (3.0, "Lima"))
    assert caught.value.received == "x=1.0, city='Oslo': -1.0 at first, 0.0 asked alone"


def test_a_mean_over_one_sample_row_is_caught_by_the_edges() -> None:
    with pytest.raises(FunctionRefused, match="differently"):
        judge(feature("return x - np.nanmean(x)", options=VECTORIZED), 3.0)


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ('returns=float, imports=["itertools", "json"]', "json.seen.append(x)\nreturn x + len(json.seen)"),
        (
            'returns=float, imports=["fractions"]',
            "table = fractions.seen\ntable[0] = table.get(0, 0) + 1\nreturn table[0]",
        ),
    ],
)
def test_state_that_hides_in_a_library_is_caught(options: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.seen", [], raising=False)
    monkeypatch.setattr("fractions.seen", {}, raising=False)
    with pytest.raises(FunctionRefused, match="differently when asked again"):
        judge(feature(body, options=options), 1.0, 2.0)


def test_a_sign_of_zero_and_a_last_bit_are_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = cycle([*[0.0] * 6, -0.0])
    monkeypatch.setattr("json.answers", answers, raising=False)
    with pytest.raises(FunctionRefused, match=r"differently"):
        judge(feature("return next(json.answers)", options='returns=float, imports=["json"]'), *range(5))


def test_a_changed_argument_is_caught_and_never_reaches_the_caller() -> None:
    made = feature("x -= 1\nreturn x", options=VECTORIZED)
    with pytest.raises(FunctionRefused, match="changes its arguments") as caught:
        judge(made, 1.0, 2.0)
    assert "1.0, 2.0" in str(caught.value.received)
    column = np.array([1.0, 2.0])
    assert (
        compute(spec(made), made.call, {"x": column}, 2)
        == [Failed("the function could not answer this row (ValueError)")] * 2
    )
    assert column.tolist() == [1.0, 2.0]
    lists = feature("x.sort()\nreturn x[0]")
    with pytest.raises(FunctionRefused, match="changes its arguments"):
        judge(lists, [2, 1], [3])
    judge(feature("return sorted(x)[0]"), [2, 1], [3])


def test_a_function_that_answers_no_row_is_refused_with_its_reason() -> None:
    with pytest.raises(FunctionRefused, match="answers none of the 2 sample rows") as caught:
        judge(feature("return x['amount']"), 1.5, 2.5)
    assert "x=1.5: the function could not answer this row (TypeError): 'float' object" in str(caught.value.received)
    with pytest.raises(FunctionRefused) as caught:
        judge(feature("return str(x)"), 1.5)
    assert "no finite number, it returned '1.5'" in str(caught.value.received)
    judge(feature("return 1 / x"), 0, 0, 1)  # some rows without an answer are no reason


@pytest.mark.parametrize(
    ("made", "rows"),
    [
        (overdrawn, [(1.0, 2.0), (None, 1.0), (3, 0.5)]),
        (exceeding, [(1.0, 2.0), (None, 1.0), (3, 0.5)]),
        (feature("return np.where(np.isnan(x), 0, x) ** 2", options=VECTORIZED), NUMBERS),
        (feature("return x and x.strip().lower()", options="returns=str"), [" A", None, "b "]),
        (feature("return not x", options="returns=bool"), [True, False, None]),
        (feature("return len(x) if x else None", options="returns=int"), ["abc", "", None]),
    ],
)
def test_functions_of_the_row_alone_pass(made: OnDemand, rows: list[object]) -> None:
    judge(made, *rows)


def test_at_most_a_thousand_rows_are_taken_from_all_over() -> None:
    made = feature("return x - np.where(x > 1e6, np.mean(x), 0)", options=VECTORIZED)
    judge(made, *[1.0] * 4000)
    rows = [1.0] * 3000 + [float(place) + 2e6 for place in range(1000)]
    with pytest.raises(FunctionRefused, match="differently"):
        judge(made, *rows)
    calls: list[int] = []
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("json.calls", calls, raising=False)
        counted = feature("json.calls.append(1)\nreturn x", options='returns=float, imports=["json"]')
        judge(counted, *range(5000))
    assert len(calls) < 10_000


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_order_and_company_never_change_an_answer(seed: int, n: int) -> None:
    generator = random.Random(seed)
    values = [generator.choice([None, 0, -1, 2**60, 1.5, "a", True, math.nan]) for _ in range(n)]
    rows = [(value, generator.choice([1.0, None, -2])) for value in values]
    order = generator.sample(range(n), n)
    for made in (overdrawn, exceeding):
        together = ask(made, *rows)
        assert list(map(_bits, together)) == [_bits(ask(made, row)[0]) for row in rows]
        shuffled = ask(made, *[rows[place] for place in order])
        assert list(map(_bits, shuffled)) == [_bits(together[place]) for place in order]
