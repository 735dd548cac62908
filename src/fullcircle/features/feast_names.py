"""The names of Feast's feature store for what means the same here, for code that moves over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fullcircle.errors import FeatureInvalid
from fullcircle.features import frames
from fullcircle.features.publishing import Published
from fullcircle.features.store import Store, View
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.features import FeatureView

EVENT_TIMESTAMP = "event_timestamp"


class FeatureStore:
    """A Store under Feast's names. ``store`` is open, and stays so.

    ``features`` is here a view: a FeatureView, a definition, or the name of one in the catalogue. It is what Feast
    calls a FeatureService; lists of "view:feature" are not taken. What means something else has no name here: for
    ``apply`` see ``Store.register``, for ``push`` and ``write_to_offline_store`` see ``Store.append``.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def get_historical_features(self, entity_df: Any, features: View) -> HistoricalFeatures:
        """The rows of ``entity_df`` (a frame, no SQL) with the features as they were known at the time of each.

        The column of time is that of the view's labels; ``event_timestamp`` is taken for it where that is absent.
        Unlike Feast's: rows keep their order, and every one comes back; a row is known from when it was available,
        not from its event time; how old a value may be is said by each feature's ``max_age``, not a view's ``ttl``.
        """
        spec = _spec(self.store, features)
        table, _ = frames.to_arrow(entity_df, "entity_df")
        renamed = spec.time not in table.column_names and EVENT_TIMESTAMP in table.column_names
        names = [spec.time if renamed and name == EVENT_TIMESTAMP else name for name in table.column_names]
        found = self.store.train(spec, table.rename_columns(names)).frame
        return HistoricalFeatures(
            found.rename_columns([*table.column_names, *found.column_names[len(names) :]]) if renamed else found
        )

    def get_online_features(self, features: View, entity_rows: Sequence[Mapping[str, Any]]) -> OnlineFeatures:
        """The present features of each row of keys (and request columns), from the online store.

        Unlike Feast's: a view that is not published as it is declared raises ViewNotPublished, in place of nulls.
        """
        rows = [dict(row) for row in entity_rows]
        return OnlineFeatures(rows, self.store.get(features, rows, status=True))

    def materialize_incremental(self, view: View) -> tuple[Published, ...]:
        """Bring a view online, as far as rows were appended since the last time: ``Store.publish``.

        Unlike Feast's there is no end: all rows go, those that are not visible yet wait.
        """
        if not isinstance(view, FeatureView | ViewSpec | str):
            raise FeatureInvalid(
                "materialize_incremental takes a view here, no end date",
                received=repr(view)[:60],
                allowed="a FeatureView, or the name of one: everything that was appended is brought online",
                next_step="materialize_incremental(view)",
            )
        return self.store.publish(view)


class HistoricalFeatures:
    """What ``get_historical_features`` found; it is there already, nothing waits to be computed."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def to_df(self) -> Any:
        """A pandas frame: the rows as they came, the features beside them."""
        return frames.to_pandas(self._table)

    def to_arrow(self) -> Any:
        """The same as an Arrow table."""
        return self._table


class OnlineFeatures:
    """What ``get_online_features`` found."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> None:
        self._rows, self._found = rows, found

    def to_dict(self, include_statuses: bool = False) -> dict[str, list[Any]]:
        """A list for each column: what was asked with, then the features; with ``NAME__status`` where asked for."""
        whole = [{**row, **found} for row, found in zip(self._rows, self._found, strict=True)]
        names = dict.fromkeys(name for row in whole for name in row)
        return {
            name: [row.get(name) for row in whole]
            for name in names
            if include_statuses or not name.endswith("__status")
        }

    def to_df(self) -> Any:
        """The same as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.to_dict())


def _spec(store: Store, view: View) -> ViewSpec:
    if isinstance(view, ViewSpec):
        return view
    return store.spec(view) if isinstance(view, str) else store.define(view)
