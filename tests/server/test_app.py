"""The application through its ASGI door: answers, refusals, the log, overload."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Trouble, View
from fullcircle.server.http import Limits
from fullcircle.tables import predictions as log
from serving import GOOD, JSON_HEADER, Coin, Response, Sum, app, ask, call, classes, contract, loaded, post, view


def told(found: Response, status: int, code: str = "request_invalid") -> str:
    """The message of a refusal, which must have the one shape."""
    assert found.status == status, found.body
    assert found.json["error"]["code"] == code
    assert found.headers["content-type"] == "application/json"
    return str(found.json["error"]["message"])


def test_every_row_gets_its_verdict_and_is_in_the_log(tmp_path: Path) -> None:
    rows = [
        GOOD,
        {**GOOD, "bmi": None},
        {**GOOD, "bmi": 75},
        {**GOOD, "sex": "x"},
        {**GOOD, "age": True},
        {**GOOD, "age": "40"},
        {**GOOD, "age": 17},
        {**GOOD, "colour": "red"},
    ]
    found = post(app(tmp_path), "/predict/m", {"rows": rows})
    assert found.status == 200
    assert (found.json["model"], found.json["version"]) == ("m", 1)
    answers = found.json["predictions"]
    assert [one["verdict"] for one in answers] == [
        "ok",
        "imputed",
        "flagged",
        "fallback",
        "rejected",
        "rejected",
        "rejected",
        "rejected",
    ]
    assert [one["prediction"] for one in answers] == [65.5, 66.0, 115.0, 99.0, None, None, None, None]
    assert [[problem["reason"] for problem in one["problems"]] for one in answers] == [
        [],
        ["missing"],
        ["outside"],
        ["unseen"],
        ["wrong_type"],
        ["wrong_type"],
        ["outside"],
        ["unknown"],
    ]
    logged = list(log.read(tmp_path, "m"))
    assert {one.id for one in logged} == {one["id"] for one in answers}
    for one, answer in zip(logged, answers, strict=True):
        assert (one.id, one.value, one.verdict.status) == (answer["id"], answer["prediction"], answer["verdict"])
        assert (one.model, one.version, one.bundle) == ("m", 1, "b" * 64)


def test_private_columns_reach_neither_log_nor_answer(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "sex": "SECRETVALUE"}, {**GOOD, "sex": 7777777}]
    found = post(app(tmp_path), "/predict/m", {"rows": rows})
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for content in (written, found.body):
        assert b"SECRETVALUE" not in content
        assert b"7777777" not in content
    (first, *_) = log.read(tmp_path, "m")
    assert first.inputs == {"age": 40, "bmi": 25.5}


def test_classes_come_with_probabilities(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(scorer=Scorer(classes(), Coin())))
    (answer,) = post(target, "/predict/m", {"rows": [{**GOOD, "age": 75}]}).json["predictions"]
    assert answer["prediction"] == "yes"
    assert answer["probabilities"] == {"no": 0.25, "yes": 0.75}
    assert "probabilities" not in post(app(tmp_path), "/predict/m", {"rows": [GOOD]}).json["predictions"][0]


def test_when_every_row_is_rejected_the_status_says_so_and_the_verdicts_come_along(tmp_path: Path) -> None:
    found = post(app(tmp_path), "/predict/m", {"rows": [{}, {"age": -1}]})
    assert "every row" in told(found, 422)
    assert [one["verdict"] for one in found.json["predictions"]] == ["rejected", "rejected"]
    assert len(list(log.read(tmp_path, "m"))) == 2


class Moody:
    """Raises for one row, answers NaN for another."""

    def predict(self, frame: Any) -> Any:
        if (frame["age"] == 66).any():
            raise ValueError("no 66")
        return frame["age"].where(frame["age"] != 77, other=float("nan")).to_numpy(dtype=float)


def test_a_row_that_breaks_the_model_takes_no_other_down(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(scorer=Scorer(contract(), Moody())))
    found = post(target, "/predict/m", {"rows": [{**GOOD, "age": age} for age in (20, 66, 30, 77, 40)]})
    assert found.status == 200
    assert [one["prediction"] for one in found.json["predictions"]] == [20.0, None, 30.0, None, 40.0]
    assert [one["problems"][0]["reason"] for one in found.json["predictions"] if one["problems"]] == ["model"] * 2


@pytest.mark.parametrize(
    "document",
    [
        None,
        1,
        [],
        {},
        [GOOD],
        GOOD,
        {"rows": None},
        {"rows": {}},
        {"rows": []},
        {"rows": "x"},
        {"rows": [1]},
        {"rows": [GOOD, None]},
        {"rows": [[1, 2]]},
        {"rows": [GOOD], "more": 1},
        {"Rows": [GOOD]},
    ],
)
def test_a_body_of_another_form_is_refused(tmp_path: Path, document: Any) -> None:
    told(post(app(tmp_path), "/predict/m", document), 400)
    assert list(log.read(tmp_path, "m")) == []


@pytest.mark.parametrize("value", [[], {}, [[1]], {"a": {"b": 1}}, "1e3", 10**30, 1.5, "", "\x00", "é" * 999])
def test_a_strange_value_in_a_row_is_a_verdict_not_an_error(tmp_path: Path, value: Any) -> None:
    found = post(app(tmp_path), "/predict/m", {"rows": [GOOD, {**GOOD, "age": value}]})
    assert found.status == 200
    assert [one["verdict"] for one in found.json["predictions"]] == ["ok", "rejected"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"text/csv")],
        [(b"content-type", b"application/x-www-form-urlencoded")],
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"application/json; charset=utf-7")],
        [(b"content-type", b"application/json; charset=utf-16")],
        [(b"content-type", b"application/json"), (b"content-type", b"application/json")],
        [(b"content-type", b"")],
        [(b"content-type", b"\xff\xfe")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"identity"), (b"content-encoding", b"br")],
    ],
)
def test_another_content_type_or_encoding_is_refused(tmp_path: Path, headers: list[tuple[bytes, bytes]]) -> None:
    body = json.dumps({"rows": [GOOD]}).encode()
    told(call(app(tmp_path), "POST", "/predict/m", body, headers), 415)


@pytest.mark.parametrize(
    "kind", [b"application/json; charset=utf-8", b"APPLICATION/JSON", b'application/json;charset="UTF-8"']
)
def test_ways_to_write_the_right_content_type(tmp_path: Path, kind: bytes) -> None:
    body = json.dumps({"rows": [GOOD]}).encode()
    assert call(app(tmp_path), "POST", "/predict/m", body, [(b"Content-Type", kind)]).status == 200


def test_the_body_is_bounded_to_the_byte_announced_or_not(tmp_path: Path) -> None:
    body = json.dumps({"rows": [GOOD]}).encode()
    target = app(tmp_path, limits=Limits(body_bytes=len(body)))
    header = (b"content-type", b"application/json")
    assert call(target, "POST", "/predict/m", [body[:9], body[9:]]).status == 200
    told(call(target, "POST", "/predict/m", [body, b" "]), 413)
    for length in (str(len(body) + 1).encode(), b"9" * 30):
        told(call(target, "POST", "/predict/m", body, [header, (b"content-length", length)]), 413)


def test_a_large_body_is_decoded_off_the_loop_with_the_same_answer(tmp_path: Path) -> None:
    rows = [{**GOOD, "age": 20 + place % 60} for place in range(3000)]
    found = post(app(tmp_path), "/predict/m", {"rows": rows})
    assert [one["prediction"] for one in found.json["predictions"]] == [row["age"] + 25.5 for row in rows]  # type: ignore[operator]  # both are numbers
    told(call(app(tmp_path), "POST", "/predict/m", json.dumps({"rows": rows}).encode() + b"}"), 400)


def test_the_number_of_rows_is_bounded(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(rows=3))
    assert post(target, "/predict/m", {"rows": [GOOD] * 3}).status == 200
    told(post(target, "/predict/m", {"rows": [GOOD] * 4}), 413)


def test_a_body_that_trickles_is_cut_off(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(body_seconds=0.05))

    async def trickle() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict/m",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(target(scope, trickle, send))
    assert sent[0]["status"] == 408


def test_all_bodies_together_are_bounded_and_the_room_is_given_back(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(reading_bytes=100))
    for _ in range(3):
        found = call(target, "POST", "/predict/m", [b" " * 60, b" " * 60])
        told(found, 503, "server_busy")
        assert found.headers["retry-after"] == "1"
    assert post(target, "/predict/m", {"rows": [GOOD]}).status == 200


def test_who_hangs_up_is_not_answered(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict/m",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(app(tmp_path)(scope, receive, send))
    assert sent == []


@pytest.mark.parametrize("path", ["/", "", "/predict", "/outcomes/", "/models/", "//predict/m", "/..", "/x\ud800"])
def test_other_addresses_are_not_there(tmp_path: Path, path: str) -> None:
    told(call(app(tmp_path), "GET", path), 404)
    told(post(app(tmp_path), path, {"rows": [GOOD]}), 404)


@pytest.mark.parametrize("name", ["", "other", "m/", "m/x", "../m", "M", "m ", "m\x00", "\ud800", "x" * 10_000])
def test_a_model_that_is_not_served_is_named_as_such(tmp_path: Path, name: str) -> None:
    found = post(app(tmp_path), f"/predict/{name}", {"rows": [GOOD]})
    told(found, 404, "model_not_served")
    assert len(found.body) < 1000


def test_the_wrong_method_is_told_the_right_one(tmp_path: Path) -> None:
    target = app(tmp_path)
    for path, allowed in {"/predict/m": "POST", "/outcomes": "POST", "/models": "GET, HEAD"}.items():
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "GET" if allowed == "POST" else "POST"):
            found = call(target, method, path)
            told(found, 405)
            assert found.headers["allow"] == allowed


def test_head_is_get_without_the_body(tmp_path: Path) -> None:
    target = app(tmp_path)
    for path in ("/models", "/health/live", "/health/ready"):
        full, head = call(target, "GET", path), call(target, "HEAD", path)
        assert (head.status, head.headers, head.body) == (full.status, full.headers, b"")


def test_outcomes_are_reported_one_by_one(tmp_path: Path) -> None:
    other = loaded("other")
    target = app(tmp_path, loaded(), other)
    mine, second = (one["id"] for one in post(target, "/predict/m", {"rows": [GOOD, GOOD]}).json["predictions"])
    (foreign,) = (one["id"] for one in post(target, "/predict/other", {"rows": [GOOD]}).json["predictions"])
    sent = [
        {"id": mine, "value": 70},
        {"id": "0123456789abcdef-0", "value": 70},
        {"id": "../../etc/passwd", "value": 70},
        {"id": foreign, "value": 70},
        {"id": second, "value": "70"},
        {"id": second, "value": None},
        {"id": second, "value": True},
        {"id": mine, "value": 71.5},
    ]
    found = post(target, "/outcomes", {"model": "m", "outcomes": sent})
    assert found.status == 200
    expected = ["accepted", "unknown", "unknown", "unknown", "rejected", "rejected", "rejected", "accepted"]
    assert [one["status"] for one in found.json["outcomes"]] == expected
    assert [one["id"] for one in found.json["outcomes"]] == [one["id"] for one in sent]
    outcomes = log.read_outcomes(tmp_path, "m")
    assert {number: one.value for number, one in outcomes.items()} == {mine: 71.5}


@pytest.mark.parametrize("label", ["1" * 400, "-" + "1" * 400, str(2**1024)])
def test_a_label_that_no_float_can_hold_is_rejected(tmp_path: Path, label: str) -> None:
    """Once written it would stop monitoring and retraining for good."""
    target = app(tmp_path)
    (number,) = (one["id"] for one in post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"])
    body = f'{{"model": "m", "outcomes": [{{"id": "{number}", "value": {label}}}]}}'
    found = call(target, "POST", "/outcomes", body.encode())
    assert found.status in (400, 422)
    assert log.read_outcomes(tmp_path, "m") == {}
    largest = int(1.7976931348623157e308)
    assert post(target, "/outcomes", {"model": "m", "outcomes": [{"id": number, "value": largest}]}).status == 200


def test_outcomes_of_a_classifier_are_its_classes(tmp_path: Path) -> None:
    target = app(tmp_path, loaded(scorer=Scorer(classes(), Coin())))
    (number,) = (one["id"] for one in post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"])
    for value, status in {"yes": 200, "perhaps": 422, "Yes": 422}.items():
        found = post(target, "/outcomes", {"model": "m", "outcomes": [{"id": number, "value": value}]})
        assert found.status == status
    assert "no outcome" in told(found, 422)
    assert log.read_outcomes(tmp_path, "m")[number].value == "yes"


@pytest.mark.parametrize(
    "document",
    [
        {"outcomes": []},
        {"model": "m", "outcomes": []},
        {"model": 1, "outcomes": [{"id": "x", "value": 1}]},
        {"model": "m", "outcomes": [{"id": 1, "value": 1}]},
        {"model": "m", "outcomes": [{"id": "x"}]},
        {"model": "m", "outcomes": [{"id": "x", "value": 1, "more": 2}]},
        {"model": "m", "outcomes": {"id": "x", "value": 1}},
    ],
)
def test_outcomes_of_another_form_are_refused(tmp_path: Path, document: Any) -> None:
    told(post(app(tmp_path), "/outcomes", document), 400)


def test_outcomes_for_a_model_that_is_not_served(tmp_path: Path) -> None:
    body = {"model": "nobody", "outcomes": [{"id": "x", "value": 1}]}
    told(post(app(tmp_path), "/outcomes", body), 404, "model_not_served")


def test_health_and_models_tell_what_is_served_and_what_is_not(tmp_path: Path) -> None:
    seen = View()
    target = App(lambda: seen, Desk(tmp_path))
    assert call(target, "GET", "/health/live").json == {"live": True}
    told(call(target, "GET", "/health/ready"), 503, "server_busy")
    trouble = Trouble(version=2, bundle="c" * 64, code="bundle_invalid", message="one byte is wrong")
    seen = View(wanted=frozenset({"m"}), troubles={"m": trouble}, file="")
    found = call(target, "GET", "/health/ready")
    assert "m" in told(found, 503, "server_busy")
    assert "one byte is wrong" in found.json["error"]["received"]
    told(post(target, "/predict/m", {"rows": [GOOD]}), 503, "server_busy")
    seen = View(loaded={"m": loaded()}, wanted=frozenset({"m"}), troubles={"m": trouble}, file="")
    found = call(target, "GET", "/health/ready")
    assert (found.status, found.json) == (200, {"ready": True, "problems": {"m": "one byte is wrong"}})
    (told_model,) = call(target, "GET", "/models").json["models"]
    assert (told_model["version"], told_model["problem"]["version"]) == (1, 2)


def test_while_draining_it_answers_closes_and_is_not_ready(tmp_path: Path) -> None:
    target = app(tmp_path)
    target.draining = True
    found = post(target, "/predict/m", {"rows": [GOOD]})
    assert (found.status, found.headers["connection"]) == (200, "close")
    told(call(target, "GET", "/health/ready"), 503, "server_busy")
    assert call(target, "GET", "/health/live").status == 200


def test_overload_is_refused_at_once_and_health_goes_on(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(waiting=3))
    body = json.dumps({"rows": [GOOD]}).encode()

    async def storm() -> list[Response]:
        asked = [asyncio.create_task(ask(target, "POST", "/predict/m", body)) for _ in range(8)]
        health = asyncio.create_task(ask(target, "GET", "/health/ready"))
        done = await asyncio.gather(*asked)
        assert (await health).status == 200
        assert (await ask(target, "POST", "/predict/m", body)).status == 200  # the places are free again
        assert [one.status for one in done] == [200] * 3 + [503] * 5
        return done[3:]

    for found in asyncio.run(storm()):
        told(found, 503, "server_busy")
        assert found.headers["retry-after"] == "1"
    assert len(list(log.read(tmp_path, "m"))) == 4


def test_one_request_is_answered_by_one_version_however_often_it_changes(tmp_path: Path) -> None:
    current = view(loaded(version=1))
    target = App(lambda: current, Desk(tmp_path))
    body = json.dumps({"rows": [GOOD] * 5}).encode()

    async def swaps() -> None:
        nonlocal current
        for version in range(2, 40):
            asked = [asyncio.create_task(ask(target, "POST", "/predict/m", body)) for _ in range(3)]
            await asyncio.sleep(0)
            current = view(loaded(version=version, scorer=Scorer(contract(), Sum(1000.0 * version))))
            for one in await asyncio.gather(*asked):
                number = one.json["version"]
                expected = 65.5 + (1000.0 * number if number > 1 else 0.0)
                assert {row["prediction"] for row in one.json["predictions"]} == {expected}

    asyncio.run(swaps())


def test_a_model_that_is_taken_away_while_its_request_comes_is_told_as_such(tmp_path: Path) -> None:
    current = view(loaded())
    target = App(lambda: current, Desk(tmp_path))
    body = json.dumps({"rows": [GOOD]}).encode()
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": part, "more_body": part is body} for part in (body, b"")]

    async def receive() -> Any:
        nonlocal current
        current = view() if len(parts) == 1 else current
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict/m", "headers": list(JSON_HEADER)}
    asyncio.run(target(scope, receive, send))
    assert (sent[0]["status"], json.loads(sent[1]["body"])["error"]["code"]) == (404, "model_not_served")


def test_what_cannot_be_recorded_is_not_answered(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where the log's folder should be")
    found = post(app(tmp_path), "/predict/m", {"rows": [GOOD]})
    told(found, 503, "server_busy")
    assert str(tmp_path) not in found.body.decode()


class Broken(Desk):
    """A defect of ours."""

    def quick(self, *asked: Any) -> Any:
        raise ZeroDivisionError("secret detail")


def test_a_defect_is_logged_with_an_id_and_tells_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = view(loaded())
    found = post(App(lambda: seen, Broken(tmp_path)), "/predict/m", {"rows": [GOOD]})
    message = told(found, 503, "server_busy")
    number = message.rpartition("defect ")[2].rstrip(")")
    assert len(number) == 12
    assert number in caplog.text
    assert "secret" not in found.body.decode()


def test_other_protocols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        asyncio.run(app(tmp_path)({"type": "websocket"}, None, None))  # type: ignore[arg-type]  # never reached


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
rows = st.dictionaries(st.sampled_from(["age", "bmi", "sex", "x"]), values, max_size=4)
envelopes = (
    st.builds(lambda found: {"rows": found}, st.lists(rows, max_size=4))
    | st.builds(
        lambda found: {"model": "m", "outcomes": found}, st.lists(st.dictionaries(st.text(max_size=5), values))
    )
    | values
)
bodies = st.binary(max_size=80) | st.builds(lambda found: json.dumps(found).encode(), envelopes)
paths = st.sampled_from(["/predict/m", "/predict/x", "/outcomes", "/models", "/health/ready", "/"]) | st.text()
methods = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"]) | st.text(max_size=8)
some_headers = st.lists(
    st.tuples(
        st.sampled_from([b"content-type", b"content-length", b"content-encoding", b"host"]) | st.binary(max_size=8),
        st.sampled_from([b"application/json", b"0", b"gzip", b"-1", b"1e9"]) | st.binary(max_size=12),
    ),
    max_size=4,
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[App]:
    found = app(tmp_path)
    yield found
    found.close()


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_request_at_all_makes_it_fail(target: App, caplog: pytest.LogCaptureFixture, data: st.DataObject) -> None:
    usual = data.draw(st.booleans(), label="usual headers")
    headers = ((b"content-type", b"application/json"),) if usual else tuple(data.draw(some_headers, label="headers"))
    method = "POST" if usual else data.draw(methods, label="method")
    found = call(target, method, data.draw(paths, label="path"), data.draw(bodies, label="body"), headers)
    assert found.status < 500, found.body
    if found.status >= 400 and method != "HEAD":
        assert found.json["error"]["code"]
        assert found.json["error"]["message"]
    assert "defect" not in caplog.text


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:8710": 200,
    "LocalHost:1": 200,
    "[::1]": 200,
    "[::1]:8710": 200,
    "models.example.org": 421,
    "proxy.example.org": 200,
    "proxy.example.org:443": 200,
    "evil.proxy.example.org": 421,
    "localhost.evil.org": 421,
    "127.0.0.1.evil.org": 421,
    "localhost:8710:evil.org": 421,
    "localhost@evil.org": 421,
    "localhost:port": 421,
    "10.0.0.1": 421,
    "::1": 421,
    "": 421,
    "\xff": 421,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_loopback_and_named_hosts_are_answered(tmp_path: Path, host: str) -> None:
    """A web page can point a name of its own to 127.0.0.1, and the browser then takes this server for its site."""
    seen = view(loaded())
    target = App(lambda: seen, Desk(tmp_path), hosts=["Proxy.example.org"])
    found = call(target, "GET", "/models", headers=[(b"host", host.encode("latin-1"))])
    assert found.status == HOSTS[host]
    if found.status == 421:
        assert "does not go by" in told(found, 421, "host_refused")


def test_a_stranger_among_two_hosts_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    headers = [*JSON_HEADER, (b"host", b"localhost"), (b"Host", b"evil.org")]
    body = json.dumps({"rows": [GOOD]}).encode()
    told(call(app(tmp_path), "POST", "/predict/m", body, headers), 421, "host_refused")
    assert list(log.read(tmp_path, "m")) == []
