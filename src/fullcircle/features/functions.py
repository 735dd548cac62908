"""On-demand features: a function written once, carried as text, and answering a row alone as it does among others.

A function that is not vectorized is called once a row with Python values, None for what is missing. A vectorized one
is called with numpy arrays. What an array holds depends on each row alone: numbers and booleans are float64, NaN
where missing, in all rows; texts and times are object arrays, None where missing. Integers beyond 2**53 have no
exact float64 and are not passed to it. Numpy's warnings about numbers are off during a call.

The texts of sets come in another order in each process: sort one before its order matters.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, cast

from fullcircle.features import function_text
from fullcircle.features.function_rows import TOO_WIDE, Columns, Failed, compute, shape_of, values_of
from fullcircle.features.function_source import captured
from fullcircle.features.function_text import refused
from fullcircle.types.definitions import FunctionSpec
from fullcircle.types.features import OnDemand

__all__ = ["Failed", "check", "compute", "load", "on_demand", "requirements", "spec"]
_RETURNS = {int: "int", float: "float", bool: "bool", str: "str"}
Row = tuple[Any, ...]
_SAMPLE = 1000


def on_demand(
    *,
    returns: type,
    imports: Sequence[str] = (),
    vectorized: bool = False,
    description: str = "",
    name: str = "",
) -> Callable[[Callable[..., Any]], OnDemand]:
    """Make an on-demand feature of a function; its arguments name features or columns of the request.

    ``returns`` is int, float, bool or str; None and NaN are a missing answer. ``imports`` are texts such as "math"
    or "numpy as np": the function has these, Python's builtins and its arguments, and nothing else. ``name`` is that
    of the feature where it is not the function's own. Raises FunctionRefused where the text does not hold all that
    the function needs, or ties its answer to the process.
    """
    if returns not in _RETURNS:
        raise refused(
            "the kind of an on-demand feature is unknown", repr(returns), "say returns=float", "int, float, bool, str"
        )
    kind = cast("Literal['int', 'float', 'bool', 'str']", _RETURNS[returns])

    def make(function: Callable[..., Any]) -> OnDemand:
        modules = function_text.declared(imports)
        own, text, inputs = captured(function, name, modules)
        found = FunctionSpec(
            name=own, source=text, inputs=inputs, returns=kind, imports=_texts(modules), vectorized=bool(vectorized)
        )
        return OnDemand(
            name=own,
            call=load(found),
            source=text,
            inputs=inputs,
            returns=kind,
            imports=found.imports,
            vectorized=found.vectorized,
            description=description,
        )

    return make


def _texts(modules: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(module if module == alias else f"{module} as {alias}" for alias, module in modules.items())


def spec(feature: OnDemand) -> FunctionSpec:
    """An on-demand feature as data."""
    return FunctionSpec(
        name=feature.name,
        source=feature.source,
        inputs=feature.inputs,
        returns=feature.returns,
        imports=feature.imports,
        vectorized=feature.vectorized,
    )


def load(spec: FunctionSpec) -> Callable[..., Any]:
    """The function of a text, in a namespace of its own that has the builtins and the declared imports.

    The text is checked before anything of it runs, as if it was written now: FunctionRefused says what is wrong, or
    which import is not installed.
    """
    modules = function_text.declared(spec.imports)
    text = function_text.read(spec.source, spec.name, spec.inputs, modules)
    if spec.returns not in _RETURNS.values():
        raise refused(
            f"the kind of {spec.name!r} is unknown",
            repr(spec.returns),
            "build it again",
            ", ".join(_RETURNS.values()),
        )
    namespace: dict[str, Any] = {"__name__": f"on_demand.{spec.name}"}
    for alias, module in modules.items():
        try:
            namespace[alias] = importlib.import_module(module)
        except ImportError as error:
            raise refused(
                f"the on-demand function {spec.name!r} needs a library that cannot be imported",
                f"{module} ({error})",
                f"install {module.partition('.')[0]}",
            ) from error
    code = compile(text, f"<on-demand {spec.name}>", "exec", dont_inherit=True, optimize=0)
    exec(code, namespace)  # noqa: S102 - one checked definition: nothing of its body runs here
    return cast("Callable[..., Any]", namespace[spec.name])


def requirements(specs: Sequence[FunctionSpec]) -> dict[str, bytes]:
    """The imports of these functions as modules' texts, from which ``libraries.needed`` finds the distributions."""
    return {
        f"fullcircle.{each.name}": "".join(f"import {text}\n" for text in each.imports).encode()
        for each in specs
        if each.imports
    }


def check(spec: FunctionSpec, columns: Columns, n: int, *, kinds: Mapping[str, str] | None = None) -> None:
    """Ask a function about sample rows: all at once, twice, one by one, backwards and in halves.

    At most 1000 of the rows are taken, and rows of missing values, zeros and negative numbers are added. Raises
    FunctionRefused where two answers to a row are not the same bits, where the function changes its arguments, or
    where it answers none of the rows. What depends on time or chance is caught only where it happens to differ.
    """
    given = [values_of(spec, columns, name, n) for name in spec.inputs]
    taken = min(n, _SAMPLE)
    rows = [tuple(values[place * n // taken] for values in given) for place in range(taken)]
    edges = _edges(rows, [(kinds or {}).get(name, "") for name in spec.inputs])
    run = _Run(spec, load(spec), kinds or {})
    run.refuse_ill_mannered([*rows, *edges])
    run.refuse_failing(rows)
    run.refuse_differences(rows)
    run.refuse_differences([*edges, *rows[:50]])


@dataclass(frozen=True)
class _Run:
    """A function that is asked about rows in one way and another."""

    spec: FunctionSpec
    call: Callable[..., Any]
    kinds: Mapping[str, str]

    def answers(self, rows: Sequence[Row]) -> list[Any]:
        columns = {name: [row[place] for row in rows] for place, name in enumerate(self.spec.inputs)}
        return compute(self.spec, self.call, columns, len(rows), kinds=self.kinds)

    def refuse_ill_mannered(self, rows: Sequence[Row]) -> None:
        def watching(*given: Any) -> Any:
            own = deepcopy(given)  # arrays may be written to here, other than in compute
            try:
                answers = self.call(*own)
            finally:
                if _text_of(own) != _text_of(given):
                    faults.append((f"the on-demand function {name!r} changes its arguments", _text_of(given), copy))
            if self.spec.vectorized and shape_of(answers) != (len(given[0]),):
                received = f"{shape_of(answers)} for {len(given[0])} rows"
                faults.append((f"the on-demand function {name!r} answers with another shape", received, each))
            return answers

        name, faults = self.spec.name, list[tuple[str, str, str]]()
        copy = "copy an argument before changing it, or write x = x + 1 rather than x += 1"
        each = "return one answer for each row, in one dimension"
        _Run(self.spec, watching, self.kinds).answers(rows)
        if faults:
            raise refused(*faults[0])

    def refuse_failing(self, rows: Sequence[Row]) -> None:
        answers = self.answers(rows)
        if TOO_WIDE in answers:
            raise refused(
                f"the on-demand function {self.spec.name!r} is vectorized and gets integers beyond 2**53",
                self._shown(rows[answers.index(TOO_WIDE)]),
                "write it without vectorized, for single values",
            )
        if answers and all(isinstance(answer, Failed) for answer in answers):
            raise refused(
                f"the on-demand function {self.spec.name!r} answers none of the {len(rows)} sample rows",
                f"{self._shown(rows[0])}: {answers[0].text}{self._cause(rows[0])}",
                f"mend the function; a missing value comes as {'NaN or None' if self.spec.vectorized else 'None'}",
            )

    def _cause(self, row: Row) -> str:
        """What the function says where it raises: shown only here, on its author's own machine."""
        heard = ""

        def listening(*given: Any) -> Any:
            nonlocal heard
            try:
                heard = f", it returned {(answer := self.call(*given))!r}"
            except Exception as error:
                heard = f": {error}"
                raise
            return answer

        _Run(self.spec, listening, self.kinds).answers([row])
        return heard

    def refuse_differences(self, rows: Sequence[Row]) -> None:
        first = self.answers(rows)
        half = len(rows) // 2
        ways = {
            "asked again": self.answers(rows),
            "asked alone": [self.answers([row])[0] for row in rows],
            "asked in reverse order": self.answers(rows[::-1])[::-1],
            "asked in two halves": self.answers(rows[:half]) + self.answers(rows[half:]),
        }
        for way, others in ways.items():
            for row, answer, other in zip(rows, first, others, strict=True):
                if not _same(answer, other):
                    raise refused(
                        f"the on-demand function {self.spec.name!r} answers a row differently when {way}",
                        f"{self._shown(row)}: {_said(answer)} at first, {_said(other)} {way}",
                        "take out what looks beyond the row: a mean, sort, rank or running total over the batch, "
                        "state kept between calls, chance, the clock",
                        "for each row the same bits, alone and among others, in any order, at any time",
                    )

    def _shown(self, row: Row) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in zip(self.spec.inputs, row, strict=True))


def _text_of(given: Sequence[Any]) -> str:
    return repr([each.tolist() if hasattr(each, "tolist") else each for each in given])


def _same(one: Any, other: Any) -> bool:
    """Whether two answers are the same bits: 0.0 and -0.0 are not, and neither are 1 and True."""
    return type(one) is type(other) and repr(one) == repr(other)


def _said(answer: Any) -> str:
    return f"none ({answer.text})" if isinstance(answer, Failed) else repr(answer)


def _edges(rows: Sequence[Row], kinds: Sequence[str]) -> list[Row]:
    """Rows that samples seldom have: all missing, one missing, zeros, negative numbers."""
    samples = [next((row[place] for row in rows if row[place] is not None), None) for place in range(len(kinds))]
    extremes = [_extremes(sample, kind) for sample, kind in zip(samples, kinds, strict=True)]
    absent = [
        tuple(None if at == place else row[at] for at in range(len(kinds)))
        for row in rows[:1]
        for place in range(len(kinds))
    ]
    return [(None,) * len(kinds), *zip(*extremes, strict=True), *absent]


def _extremes(sample: Any, kind: str) -> tuple[Any, Any, Any]:
    if isinstance(sample, bool) or kind == "bool":
        return False, True, False
    if isinstance(sample, float) or kind.startswith("float"):
        return 0.0, -1.5, -0.0
    if isinstance(sample, int) or "int" in kind:
        return 0, -1, 1
    return ("" if isinstance(sample, str) or kind in ("text", "str") else sample), sample, sample
