"""A view as a step of a scikit-learn pipeline: rows with keys in, features out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fullcircle.errors import FeatureInvalid
from fullcircle.features import frames, training
from fullcircle.features.store import Store, View
from fullcircle.types.definitions import ViewSpec


class Lookup(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Looks up the features of a view by the keys of each row; only the features go on.

    A frame with the column of time (``time``, by default that of the view's labels) gets them as they were known at
    the time of each row, from the tables. One without it gets the present ones from the online store, where this very
    definition has to be published. ``fit`` learns nothing but what the view means at that moment, kept in ``spec_``.

    ``view`` is a FeatureView, or the name of one in the catalogue. ``store`` stays open and yours; without it that of
    the surroundings is opened each time. A copy shares the store; to pickle one, leave it out.

    ``transform`` returns pandas; after ``set_output(transform="default")`` a numpy matrix, of floats where every
    feature is a number.
    """

    def __init__(self, view: View, store: Store | None = None, time: str | None = None) -> None:
        self.view = view
        self.store = store
        self.time = time

    def fit(self, X: Any, y: Any = None) -> Lookup:
        """Define the view, and see that the rows have what it asks for."""
        with self._opened() as store:
            self.spec_ = _spec(store, self.view)
        table, _ = frames.to_arrow(X, _WHAT)
        frames.need(table, [*_asked(self.spec_), *([self.time] if self.time else [])], _WHAT)
        self.feature_names_in_ = np.array(table.column_names, dtype=object)
        self.n_features_in_ = len(table.column_names)
        return self

    def transform(self, X: Any) -> Any:
        """The features of each row, in the order of the view."""
        check_is_fitted(self, "spec_")
        spec: ViewSpec = self.spec_
        table, _ = frames.to_arrow(X, _WHAT)
        frames.need(table, _asked(spec), _WHAT)
        with self._opened() as store:
            found = (
                self._known_then(store, table) if self._timed(table) else store.get(spec, table.select(_asked(spec)))
            )
        frame = frames.to_pandas(found.select(list(spec.order)))
        if hasattr(X, "index") and len(X.index) == len(frame):
            frame.index = X.index
        chosen = getattr(self, "_sklearn_output_config", {}).get("transform")
        return _matrix(frame) if chosen == "default" else frame

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The names of the features, in order."""
        check_is_fitted(self, "spec_")
        return np.array(self.spec_.order, dtype=object)

    def _timed(self, table: Any) -> bool:
        if self.time is not None:
            frames.need(table, [self.time], _WHAT)
        return (self.time or self.spec_.time) in table.column_names

    def _known_then(self, store: Store, table: Any) -> Any:
        spec: ViewSpec = self.spec_
        labels = table.select([*_asked(spec), self.time or spec.time])
        labels = labels.rename_columns([*_asked(spec), spec.time])
        tables = {each.name: (store.log(each), store.state(each)) for each in spec.tables}
        return training.train(spec, tables, labels)

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        with nullcontext(self.store) if self.store is not None else Store.open() as store:
            yield store

    def __sklearn_clone__(self) -> Lookup:
        """Another one of the same view and the same open store, not fitted."""
        made = type(self)(self.view, self.store, self.time)
        if hasattr(self, "_sklearn_output_config"):
            made._sklearn_output_config = dict(self._sklearn_output_config)
        return made

    def __getstate__(self) -> Any:
        """What is pickled; an open store cannot be."""
        if self.store is not None:
            raise FeatureInvalid(
                "a Lookup with an open store cannot be pickled or sent to another process",
                received=f"store={self.store!r}",
                allowed="store=None: the store of the surroundings is opened where it is used",
                next_step="leave store out, and say where the workspace is with FULLCIRCLE_WORKSPACE",
            )
        return super().__getstate__()


_WHAT = "the table to look features up for"


def _spec(store: Store, view: View) -> ViewSpec:
    if isinstance(view, ViewSpec):
        return view
    return store.spec(view) if isinstance(view, str) else store.define(view)


def _asked(spec: ViewSpec) -> Sequence[str]:
    """What a row has to bring: keys, and what functions take of the request."""
    wanted = {name for function in spec.functions for name in function.inputs}
    return list(dict.fromkeys((*spec.key_columns, *(name for name in spec.request if name in wanted))))


def _matrix(frame: Any) -> Any:
    import pandas as pd

    numbers = all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes)  # booleans are
    return frame.to_numpy(dtype="float64", na_value=np.nan) if numbers else frame.to_numpy(dtype=object)
