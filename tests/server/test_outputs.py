"""What another version answered under a split is put under the classes of the version that is served, by name."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.dialects import Row
from fullcircle.server.http import Answer
from fullcircle.server.rendering import Lines
from fullcircle.server.v2.documents import Model
from fullcircle.server.v2.outputs import OfLines, OfRows
from serving import Coin, Sum, contract, loaded


class Sure:
    """A classifier of any classes, certified to have probabilities."""

    def __init__(self, labels: tuple[Any, ...]) -> None:
        self.labels = labels

    def predict(self, frame: Any) -> Any:
        return np.array([self.labels[0]] * len(frame), dtype=object)

    def predict_proba(self, frame: Any) -> Any:
        return np.full((len(frame), len(self.labels)), 1.0 / len(self.labels))


def served(*labels: Any) -> Model:
    wanted = contract(task="classification", classes=labels, prior=labels[0])
    return Model(loaded(scorer=Scorer(wanted, Sure(labels))))


def row(value: Any, shares: dict[str, float | None] | None = None) -> Row:
    return Row(id="x-1", prediction=value, verdict="ok", problems=[], probabilities=shares)


def outputs(model: Model, *rows: Row, in_bytes: bool = False) -> dict[str, Any]:
    """The values of each output, read as a client reads them; numbers in bytes with NaN as None."""
    wanted = {name: one._replace(in_bytes=in_bytes) for name, one in model.all.items()}
    found = model.answer(wanted, "1", OfRows(model, rows), version=2)
    return _in_bytes(found) if in_bytes else {one["name"]: one for one in json.loads(found.body)["outputs"]}


def _in_bytes(found: Answer) -> dict[str, Any]:
    length = int(dict(found.headers)[b"inference-header-content-length"])
    document, rest, read = json.loads(found.body[:length]), found.body[length:], {}
    for one in document["outputs"]:
        size = one["parameters"]["binary_data_size"]
        part, rest = rest[:size], rest[size:]
        if one["datatype"] == "BYTES":
            texts = []
            while part:
                end = 4 + int.from_bytes(part[:4], "little")
                texts.append(part[4:end].decode() or None)
                part = part[end:]
            one["data"] = texts
        else:
            kind = {"FP64": "<f8", "INT64": "<i8", "BOOL": "?"}[one["datatype"]]
            values = np.frombuffer(part, dtype=kind).tolist()
            one["data"] = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        read[one["name"]] = one
    assert not rest
    return read


@pytest.mark.parametrize("in_bytes", [False, True])
def test_shares_stand_under_their_own_class_whatever_order_they_came_in(in_bytes: bool) -> None:
    found = outputs(
        served("no", "yes"),
        row("yes", {"yes": 0.75, "no": 0.25}),
        row("no", {"no": 0.5, "maybe": 0.25, "yes": 0.25}),
        row("maybe", {"maybe": 1.0}),
        row("no"),
        in_bytes=in_bytes,
    )
    assert found["probabilities"]["shape"] == [4, 2]
    assert json.loads(found["probabilities"]["parameters"]["classes"]) == ["no", "yes"]
    assert found["probabilities"]["data"] == [0.25, 0.75, 0.5, 0.25, None, None, None, None]
    assert found["prediction"]["data"] == ["yes", "no", None, "no"]


@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize(
    ("labels", "strange"),
    [
        ((0, 1), ["yes", 2, True, 0.5, None]),
        ((False, True), ["yes", 1, 0, 1.0, None]),
        ((0.5, 1.5), ["yes", 2.5, True, 1, None]),
        (("a", "b"), ["c", 1, True, 0.5, None]),
        (("a", 1), ["1", "b", True, 1.0, None]),
    ],
)
def test_a_label_that_is_none_of_ours_is_null_and_no_defect(
    labels: tuple[Any, Any], strange: list[Any], in_bytes: bool
) -> None:
    model = served(*labels)
    shown = [str(label) if isinstance(labels[0], str) else label for label in labels]
    for value in strange:
        found = outputs(model, row(labels[1]), row(value), row(labels[0]), in_bytes=in_bytes)
        assert found["prediction"]["data"] == [shown[1], None, shown[0]], value
        assert found["prediction"]["datatype"] == ("BYTES" if isinstance(labels[0], str) else "FP64")
    whole = outputs(model, row(labels[1]), row(labels[0]), in_bytes=in_bytes)["prediction"]
    assert whole["data"] == shown[::-1]
    assert [type(value) for value in whole["data"]] == [type(value) for value in shown[::-1]]


@pytest.mark.parametrize("in_bytes", [False, True])
def test_a_class_from_another_version_is_no_number(in_bytes: bool) -> None:
    model = Model(loaded(scorer=Scorer(contract(), Sum())))
    found = outputs(model, row(1.5), row("yes"), row(True), row(3), in_bytes=in_bytes)
    assert found["prediction"]["data"] == [1.5, None, None, 3]
    assert "probabilities" not in found


NAMES = st.lists(st.sampled_from(["no", "yes", 'a "%b" 😀', "", "3"]), min_size=2, max_size=5, unique=True)
SHARES = st.dictionaries(
    st.sampled_from(["no", "yes", 'a "%b" 😀', "", "3", "other"]), st.floats(0, 1) | st.none(), max_size=6
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(labels=NAMES, rows=st.lists(st.tuples(st.sampled_from(["no", "other", "", "3", None]), SHARES), min_size=1))
def test_every_share_is_that_of_its_name_or_null(labels: list[str], rows: list[tuple[Any, Any]]) -> None:
    model = served(*labels)
    found = outputs(model, *(row(value, shares or None) for value, shares in rows))
    assert found["probabilities"]["shape"] == [len(rows), len(labels)]
    data = found["probabilities"]["data"]
    for place, (value, shares) in enumerate(rows):
        assert data[place * len(labels) : (place + 1) * len(labels)] == [shares.get(label) for label in labels]
        assert found["prediction"]["data"][place] == (value if value in labels else None)


LABELS = st.lists(
    st.sampled_from(["no", 'a "%b" 😀', 3, 4.5, True, 2**60]), min_size=2, max_size=4, unique_by=lambda one: str(one)
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(labels=LABELS, data=st.data(), given_id=st.sampled_from(["", 'my "%d" id']))
def test_some_of_many_lines_are_written_as_their_rows_are(
    labels: list[Any], data: st.DataObject, given_id: str
) -> None:
    model = served(*labels)
    count = data.draw(st.integers(1, 4))
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    places = data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=count, max_size=count))
    chances = np.arange(count * len(labels)).reshape(count, len(labels)) / 7.0
    renderer = model.loaded.renderer
    block = model.loaded.scorer.block(np.zeros((0, 3)))
    block = type(block)(np.array(places), chances)
    ids = [f"x-{place}" for place in range(count)]
    lines = Lines(ids, *renderer.parts(block), block.answers, block.chances)
    found = model.written(model.all, given_id, lines, start, end)
    rows = [
        Row(
            id=ids[place],
            prediction=labels[places[place]],
            verdict="ok",
            problems=[],
            probabilities=dict(zip(map(str, labels), chances[place].tolist(), strict=True)),
        )
        for place in range(start, end)
    ]
    expected = model.answer(model.all, given_id or ids[start], OfRows(model, rows), version=1)
    assert found.body == expected.body
    everything = {name: one._replace(in_bytes=True) for name, one in model.all.items()}
    by_lines = model.written(everything, given_id, lines, start, end)
    by_rows = model.answer(everything, given_id or ids[start], OfRows(model, rows), version=1)
    assert (by_lines.body, by_lines.headers, by_lines.kind) == (by_rows.body, by_rows.headers, by_rows.kind)
    for name in model.all:
        assert OfLines(model, lines, start, end).json(name) == OfRows(model, rows).json(name)


def test_an_answer_has_an_id_where_neither_request_nor_rows_have_one() -> None:
    model = Model(loaded(scorer=Scorer(contract(task="classification", classes=("no", "yes"), prior="no"), Coin())))
    block = model.loaded.scorer.block(np.array([[60.0, 20.0, 0.0], [40.0, 20.0, 0.0]]))
    lines = Lines(["", ""], *model.loaded.renderer.parts(block), block.answers, block.chances)
    found = [json.loads(model.written(model.all, "", lines, 0, 2).body) for _ in range(2)]
    assert all(one["id"] for one in found)
    assert found[0]["id"] != found[1]["id"]
