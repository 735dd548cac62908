"""The V2 protocol: is it kept, do its own clients get their answers, and what does it cost.

The conformance kit asks our server and MLServer with the same model; tritonclient and KServe's client run in an
environment of theirs. Loads are closed, with eight connections; ours and what it is compared with answer in turn,
round after round, and a figure is the median of the rounds. What each case came to at both servers is written to
``benchmarks/results/conformance.md``.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import loads
from benchmarks.peers.servers import LOAD_CORE, Asked, on_core
from benchmarks.peers.serving_contenders import MLSERVER, PEERS, asking, mlserver, serving
from benchmarks.peers.serving_project import PROJECT, Site, breast_cancer, made, said
from benchmarks.peers.talking import PROGRAMS, environment
from benchmarks.rows import RESULTS, Row, locked, table
from fullcircle.testing.v2.peer import LENGTH, Peer
from fullcircle.testing.v2.running import Result, conform

SECONDS = int(os.environ.get("FULLCIRCLE_BENCH_SECONDS", "2"))
ROUNDS = 5
CONNECTIONS = 8
MANY = 100
CLIENTS = ("tritonclient[http]==2.73.0", "kserve==0.21.0")
SCRIPT = PROGRAMS / "protocol_clients.py"


@dataclass(frozen=True)
class Load:
    """What is sent, and the rates that came of it, one of each round."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)

    def run(self, port: int) -> None:
        """One round."""
        with on_core(LOAD_CORE):
            found = loads.closed(
                port, self.path, self.body, connections=CONNECTIONS, seconds=SECONDS, headers=self.headers
            )
        assert not found.refused, f"{found.refused} requests to {self.path} were refused"
        self.rates.append(found.rate)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return statistics.median(self.rates)


def rows() -> list[Row]:
    """All measurements, in a temporary folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    with tempfile.TemporaryDirectory(prefix="fullcircle-protocols-") as name, ExitStack() as stack:
        folder = Path(name)
        site = made(folder / "compiled", PROJECT, "cancer")
        clients = environment(folder / "clients", CLIENTS)
        theirs = environment(folder / "mlserver", [*PEERS["mlserver"], f"scikit-learn=={locked('scikit-learn')}"])
        ours = stack.enter_context(_ours(folder, site))
        peer = stack.enter_context(mlserver(folder, theirs, _whole(1, outputs=["predict_proba"])))
        found = _kept(ours, peer) + _clients(clients, ours, site)
        print(table(found), flush=True)
        return found + _cost(ours, peer)


@contextmanager
def _ours(folder: Path, site: Site) -> Iterator[Asked]:
    asked = asking(f"/v2/models/{site.model}/infer", _whole(1))
    with serving(folder, site, asked):
        yield asked


def _kept(ours: Asked, peer: Asked) -> list[Row]:
    """How many promises are broken at each."""
    made_of = {"ours": (ours, "cancer"), "MLServer": (peer, "m")}
    found = {
        name: conform(Peer(url=f"http://127.0.0.1:{asked.port}", model=model, request=_whole(1), manage=True))
        for name, (asked, model) in made_of.items()
    }
    (RESULTS / "conformance.md").write_text(differences(found), encoding="utf-8")
    failed = {name: sum(one.outcome == "failed" for one in results) for name, results in found.items()}
    return [
        Row(
            what=f"promises of V2 that are broken, of {len(found['ours'])}",
            unit="",
            ours=failed["ours"],
            peer=failed["MLServer"],
            peer_name=f"MLServer {MLSERVER}",
            goal=0,
            part="kept",
        )
    ]


def differences(found: Mapping[str, Sequence[Result]]) -> str:
    """A table in Markdown of what each case came to at each server, with the reason where it did not pass."""
    names = list(found)
    lines = [f"| case | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for several in zip(*found.values(), strict=True):
        cells = [one.outcome if one.outcome == "passed" else f"{one.outcome}: {one.why}" for one in several]
        lines.append(f"| {several[0].name} | {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _clients(python: Path, ours: Asked, site: Site) -> list[Row]:
    """How many clients did not get what they were promised."""
    told: dict[str, str] = said(python, str(SCRIPT), str(ours.port), site.model, cwd=site.folder)
    for name, why in told.items():
        if why:
            print(f"{name}: {why}", flush=True)
    broken = sum(bool(why) for why in told.values())
    return [Row(what=f"clients that were failed ({', '.join(told)})", unit="", ours=broken, goal=0, part="clients")]


def _cost(ours: Asked, peer: Asked) -> list[Row]:
    """Rates, in turn."""
    names, values = breast_cancer()
    row = dict(zip(names, values, strict=True))
    v2 = ours.path
    binary, headers = _binary(MANY)
    one = Load(v2, json.dumps(_whole(1)).encode())
    columns = Load(v2, json.dumps(_columns(row)).encode())
    native = Load("/predict/cancer", json.dumps({"rows": [row]}).encode())
    other = Load(peer.path, json.dumps(_whole(1, outputs=["predict_proba"])).encode())
    many = Load(v2, json.dumps(_whole(MANY)).encode())
    in_bytes = Load(v2, binary, headers)
    theirs = Load(peer.path, json.dumps(_whole(MANY, outputs=["predict_proba"])).encode())
    for _ in range(ROUNDS):
        for load in (native, one, columns, many, in_bytes):
            load.run(ours.port)
        for load in (other, theirs):
            load.run(peer.port)

    def row_of(what: str, load: Load, beside: Load, name: str, times: float) -> Row:
        return Row(
            what=what,
            unit="1/s",
            ours=load.rate,
            peer=beside.rate,
            peer_name=name,
            goal=times * beside.rate,
            at_least=True,
            part="cost",
        )

    server = f"MLServer {MLSERVER}"
    return [
        row_of("V2 JSON, one row as a table", one, native, "native JSON", 0.8),
        row_of("V2 JSON, one row as 30 columns", columns, native, "native JSON", 0.5),
        row_of(f"V2 binary, {MANY} rows", in_bytes, many, "V2 JSON", 3.0),
        row_of("V2 JSON, one row", one, other, server, 8.0),
        row_of(f"V2 JSON, {MANY} rows", many, theirs, server, 1.0),
    ]


def _values(count: int) -> list[float]:
    """Rows of the data, one after another."""
    from sklearn.datasets import load_breast_cancer

    return [float(value) for value in load_breast_cancer().data[:count].ravel()]


def _whole(count: int, outputs: Sequence[str] = ()) -> dict[str, Any]:
    values = _values(count)
    shape = [count, len(values) // count]
    asked: dict[str, Any] = {"inputs": [{"name": "x", "shape": shape, "datatype": "FP64", "data": values}]}
    return asked | ({"outputs": [{"name": name} for name in outputs]} if outputs else {})


def _columns(row: Mapping[str, float]) -> dict[str, Any]:
    return {"inputs": [{"name": key, "shape": [1], "datatype": "FP64", "data": [one]} for key, one in row.items()]}


def _binary(count: int) -> tuple[bytes, dict[str, str]]:
    import numpy as np

    values = np.array(_values(count), dtype="<f8")
    one = {
        "name": "x",
        "shape": [count, values.size // count],
        "datatype": "FP64",
        "parameters": {"binary_data_size": values.nbytes},
    }
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    return head + values.tobytes(), {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
