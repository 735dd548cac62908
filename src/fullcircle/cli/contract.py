"""The command around the contract. Nothing heavy is imported before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fullcircle.cli.door import Json, ModelOrPath, Workspace, door, listening, out, settings_of, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fullcircle.types.contract import Column

_POLICIES = {"missing": "missing", "unseen": "unseen", "outside": "outside", "wrong_type": "wrong type"}


def contract(
    project: ModelOrPath,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a request instead.", show_default=False)
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Learn from the data and write the contract file.", show_default=False)
    ] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Show what a model expects of each input, and what becomes of a row that does not fit."""
    with door(as_json or schema):
        import json

        from fullcircle.flows.contract import contract as flow

        with listening(as_json or schema) as progress:
            found = flow(project, write=write, settings=settings_of(workspace), progress=progress)
        if schema:
            out(json.dumps(found.schema, ensure_ascii=False, indent=2))
        else:
            show(found, as_json, _text)


def _text(found: Any) -> RenderableType:
    """The contract as a table. What a person decided is marked with a star."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli.text import table

    terms = found.contract
    head = f"{found.model}: {terms.task} of {terms.label_name or terms.label}"
    head += f" ({terms.label_unit})" if terms.label_unit else ""
    usual = {key: _most([getattr(column, key) for column in terms.columns]) for key in _POLICIES}
    rows = [_row(column, frozenset(found.said.get(column.name, ())), usual) for column in terms.columns]
    names = ("column", "what", "usual", "allowed", "gaps are filled by", "differs in")
    lines = [
        f"a value that does not fit: {', '.join(f'{_POLICIES[key]}: {policy}' for key, policy in usual.items())}",
        f"a column that the model does not have: {terms.unknown}",
        f"a row that the model cannot answer: {terms.failed}",
        f"from {found.origin}" + ("; * is said by a person" if found.said else ""),
        f"file: {found.file}" if found.file else "",
        found.told,
    ]
    return Group(
        Text(head, style="bold"), table("inputs", names, rows, whole=1), *(Text(line) for line in lines if line)
    )


def _most(policies: list[str]) -> str:
    """The policy of most columns, the first of them where there are several."""
    return max(policies, key=policies.count)


def _row(column: Column, said: frozenset[str], usual: Mapping[str, str]) -> list[str]:
    def star(text: str, *keys: str) -> str:
        return text + "*" if text and said & set(keys) else text

    what = [
        star(column.label, "label"),
        star(column.kind, "type"),
        star(column.unit, "unit"),
        star("hashed" if column.hashed else "private" if column.private else "", "private", "hashed"),
    ]
    differs = [
        star("missing: allowed", "nullable")
        if key == "missing" and column.nullable
        else star(f"{name}: {getattr(column, key)}", key)
        for key, name in _POLICIES.items()
        if getattr(column, key) != usual[key] or (key == "missing" and column.nullable)
    ]
    allowed = _categories(column) if column.kind == "category" else _span(column.low, column.high)
    return [
        column.name,
        ", ".join(part for part in what if part),
        star(_span(column.usual_low, column.usual_high), "usual_low", "usual_high"),
        star(allowed, "low", "high", "categories"),
        star(_fill(column), "fill", "how"),
        ", ".join(differs),
    ]


def _fill(column: Column) -> str:
    if column.nullable or column.missing != "impute" or column.fill is None:
        return "-"
    return "a private value" if column.private else f"{_value(column.fill)} {column.how.replace('_', ' ')}".rstrip()


def _categories(column: Column) -> str:
    if column.private:
        return f"{len(column.categories)} categories"
    shown = ", ".join(column.categories[:4])
    return shown + (f" and {len(column.categories) - 4} more" if len(column.categories) > 4 else "")


def _span(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "-"
    return f"{'any' if low is None else format(low, '.6g')} to {'any' if high is None else format(high, '.6g')}"


def _value(value: object) -> str:
    return format(value, ".6g") if isinstance(value, float) else repr(value)
