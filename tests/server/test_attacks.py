"""The attack list on names, headers, browsers, texts and batches: each case by its number there.

What the list has about connections and framing is in test_protocol.py and test_process.py, what it has about values,
keys, sizes and Arrow in test_attacks_inputs.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from uvicorn.server import ServerState

from fullcircle.errors import OnlineStoreUnavailable, ViewNotPublished, WorkspaceUnusable
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.access import Access
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded
from fullcircle.server.http import Limits
from fullcircle.server.inline import BATCH
from fullcircle.server.lines import JsonLines
from fullcircle.server.protocol import Bounds, Connection, Pulse
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column
from serving import GOOD, JSON_HEADER, Coin, Response, Sum, app, ask, call, classes, contract, loaded, post, view

ONE = json.dumps({"rows": [GOOD]}).encode()


# --- names in URLs ----------------------------------------------------------------------------------------


async def wire(target: Any, requests: Sequence[bytes]) -> list[tuple[int, dict[str, str], bytes]]:
    """What comes back over a connection for each of these requests."""
    config = uvicorn.Config(target, lifespan="off", log_config=None, server_header=False, proxy_headers=False)
    config.load()
    make = partial(Connection, config, ServerState(), {}, bounds=Bounds(), pulse=Pulse(lambda status: None))
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = []
    for request in requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        content = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        head, _, body = content.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        found.append((int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body))
    server.close()
    return found


def request(path: str, *headers: str, body: bytes = ONE) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


NAMES: dict[str, tuple[str, int]] = {
    "the name": ("m", 200),
    "with a query": ("m?version=2&x=../..", 200),
    "P3 one letter escaped": ("%6D", 200),
    "P3 escaped twice": ("%256d", 404),
    "P3 half an escape": ("m%", 404),
    "P3 an escape of no byte": ("%zz", 404),
    "P1 up": ("../../etc/passwd", 404),
    "P1 up and back": ("../predict/m", 404),
    "P1 here": ("./m", 404),
    "P2 up, backslashes": (r"..\..\m", 404),
    "P2 mixed": (r"..\/m", 404),
    "P3 up, escaped": ("%2e%2e%2fm", 404),
    "P3 up, escaped twice": ("%252e%252e%252fm", 404),
    "P3 overlong": ("%c0%ae%c0%ae%c0%afm", 404),
    "P4 a path parameter": ("m;../../x", 404),
    "P4 an empty path parameter": ("m;", 404),
    "P5 absolute": ("/etc/passwd", 404),
    "P5 a drive": ("C:%5Cm", 404),
    "P5 a share": ("%5C%5Chost%5Cshare", 404),
    "P5 a host": ("//host/m", 404),
    "P6 a file": ("file:///m", 404),
    "P6 a file, without slashes": ("file:..", 404),
    "P6 a jar": ("jar:http://x!/m", 404),
    "P6 a bucket": ("s3://bucket/m", 404),
    "P7 NUL": ("m%00.skops", 404),
    "P7 NUL at the end": ("m%00", 404),
    "P7 a line break": ("m%0a", 404),
    "P7 a header": ("m%0d%0aX-Evil:%20yes", 404),
    "P7 an escape of a terminal": ("%1b[31mm", 404),
    "P11 nothing": ("", 404),
    "P11 a dot": (".", 404),
    "P11 two dots": ("..", 404),
    "P11 a device": ("CON", 404),
    "P11 a dot behind it": ("m.", 404),
    "P11 a space behind it": ("m%20", 404),
    "P11 a slash behind it": ("m/", 404),
    "P11 300 bytes": ("m" * 300, 404),
    "P11 5000 bytes": ("m" * 5000, 404),
    "P11 20000 bytes": ("m" * 20_000, 414),
    "P12 full width": ("%EF%BD%8D", 404),
    "P12 no width": ("m%E2%80%8B", 404),
    "P12 right to left": ("%E2%80%AEm", 404),
    "P12 Cyrillic": ("%D0%BC", 404),
    "P12 full width dots": ("%EF%BC%8E%EF%BC%8E%EF%BC%8Fm", 404),
    "P12 not UTF-8": ("%ff%fe", 404),
    "P12 half a pair": ("%ed%a0%80", 404),
    "P13 capital": ("M", 404),
    "I1 SQL": ("m'%20OR%20'1'='1", 404),
    "I3 a script": ("%3Cscript%3Ealert(1)%3C/script%3E", 404),
    "I9 an option": ("--config=/etc/passwd", 404),
    "I10 a template": ("%7B%7B7*7%7D%7D%7B0.__class__%7D", 404),
}


def test_p_names_in_urls_are_the_name_or_nobody(tmp_path: Path) -> None:
    """Decoded once, compared to the letter, never a path: nothing is opened, made or told of the machine."""
    (tmp_path / "secret").mkdir()
    target = app(tmp_path / "log")
    paths = {f"{place} {name}": (f"{place}{written}", status) for name, (written, status) in NAMES.items()
             for place in ("/predict/", "/explain/")}  # fmt: skip
    found = asyncio.run(wire(target, [request(path) for path, _ in paths.values()]))
    for (name, (path, status)), (told, headers, body) in zip(paths.items(), found, strict=True):
        expected = 422 if status == 200 and path.startswith("/explain") else status  # it has no rows to compare with
        assert told == expected, name
        assert "x-evil" not in {one.lower() for one in headers}, name
        assert (headers["content-type"], headers["x-content-type-options"]) == ("application/json", "nosniff"), name
        document = msgspec.json.decode(body)
        assert len(body) < 1500, name
        if status == 404:
            assert document["error"]["code"] == "model_not_served", name
            assert document["error"]["allowed"] == "m", name
            assert document["error"]["received"].isascii(), name
            assert document["error"]["received"].isprintable(), name
    assert {path.name for path in (tmp_path / "log").iterdir()} == {"m"}
    assert len(list(log.read(tmp_path / "log", "m"))) == 3
    target.close()


ROUTES = {
    "N8 two slashes": ("//predict/m", 404),
    "N8 a dot": ("/./predict/m", 404),
    "N8 up": ("/x/../predict/m", 404),
    "N8 capital": ("/Predict/m", 404),
    "N8 an escaped slash": ("/predict%2fm", 200),
    "N8 an escaped letter": ("/%70redict/m", 200),
    "P15 a longer name": ("/predictX/m", 404),
    "P15 up from a page": ("/docs../m", 404),
    "N7 another method in a header": ("/predict/m", 200),
    "N9 another address in a header": ("/predict/m", 200),
}


def test_n8_an_address_is_the_address_or_nobody(tmp_path: Path) -> None:
    believed = ("X-HTTP-Method-Override: DELETE", "X-Original-URL: /models", "X-Forwarded-Host: evil.example")
    requests = [request(path, *believed) for path, _ in ROUTES.values()]
    found = asyncio.run(wire(app(tmp_path), requests))
    assert [told for told, _, _ in found] == [status for _, status in ROUTES.values()]
    for status, _, body in found:
        assert (status == 200) == ("predictions" in msgspec.json.decode(body))
        assert b"evil" not in body


# --- browsers ---------------------------------------------------------------------------------------------

SIMPLE = (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"")


@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.parametrize("path", ["/predict/m", "/explain/m", "/outcomes"])
def test_s8_what_a_foreign_page_may_send_without_asking_is_refused(tmp_path: Path, path: str, kind: bytes) -> None:
    headers = [(b"origin", b"https://evil.example"), (b"host", b"localhost"), (b"content-type", kind)]
    assert call(app(tmp_path), "POST", path, ONE, headers).status == 415
    assert call(app(tmp_path), "POST", path, ONE, headers[:2]).status == 415
    assert list(log.read(tmp_path, "m")) == []


EVERYWHERE = (
    "/",
    "/models",
    "/predict/m",
    "/explain/m",
    "/outcomes",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/health/live",
)


@pytest.mark.parametrize("origin", [b"null", b"https://evil.example", b"http://localhost"])
def test_s11_no_page_of_another_origin_may_read_or_is_told_it_may(tmp_path: Path, origin: bytes) -> None:
    target = app(tmp_path)
    asked = [(b"origin", origin), (b"access-control-request-method", b"POST"), *JSON_HEADER]
    for path in EVERYWHERE:
        for method in ("OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE"):
            found = call(target, method, path, ONE if method == "POST" else b"", asked)
            assert not [name for name in found.headers if name.startswith("access-control")]
            assert "set-cookie" not in found.headers  # S9: nothing that a browser would send along by itself
            assert found.headers["x-content-type-options"] == "nosniff"  # S10, refusals too
            assert method != "OPTIONS" or found.status in (404, 405)
    target.close()


def test_s10_the_one_page_can_be_framed_by_nobody_and_loads_nothing(tmp_path: Path) -> None:
    found = call(app(tmp_path), "GET", "/docs")
    policy = found.headers["content-security-policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= {part.strip() for part in policy.split(";")}
    assert "unsafe" not in policy


def test_s7_whatever_the_address_a_foreign_host_is_refused_first(tmp_path: Path) -> None:
    target = app(tmp_path)
    for path in (*EVERYWHERE, "/predict/nobody", "/health/ready"):
        found = call(target, "GET", path, headers=[(b"host", b"evil.example"), (b"content-type", b"x")])
        assert (found.status, found.json["error"]["code"]) == (421, "host_refused")


# --- texts ------------------------------------------------------------------------------------------------

NASTY = "<script>alert(1)</script>\x1b[31m\r\nSet-Cookie: a=b\x00\u202e'\";--{{7*7}}{0.__class__}%s%n"


def test_i4_i5_what_is_told_back_is_json_and_no_header(tmp_path: Path) -> None:
    target = app(tmp_path)
    raw = NASTY.encode()
    answers = [
        call(target, "GET", "/models", headers=[(b"host", raw)]),
        call(target, "POST", f"/predict/{NASTY}", ONE),
        call(target, "POST", "/predict/m", ONE, [(b"content-type", raw)]),
        call(target, "POST", "/predict/m", ONE, [*JSON_HEADER, (b"content-encoding", raw)]),
        call(target, "GET", f"/{NASTY}"),
        call(target, NASTY, "/models"),
        post(target, "/predict/m", {"rows": [{**GOOD, NASTY: NASTY}]}),
        post(target, "/predict/m", {"rows": [{**GOOD, "age": NASTY}]}),
        post(target, "/predict/m", {NASTY: []}),
        post(target, "/outcomes", {"model": NASTY, "outcomes": [{"id": NASTY, "value": NASTY}]}),
        post(target, "/outcomes", {"model": "m", "outcomes": [{"id": NASTY, "value": NASTY}]}),
    ]
    for found in answers:
        assert 400 <= found.status < 500
        assert found.headers["content-type"] == "application/json"
        assert "set-cookie" not in found.headers
        assert not {"\x1b", "\r", "\n", "\x00"} & set(found.body.decode())  # escaped as JSON has it
        assert found.json["error"]["message"]
        assert "49" not in found.json["error"]["message"]
        assert len(found.body) < 2000


def test_i6_what_is_sent_forges_no_log_line_and_is_not_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    target = Access(app(tmp_path))
    for path in (f"/predict/{NASTY}", f"/{NASTY}", "/predict/m", "/predict/m\ud800"):
        call(target, "POST", path, json.dumps({"rows": [{**GOOD, "age": NASTY * 1000}]}).encode())  # type: ignore[arg-type]  # an application too
    (tmp_path / "m").rename(tmp_path / "away")
    (tmp_path / "m").write_text("no folder")
    call(App(target._app._view, Desk(tmp_path)), "POST", "/predict/m", ONE)  # type: ignore[attr-defined]  # the log fails
    records = [record for record in caplog.records if record.name.startswith("fullcircle")]
    assert len(records) >= 5
    for line in map(JsonLines().format, records):
        assert line.isascii()
        assert line.isprintable()
        assert "script" not in line
        assert len(line) < 3000
        json.loads(line)


def test_i2_long_headers_take_no_time(tmp_path: Path) -> None:
    target = app(tmp_path)
    begun = time.process_time()
    for text in (
        b"a" * 30_000,
        b"(a+)+$" * 5000,
        b"a:" * 15_000,
        b"[" * 30_000,
        b";" * 30_000,
        b"charset=utf-8;" * 2000,
    ):
        assert call(target, "GET", "/models", headers=[(b"host", text)]).status == 421
        kind = [(b"content-type", b"multipart/form-data; boundary=" + text)]
        assert call(target, "POST", "/predict/m", ONE, kind).status == 415
        call(target, "POST", "/predict/m", ONE, [(b"content-type", b"application/json;" + text)])
        found = call(target, "POST", "/predict/m", ONE, [*JSON_HEADER, (b"content-encoding", text)])
        assert found.status == 415
    assert time.process_time() - begun < 1.0


def test_i11_no_series_is_made_up_by_a_caller(tmp_path: Path) -> None:
    target = app(tmp_path)
    for number in range(150):
        for path in (f"/made/{number}", f"/predict/{number}", f"/explain/{number}", f"/models?{number}"):
            call(target, f"M{number}" if number % 3 == 0 else "POST", path, ONE)
        call(target, "POST", "/predict/m", ONE, [*JSON_HEADER, (b"host", b"h%d" % number)])
    text = call(target, "GET", "/metrics").body.decode()
    assert len(text.splitlines()) < 400
    routes = {"/predict/{model}", "/explain/{model}", "other"}
    assert routes <= {sample.labels.get("http_route") for family in text_string_to_metric_families(text)
                      for sample in family.samples}  # fmt: skip
    assert "149" not in {label for family in text_string_to_metric_families(text) for sample in family.samples
                         for label in sample.labels.values()}  # fmt: skip
    target.close()


def test_i11_a_strange_name_of_a_model_is_one_label(tmp_path: Path) -> None:
    name = 'm"} 1\nevil{x="\\'
    target = app(tmp_path, loaded(name))
    target.meter.swapped(name, 1)
    target.meter.answered(name, 1, {"ok": 1}, 1, [0.1])
    families = list(text_string_to_metric_families(call(target, "GET", "/metrics").body.decode()))
    assert "evil" not in {family.name for family in families}
    assert name in {sample.labels.get("model") for family in families for sample in family.samples}
    target.close()


STRANGE = ('say "no"', "a\\b", "100%", "{}", "%b%s", "\u2028</script>", "naïve 😀", "")


@pytest.mark.parametrize("count", [2, 3, 8])
def test_h28_labels_of_any_text_leave_valid_json(tmp_path: Path, count: int) -> None:
    labels = STRANGE[:count]

    class Which:
        def predict(self, frame: Any) -> Any:
            return [labels[int(age) % count] for age in frame["age"].tolist()]

        def predict_proba(self, frame: Any) -> Any:
            import numpy as np

            return np.full((len(frame), count), 1.0 / count)

    target = app(
        tmp_path, loaded(scorer=Scorer(contract(task="classification", classes=labels, prior=labels[0]), Which()))
    )
    rows = [{**GOOD, "age": age} for age in range(40, 40 + count)]
    for sent in (rows, [*rows, {**GOOD, "sex": "x"}]):  # quickly, and by hand
        found = msgspec.json.decode(post(target, "/predict/m", {"rows": sent}).body)["predictions"]
        assert [one["prediction"] for one in found[:count]] == [labels[age % count] for age in range(40, 40 + count)]
        assert all(list(one["probabilities"]) == list(labels) for one in found[:count])
        logged = {one.id: one.value for one in log.read(tmp_path, "m")}
        assert [logged[one["id"]] for one in found] == [one["prediction"] for one in found]


# --- batches ----------------------------------------------------------------------------------------------


def body(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"rows": rows}).encode()


async def gathered(target: App, bodies: Sequence[bytes]) -> list[Response]:
    return list(await asyncio.gather(*(ask(target, "POST", "/predict/m", one) for one in bodies)))


def at_rest(target: App) -> bool:
    """Whether nothing is counted as under way, and all places are free."""
    return target.close() and target.meter.in_flight == 0 and not any(target.meter.queues.values())


MIXED = [body({**GOOD, "age": 20 + place}) for place in range(12)]
MIXED[3], MIXED[7] = body({**GOOD, "sex": "x"}), body({**GOOD, "age": 33}, {})
MIXED[9] = b'{"rows": [{"age": 1, "age": 2}]}'


def test_l18_a_log_that_cannot_be_written_in_the_middle_of_a_batch_is_told_to_all_and_nothing_is_answered(
    tmp_path: Path,
) -> None:
    (tmp_path / "m").write_text("a file where the folder should be")
    target = app(tmp_path)
    found = asyncio.run(gathered(target, MIXED))
    assert [one.status for one in found] == [503] * 9 + [400] + [503] * 2
    assert all(one.headers["retry-after"] == "1" for one in found if one.status == 503)
    assert all("predictions" not in one.json for one in found)
    (tmp_path / "m").unlink()
    again = asyncio.run(gathered(target, MIXED))
    assert [one.status for one in again] == [200] * 9 + [400] + [200] * 2
    values = [[row["prediction"] for row in one.json.get("predictions", ())] for one in again]
    assert values[3] == [99.0]
    assert values[7] == [33 + 25.5, None]
    assert values[9] == []
    assert all(values[place] == [20 + place + 25.5] for place in (0, 1, 2, 4, 5, 6, 8, 10, 11))
    assert at_rest(target)


class Full(Desk):
    """The disk is full from the n-th write on, for a while."""

    def __init__(self, folder: Path, good: int, bad: int) -> None:
        super().__init__(folder)
        self.writes, self.good, self.bad = 0, good, bad
        write = self._log.write

        def full(*asked: Any) -> Any:
            self.writes += 1
            if good < self.writes <= good + bad:
                raise WorkspaceUnusable("no space left on the device /secret/path")
            return write(*asked)

        self._log.write = full  # type: ignore[method-assign,assignment]


def test_l18_a_disk_that_is_full_for_one_batch_costs_that_batch_and_no_row_is_answered_unlogged(
    tmp_path: Path,
) -> None:
    seen = view(loaded())
    target = App(lambda: seen, Full(tmp_path, good=1, bad=1))
    clean = [body({**GOOD, "age": 20 + place}) for place in range(5)]
    statuses = []
    answered = []
    for _ in range(3):
        found = asyncio.run(gathered(target, clean))
        statuses.append([one.status for one in found])
        answered += [row["id"] for one in found if one.status == 200 for row in one.json["predictions"]]
        assert all(b"secret" not in one.body for one in found)
    assert statuses == [[200] * 5, [503] * 5, [200] * 5]
    assert sorted(answered) == sorted(one.id for one in log.read(tmp_path, "m"))
    assert at_rest(target)


def test_l18_a_large_request_is_answered_whole_or_not_at_all(tmp_path: Path) -> None:
    seen = view(loaded())
    target = App(lambda: seen, Full(tmp_path, good=0, bad=1))
    rows: list[dict[str, Any]] = [{**GOOD, "bmi": 20.0 + place / 1000} for place in range(2 * BATCH + 5)]
    refused = call(target, "POST", "/predict/m", body(*rows))
    assert (refused.status, "predictions" in refused.json) == (503, False)
    found = call(target, "POST", "/predict/m", body(*rows))
    ids = [row["id"] for row in found.json["predictions"]]
    assert [row["prediction"] for row in found.json["predictions"]] == [65.5 - 25.5 + row["bmi"] for row in rows]
    assert len(set(ids)) == len(rows)
    assert set(ids) <= {one.id for one in log.read(tmp_path, "m")}
    assert at_rest(target)


@pytest.mark.parametrize("when", ["before the batch", "by hand", "in a large one"])
def test_h29_who_hangs_up_takes_nobody_along_and_leaves_no_place_taken(tmp_path: Path, when: str) -> None:
    target = app(tmp_path, limits=Limits(inline_bytes=10**7))
    rows = [{**GOOD, "bmi": 20.0 + place / 1000} for place in range(2 * BATCH)]
    bodies = [body({**GOOD, "age": 20 + place}) for place in range(8)]
    leaving = {
        "before the batch": bodies[2],
        "by hand": body(*[{**one, "sex": "x"} for one in rows[:200]]),
        "in a large one": body(*rows),
    }[when]

    async def some_leave() -> list[Response]:
        tasks = [asyncio.create_task(ask(target, "POST", "/predict/m", one)) for one in bodies]
        gone = [asyncio.create_task(ask(target, "POST", "/predict/m", leaving)) for _ in range(3)]
        await asyncio.sleep(0)
        for _ in range(0 if when == "before the batch" else 2):
            await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        told = await asyncio.gather(*gone, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in told)
        found = await asyncio.gather(*tasks)
        assert (await ask(target, "POST", "/predict/m", ONE)).status == 200
        return list(found)

    found = asyncio.run(some_leave())
    assert [one.json["predictions"][0]["prediction"] for one in found] == [20 + place + 25.5 for place in range(8)]
    logged = [one.id for one in log.read(tmp_path, "m")]
    assert len(logged) == len(set(logged))
    assert {row["id"] for one in found for row in one.json["predictions"]} <= set(logged)
    assert when != "before the batch" or len(logged) == 9  # who left before was not asked for
    assert at_rest(target)


def test_h29_when_all_hang_up_the_model_is_not_asked(tmp_path: Path) -> None:
    asked: list[int] = []

    class Counted(Sum):
        def predict(self, frame: Any) -> Any:
            asked.append(len(frame))
            return super().predict(frame)

    target = app(tmp_path, loaded(scorer=Scorer(contract(), Counted())))

    async def all_leave() -> None:
        tasks = [asyncio.create_task(ask(target, "POST", "/predict/m", ONE)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(all_leave())
    assert asked == []
    assert list(log.read(tmp_path, "m")) == []
    assert at_rest(target)


@pytest.mark.parametrize("sizes", [[1] * 700, [200] * 6, [BATCH, 1, BATCH, 1], [BATCH + 1, 1], [300, 300, 2]])
def test_h30_whatever_comes_together_every_row_is_answered_once_and_to_whom_it_belongs(
    tmp_path: Path, sizes: list[int]
) -> None:
    calls: list[int] = []

    class Counted(Sum):
        def predict(self, frame: Any) -> Any:
            calls.append(len(frame))
            return super().predict(frame)

    target = app(tmp_path, loaded(scorer=Scorer(contract(), Counted())))
    number = 0
    sent: list[list[float]] = []
    for size in sizes:
        sent.append([10.0 + (number + place) / 128 for place in range(size)])
        number += size
    found = asyncio.run(gathered(target, [body(*[{**GOOD, "bmi": bmi} for bmi in one]) for one in sent]))
    told = [[row["prediction"] for row in one.json["predictions"]] for one in found]
    assert told == [[40 + bmi for bmi in one] for one in sent]
    ids = [row["id"] for one in found for row in one.json["predictions"]]
    assert len(set(ids)) == sum(sizes)
    assert {one.id: one.value for one in log.read(tmp_path, "m")} == dict(
        zip(ids, itertools.chain(*told), strict=True)
    )
    assert max(calls) <= BATCH
    assert at_rest(target)


# --- explanations -----------------------------------------------------------------------------------------


def explained(**changes: Any) -> Loaded:
    one = loaded(scorer=Scorer(contract(**changes), Sum()))
    one.scorer.background = [{"age": 40, "bmi": 25.5, "sex": "f"}, {"age": 50, "bmi": 22.5, "sex": "m"}]
    return one


def test_m28_a_row_that_the_model_did_not_answer_has_a_verdict_and_no_numbers(tmp_path: Path) -> None:
    target = app(tmp_path, explained())
    rows: list[Any] = [{**GOOD, "sex": "x"}, {**GOOD, "age": 7}, {}, {**GOOD, "age": 10**400}, {**GOOD, "bmi": "1"}]
    found = post(target, "/explain/m", {"rows": rows})
    assert found.status == 422
    assert [row["verdict"] for row in found.json["rows"]] == ["fallback"] + ["rejected"] * 4
    assert all(not {"answer", "contributions", "base"} & row.keys() for row in found.json["rows"])
    mixed = post(target, "/explain/m", {"rows": [rows[0], GOOD]})
    assert (mixed.status, ["answer" in row for row in mixed.json["rows"]]) == (200, [False, True])
    assert list(log.read(tmp_path, "m")) == []


@pytest.mark.parametrize("count", [1, 20, 21, 5000])
def test_h15_as_many_rows_are_explained_as_may_be_and_no_more(tmp_path: Path, count: int) -> None:
    target = app(tmp_path, explained())
    for document in ({"rows": [GOOD] * count}, {"columns": {name: [value] * count for name, value in GOOD.items()}}):
        found = post(target, "/explain/m", document)
        assert found.status == (200 if count <= 20 else 413)
        assert len(found.json.get("rows", ())) == (count if count <= 20 else 0)


@pytest.mark.parametrize("error", [OnlineStoreUnavailable("at /secret/path"), ViewNotPublished("view /secret/path")])
@pytest.mark.parametrize("path", ["/predict/m", "/explain/m"])
def test_l18_features_that_cannot_be_looked_up_are_503_and_say_nothing_of_the_store(
    tmp_path: Path, path: str, error: Exception
) -> None:
    def gone(rows: Any) -> Any:
        raise error

    one = loaded(scorer=Scorer(contract(), Sum(), enrich=gone))
    one.scorer.background = explained().scorer.background
    found = post(app(tmp_path, one), path, {"rows": [GOOD]})
    assert (found.status, found.headers["retry-after"]) == (503, "1")
    assert found.json["error"]["code"] == "server_busy"
    assert b"secret" not in found.body


def test_h30_explanations_that_wait_are_bounded_and_predictions_go_on(tmp_path: Path) -> None:
    target = app(tmp_path, explained(), limits=Limits(explaining=1))

    async def storm() -> tuple[list[Response], Response]:
        asked = [asyncio.create_task(ask(target, "POST", "/explain/m", ONE)) for _ in range(6)]
        quick = asyncio.create_task(ask(target, "POST", "/predict/m", ONE))
        return list(await asyncio.gather(*asked)), await quick

    explanations, prediction = asyncio.run(storm())
    assert [one.status for one in explanations] == [200, 200, 503, 503, 503, 503]
    assert prediction.status == 200


# --- versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("after", ["another version", "other columns", "gone"])
def test_l11_a_version_that_changes_while_a_body_is_decoded_answers_it_whole(
    tmp_path: Path, after: str, large: bool
) -> None:
    first = view(loaded())
    narrow = contract(columns=(Column(name="age", kind="integer"),), unknown="flag")

    class Ages:
        def predict(self, frame: Any) -> Any:
            return frame["age"].to_numpy(dtype=float)

    second = {
        "another version": view(loaded(version=2, scorer=Scorer(contract(), Sum(1000.0)))),
        "other columns": view(loaded(version=2, scorer=Scorer(narrow, Ages()))),
        "gone": view(),
    }[after]
    current = first
    target = App(lambda: current, Desk(tmp_path), Limits(inline_bytes=0 if large else 10**6))
    rows: list[dict[str, Any]] = [{**GOOD, "age": 20 + place} for place in range(30)]

    async def swapped() -> Response:
        nonlocal current
        task = asyncio.create_task(ask(target, "POST", "/predict/m", body(*rows)))
        await asyncio.sleep(0)
        current = second
        return await task

    found = asyncio.run(swapped())
    if not large:  # it was taken before
        assert (found.status, found.json["version"]) == (200, 1)
    elif after == "gone":
        assert (found.status, found.json["error"]["code"]) == (404, "model_not_served")
        return
    else:
        assert (found.status, found.json["version"]) == (200, 2)
    plus = {"another version": 1025.5, "other columns": 0.0}[after] if large else 25.5
    assert [row["prediction"] for row in found.json["predictions"]] == [row["age"] + plus for row in rows]
    assert {one.version for one in log.read(tmp_path, "m")} == {found.json["version"]}


def test_n5_one_models_ids_are_nothing_to_another(tmp_path: Path) -> None:
    target = app(tmp_path, loaded("m"), loaded("coin", scorer=Scorer(classes(), Coin())))
    (mine,) = (row["id"] for row in post(target, "/predict/m", {"rows": [GOOD]}).json["predictions"])
    for strange in (
        mine,
        mine.upper(),
        mine + "0",
        mine.replace("-", "-0"),
        f" {mine}",
        mine + "\x00",
        "0" * 16 + "-0",
    ):
        found = post(target, "/outcomes", {"model": "coin", "outcomes": [{"id": strange, "value": "yes"}]})
        assert (found.status, found.json["outcomes"][0]["status"]) == (422, "unknown")
    for strange in (mine.upper(), mine + "0", mine.replace("-", "-0"), f"{mine}\n", "0" * 16 + "-" + "9" * 15):
        found = post(target, "/outcomes", {"model": "m", "outcomes": [{"id": strange, "value": 1.0}]})
        assert (found.status, found.json["outcomes"][0]["status"]) == (422, "unknown")
    assert log.read_outcomes(tmp_path, "m") == log.read_outcomes(tmp_path, "coin") == {}
