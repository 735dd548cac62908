"""How tables, views and features look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fullcircle.cli.text import number, table

SHORT = 12  # of a digest


def listed(found: Any) -> RenderableType:
    """All tables and views."""
    if not found.tables and not found.views:
        return Text("none yet: append rows to a feature table, or publish a project whose data is a feature view")
    tables = [
        (one.name, ", ".join(one.key), one.rows, _minute(one.last_event), _minute(one.last_append), _list(one.views))
        for one in found.tables
    ]
    views = [
        (
            one.name,
            one.definition[:SHORT],
            _online(one),
            len(one.features),
            _list(one.tables),
            _list(f"{use.model} {_champion(use)}" for use in one.models),
        )
        for one in found.views
    ]
    return Group(
        table("tables", ("name", "key", "rows", "last event", "last append", "views"), tables, whole=1),
        Text(""),
        table("views", ("name", "definition", "online", "features", "tables", "models"), views, whole=2),
    )


def shown(found: Any) -> RenderableType:
    """Everything that goes by a name."""
    parts: list[RenderableType] = []
    if found.table is not None:
        parts += _table(found.table)
    if found.view is not None:
        parts += [Text(""), *_view(found.view)] if parts else _view(found.view)
    if found.features:
        rows = [(one.view, *_feature(one.feature)) for one in found.features]
        parts += [Text("")] if parts else []
        parts += [_filled(f"feature {found.name}", ("view", *_FEATURE), rows)]
    return Group(*parts)


def published(found: Any) -> RenderableType:
    """What was brought online."""
    lines = [Text(f"{one.rows} new rows taken into {one.table}") for one in found.ingested]
    rows = [(one.table, one.commit, one.rows, one.keys, "yes" if one.rebuilt else "no") for one in found.tables]
    head = Text(f"view {found.view}, definition {found.definition[:SHORT]}, is online", style="green")
    return Group(*lines, head, table("tables", ("table", "commit", "rows", "keys written", "from the start"), rows))


def answer(found: Any) -> RenderableType:
    """The features of a row."""
    when = "now, online" if found.at is None else f"as known at {found.at}, from the tables"
    rows = [(name, value, found.states[name]) for name, value in found.values.items()]
    return table(f"{found.view} {found.definition[:SHORT]} {when}", ("feature", "value", "status"), rows, whole=1)


def verified(found: Any) -> RenderableType:
    """How what was served compares with the tables."""
    compared = sum(one.compared for one in found.features)
    rows = [
        (one.name, one.compared, one.mismatches, one.missing, one.extra, number(one.largest_difference))
        for one in found.features
    ]
    columns = ("feature", "compared", "mismatches", "missing", "extra", "largest difference")
    since = f" since {found.since}" if found.since else ""
    head = f"{found.predictions} predictions{since}, {compared} values of {found.view} {found.definition[:SHORT]}: "
    if not found.predictions:
        said = Text(f"{head}nothing to compare", style="yellow")
    elif wrong := sum(one.mismatches for one in found.features):
        said = Text(f"{head}{wrong} differ, for example: fullcircle why {found.examples[0]}", style="red")
    else:
        said = Text(f"{head}all agree", style="green")
    return Group(table("served against recomputed", columns, rows, whole=1), *map(Text, found.notes), said)


def compacted(found: Any) -> RenderableType:
    """What a compaction came to."""
    return Text(
        f"{found.table}: {found.rows} rows in {found.files} files, {found.bytes / 1e6:.1f} MB; "
        f"{found.settled} can be a latest value"
    )


# --- parts --------------------------------------------------------------------------------------------

_FEATURE = ("feature", "type", "how", "of", "window", "max age", "no value", "about")


def _table(one: Any) -> list[RenderableType]:
    rows = [
        ("key", ", ".join(one.key)),
        ("time", one.time),
        ("id", _list(one.id)),
        ("a row is known", one.available),
        ("rows", f"{one.rows} in {one.batches} batches"),
        ("last event", one.last_event),
        ("last append", one.last_append),
        ("views", _list(one.views)),
        *_about(one),
    ]
    columns = [(column.name, column.kind, _share(column.nulls)) for column in one.columns]
    return [
        table(f"table {one.name}", ("", ""), rows),
        Text(""),
        table("columns", ("column", "kind", "null"), columns, whole=1),
    ]


def _view(one: Any) -> list[RenderableType]:
    rows = [
        ("keys", _list(one.keys)),
        ("request", _list(f"{name}: {kind}" for name, kind in one.request.items())),
        ("time", f"{one.time}{'' if one.closed == 'right' else ', that moment left out'}"),
        ("tables", _list(one.tables)),
        ("models", _list(f"{use.model} versions {_list(use.versions)} {_champion(use)}" for use in one.models)),
        *_about(one),
    ]
    known = [
        (each.digest[:SHORT], each.registered[:19], "online" if each.published else "") for each in one.definitions
    ]
    return [
        table(f"view {one.name}", ("", ""), rows),
        Text(""),
        _filled("features", _FEATURE, [_feature(each) for each in one.features]),
        Text(""),
        table("definitions", ("digest", "registered", ""), known, whole=1),
    ]


def _feature(one: Any) -> tuple[object, ...]:
    made_of = _list(one.inputs) if one.inputs else ".".join(part for part in (one.table, one.column) if part)
    return (
        one.name,
        one.type,
        one.how,
        made_of,
        one.window,
        one.max_age,
        "" if one.nulls is None else _share(one.nulls),
        one.about,
    )


def _filled(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> RenderableType:
    """A table without the columns that say nothing in any row."""
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    return table(title, [columns[place] for place in kept], ([row[place] for place in kept] for row in rows), whole=1)


def _about(one: Any) -> list[tuple[str, str]]:
    return [(name, said) for name, said in (("owner", one.owner), ("what it is", one.description)) if said]


def _online(one: Any) -> str:
    if one.published is None:
        return "no"
    return "yes" if one.published == one.definition else f"older: {one.published[:SHORT]}"


def _champion(use: Any) -> str:
    return "(no champion of it)" if use.champion is None else f"(champion {use.champion})"


def _share(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if not value else f"{100 * value:.3g} %"


def _minute(time: str | None) -> str | None:
    return None if time is None else time[:16]


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values) or "-"
