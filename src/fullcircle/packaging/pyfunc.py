"""A bundle as MLflow's "python function": what ``mlflow.pyfunc.load_model`` makes of a registered version.

MLflow imports this module by the name that stands in the version's MLmodel. It is a name for ever.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.errors import DataUnfit
from fullcircle.packaging.bundle import Bundle, open_bundle
from fullcircle.packaging.loading import check_golden, scorer
from fullcircle.runtimes.contracts import rows_of
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import pandas as pd


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Answering:
    """What MLflow calls, with the path of the bundle's archive.

    ``model_config={"allow_pickle": True}`` consents to a model file that runs code when it is loaded. Raises as
    ``Answering`` does.
    """
    consent = (model_config or {}).get("allow_pickle", False) is True
    return Answering(open_bundle(Path(path).read_bytes()), allow_pickle=consent)


class Answering:
    """A bundle that has answered its golden rows in this process, and answers as batch and server do.

    Raises ModelRefused for a model that may not be loaded, BundleInvalid where the golden rows are answered
    otherwise than when they were evaluated, and PluginUnknown or MissingExtra where a library is missing.
    """

    def __init__(self, bundle: Bundle, *, allow_pickle: bool = False) -> None:
        # Not beside the archive: MLflow hands out the artifact folder itself, and it may be read by others.
        folder = Path(tempfile.mkdtemp(prefix="fullcircle-code-"))
        self._code = weakref.finalize(self, _remove, str(folder), os.getpid())
        self._scorer = scorer(bundle, folder, allow_pickle=allow_pickle)
        check_golden(bundle, self._scorer, next_step="load it with the packages that its requirements.txt names")

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Answer n rows: a frame, a list of objects, an object of columns, or one object.

        Returns a frame with the index of the one given (0 to n - 1 otherwise) and the columns of a batch:
        ``prediction`` (NaN or None for a rejected row), ``verdict``, ``problems`` and, for classes,
        ``probability_CLASS``. With ``params={"verdicts": False}`` the array of predictions alone, shape (n,). Of a
        frame or columns, those that the contract does not know are left out. Raises DataUnfit for anything else.
        """
        index, rows = self._rows(model_input)
        found = self._scorer.score(rows)
        if not (params or {}).get("verdicts", True):
            return self._scorer.values(found)
        return self._framed(found, index)

    def _rows(self, given: Any) -> tuple[Any, Sequence[object]]:
        import pandas as pd

        if isinstance(given, Mapping):
            columns = [value for value in given.values() if pd.api.types.is_list_like(value, allow_sets=False)]
            given = pd.DataFrame(dict(given)) if columns and len(columns) == len(given) else [given]
        if isinstance(given, pd.DataFrame):
            return given.index, rows_of(given, self._scorer.contract)
        if isinstance(given, list):
            return None, given
        raise DataUnfit(
            "these are no rows",
            received=type(given).__name__,
            allowed="a pandas DataFrame with the columns of the contract, a list of objects, or an object of columns",
            next_step="give a DataFrame with named columns",
        )

    def _framed(self, found: Sequence[Prediction], index: Any) -> pd.DataFrame:
        import pandas as pd

        columns: dict[str, Any] = {
            "prediction": self._scorer.values(found),
            "verdict": [one.verdict.status for one in found],
            "problems": ["; ".join(f"{each.column}: {each.text}" for each in one.verdict.problems) for one in found],
        }
        chances = self._scorer.probabilities(found)
        if chances is not None:
            names = (f"probability_{label}" for label in self._scorer.contract.classes)
            columns |= dict(zip(names, chances.T, strict=True))
        return pd.DataFrame(columns, index=index)


def _remove(folder: str, process: int) -> None:
    """Remove the project's own code, unless this is a fork of the process that laid it out."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
