"""Real bundles of small real models, told apart by what they answer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from bundle_samples import PROFILE, WHEEL, lock_of
from fullcircle.packaging.bundle import build, pack
from fullcircle.runtimes.contracts import examine, to_frame
from fullcircle.runtimes.forms.certificate import trees
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.types.form import Certificate
from fullcircle.types.needs import Need
from serving import GOOD, contract

ROWS = [{**GOOD, "age": 20 + place, "bmi": 20.0 + place / 7, "sex": "fm"[place % 2]} for place in range(60)]


def archive(version: int, name: str = "m", requires: tuple[Need, ...] = (), *, compiled: bool = False) -> bytes:
    """A bundle whose every answer lies near 1000 x version.

    Where its ``compiled`` form answers, a server is there in a fraction of the time: it loads no scikit-learn.
    """
    frame = to_frame(contract(), [examine(contract(), row)[1] for row in ROWS])
    target = pd.Series(1000.0 * version + np.arange(len(ROWS)) / 10)
    model = HistGradientBoostingRegressor(max_iter=5, random_state=0, categorical_features="from_dtype")
    model.fit(frame, target)
    made = trees(contract(), model) if compiled else None
    form = made.form if made is not None else None
    golden = list(zip(ROWS[:9], Scorer(contract(), model, form=form).score(ROWS[:9]), strict=True))
    saved = SklearnRuntime().save(model, Path.cwd())
    found = build(
        model=name,
        runtime="sklearn",
        saved=saved,
        contract=contract(),
        golden=golden,
        profile=PROFILE,
        lock=lock_of(WHEEL),
        wheel=WHEEL,
        requires=requires,
        certificate=Certificate(form="trees" if compiled else "frame"),
        compiled=made.data if made is not None else None,
    )
    return pack(found)


def serve(served: Path, models: Mapping[str, tuple[int, bytes]]) -> None:
    """Write archives beside ``served`` and make it name them, as a whole."""
    entries = {}
    for name, (version, data) in models.items():
        digest = hashlib.sha256(data).hexdigest()
        path = served.with_name(f"{digest}.zip")
        if not path.exists():
            path.write_bytes(data)
        entries[name] = {"version": version, "bundle": digest, "path": path.name}
    partial = served.with_name("served.new")
    partial.write_text(json.dumps({"models": entries}))
    os.replace(partial, served)
