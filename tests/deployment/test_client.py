"""The client against a real server in process, and against things that are not one."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from fullcircle.deployment import client
from fullcircle.errors import ModelNotServed, RequestInvalid, ServerBusy, ServerFailed
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.app import App
from fullcircle.types.prediction import Outcome
from serving import GOOD, Coin, Sum, app, classes, contract, loaded


@pytest.fixture
def target(tmp_path: Path) -> App:
    coin = loaded("coin", version=4, scorer=Scorer(classes(), Coin()))
    return app(tmp_path, loaded(scorer=Scorer(contract(), Sum())), coin)


@pytest.fixture
def url(target: App) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(target, lifespan="off", ws="none", log_config=None))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])))
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_predictions_come_in_order_over_as_many_requests_as_it_takes(url: str) -> None:
    rows = [{**GOOD, "age": np.int64(20 + place % 70), "bmi": np.float64(20)} for place in range(2500)]
    found = client.predict(url, "m", rows)
    assert [one.value for one in found] == [20.0 + row["age"] for row in rows]  # type: ignore[operator]  # numbers
    assert len({one.id for one in found}) == 2500
    assert client.predict(url, "m", []) == ()


def test_verdicts_classes_and_probabilities_come_through(url: str) -> None:
    found = client.predict(url, "coin", [{**GOOD, "age": 75}, {**GOOD, "age": 3}, {**GOOD, "bmi": float("nan")}])
    assert [one.verdict.status for one in found] == ["ok", "rejected", "imputed"]
    assert (found[0].value, found[0].probabilities, found[0].version) == ("yes", {"no": 0.25, "yes": 0.75}, 4)
    assert found[1].verdict.problems[0].column == "age"
    assert [one.verdict.status for one in client.predict(url, "m", [{}])] == ["rejected"]  # 422 is an answer too


def test_outcomes_are_told_one_by_one(url: str) -> None:
    found = client.predict(url, "m", [GOOD, GOOD])
    sent = [Outcome(prediction_id=one.id, value=np.float64(7)) for one in found]
    sent += [Outcome(prediction_id="never", value=1), Outcome(prediction_id=found[0].id, value="x")]
    told = client.outcomes(url, "m", sent)
    assert told == tuple(
        zip([one.prediction_id for one in sent], ["accepted"] * 2 + ["unknown", "rejected"], strict=True)
    )
    assert client.outcomes(url, "m", [sent[2]]) == (("never", "unknown"),)


def test_refusals_come_back_as_the_errors_they_are(url: str, target: App) -> None:
    for name in ("nobody", "../m", "a b/ü?#", ""):
        with pytest.raises(ModelNotServed):
            client.predict(url, name, [GOOD])
    with pytest.raises(RequestInvalid) as caught:
        client.predict(url, "m", [{"x": "y" * (9 * 2**20)}])
    assert caught.value.status == 413
    assert client.ready(url)
    target.draining = True
    assert not client.ready(url)
    assert client.why_not_ready(url) == "the server is shutting down"
    target._view = lambda: (_ for _ in ()).throw(ServerBusy("busy"))
    with pytest.raises(ServerBusy, match="busy"):
        client.predict(url, "m", [GOOD])


@pytest.mark.parametrize("value", [float("inf"), np.float64("-inf"), object(), 1j, "\ud800"])
def test_what_json_cannot_carry_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises(RequestInvalid):
        client.predict("http://127.0.0.1:1", "m", [{"age": value}])


@pytest.mark.parametrize("url", ["", "localhost:8710", "ftp://127.0.0.1", "http://", "http://[", "http://x:99999999"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(RequestInvalid, match="address of a server"):
        client.predict(url, "m", [GOOD])
    assert not client.ready(url)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with pytest.raises(ServerFailed, match="nothing answers"):
        client.predict(f"http://127.0.0.1:{port}", "m", [GOOD])
    assert "nothing answers" in client.why_not_ready(f"http://127.0.0.1:{port}")


@pytest.fixture
def speak() -> Iterator[Callable[[bytes], str]]:
    """A server that says the same to everybody."""
    held = []

    def start(words: bytes) -> str:
        bound = socket.create_server(("127.0.0.1", 0))
        held.append(bound)

        def talk() -> None:
            try:
                while True:
                    connection, _ = bound.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(words)
            except OSError:
                return

        threading.Thread(target=talk, daemon=True).start()
        return f"http://127.0.0.1:{bound.getsockname()[1]}"

    yield start
    for bound in held:
        bound.shutdown(socket.SHUT_RDWR)
        bound.close()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 500 Oh\r\n\r\nInternal Server Error",
        b"HTTP/1.1 422 Oh\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\n\r\n{"model": "m", "version": 1, "predictions": []}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b'HTTP/1.1 200 OK\r\n\r\n{"model": "m", "version": 1, "predictions": [{"id": 1}]}',
    ],
)
def test_what_does_not_speak_the_protocol_is_told(speak: Callable[[bytes], str], words: bytes) -> None:
    url = speak(words)
    with pytest.raises(ServerFailed):
        client.predict(url, "m", [GOOD], timeout=5)
    assert not client.ready(url)


def test_why_nobody_answers_is_told_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    why = client.why_not_ready(url)
    assert "refused" in why
    assert why.endswith(f"({url})")


def test_a_server_that_never_answers_is_given_up(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServerFailed, match="nothing answers") as caught:
            client.models(address, timeout=0.2)
        assert caught.value.next_step
        assert not client.ready(address, timeout=0.2)
    assert client.ready(url)
    assert client.why_not_ready(url) == ""


@pytest.mark.parametrize("value", [np.inf, -np.inf, float("inf")])
def test_the_column_of_an_infinite_value_is_named(value: float) -> None:
    with pytest.raises(RequestInvalid, match="infinite") as caught:
        client.predict("http://127.0.0.1:9", "m", [{**GOOD, "bmi": value}])
    assert caught.value.received == "column 'bmi'"


def test_a_path_in_the_address_is_kept(url: str) -> None:
    with pytest.raises(RequestInvalid):
        client.models(f"{url}/elsewhere")
    assert [one.name for one in client.models(f"{url}/")] == ["coin", "m"]
