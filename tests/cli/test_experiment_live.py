"""Experiments from their start to their end on a server that answers: a real workspace, real rows, real sockets."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

import circles
from fullcircle.cli.commands import app
from fullcircle.flows import deploy, drafts, package, promote, train
from fullcircle.flows.session import loaded, opened, with_params
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types.experiments import Experiment

TEXT = """
import fullcircle as fc
from pricing import Priced
from sklearn.ensemble import HistGradientBoostingRegressor

PRICES = "{prices}"


def fit(X, y, *, kind="rough"):
    if kind == "priced":
        return Priced(PRICES).fit(X, y)
    return HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0, max_iter=3).fit(X, y)


def value(actual, predicted):
    return 10 - abs(actual - predicted)


project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat", "area"],
    fit=fit,
    gates=[fc.at_most("mae", 9), fc.worth(per_row=value, at_least=0)],
    checks=["quality", "value"],
    currency="EUR",
)
"""
PRICING = """
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


def _known(X):
    return np.column_stack([X["rooms"], X["heat"], X["area"] == "south", np.ones(len(X))]).astype(float)


class Priced(RegressorMixin, BaseEstimator):
    \"\"\"Knows how a cost comes about, as long as its list of prices is there.\"\"\"

    def __init__(self, prices=""):
        self.prices = prices

    def fit(self, X, y):
        self.coef_ = np.linalg.lstsq(_known(X), np.asarray(y, dtype=float), rcond=None)[0]
        return self

    def predict(self, X):
        if not Path(self.prices).exists():
            raise FileNotFoundError("the list of prices is gone")
        return _known(X) @ self.coef_
"""


class Live:
    """A deployed server, its workspace, and one caller who keeps a connection."""

    def __init__(self, project: Path, prices: Path, settings: Settings, url: str) -> None:
        self.project, self.prices, self.settings = project, prices, settings
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._rng = np.random.default_rng(5)
        self._told: list[dict[str, Any]] = []
        self.earned: dict[int, list[float]] = {1: [], 2: []}

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document)
        self._connection.request(method, path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        return found

    def ask(self, count: int = 1) -> list[int]:
        """Ask for so many rows in one request, and return who answered each. What they truly cost is known then."""
        rng = self._rng
        rows: list[dict[str, Any]] = [
            {"rooms": int(rooms), "heat": round(float(heat), 2), "area": str(area)}
            for rooms, heat, area in zip(
                rng.integers(1, 9, count), rng.normal(20, 3, count), rng.choice(["north", "south", "west"], count),
                strict=True,
            )
        ]  # fmt: skip
        found = self.call("POST", "/predict/houses", {"rows": rows})
        versions = [one.get("version", found["version"]) for one in found["predictions"]]
        for row, one, version in zip(rows, found["predictions"], versions, strict=True):
            truth = 3 * row["rooms"] + 0.5 * row["heat"] + 2 * (row["area"] == "south") + float(rng.normal(0, 1))
            assert abs(one["prediction"] - truth) < 30, "whoever answers, callers get an answer"
            self._told.append({"id": one["id"], "value": truth})
            self.earned[version].append(10 - abs(truth - one["prediction"]))
        return versions

    def label(self) -> None:
        """Send the outcomes of what was asked."""
        while self._told:
            part, self._told = self._told[:500], self._told[500:]
            told = self.call("POST", "/outcomes", {"model": "houses", "outcomes": part})
            assert {one["status"] for one in told["outcomes"]} == {"accepted"}

    def beside(self) -> dict[str, Any]:
        """What the server says of the version beside the champion; empty where nothing is."""
        (model,) = self.call("GET", "/models")["models"]
        found: dict[str, Any] = (
            {**model["split"]["others"][0], "id": model["split"]["id"]} if "split" in model else {}
        )
        return found

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints, as one line."""
        self.close()  # the server closes connections that rest; the next request opens another
        found = CliRunner().invoke(app, [*words, "--workspace", str(self.settings.workspace)])
        assert found.exit_code == code, found.output + found.stderr
        return " ".join((found.stdout + found.stderr).split())

    def experiment(self, *words: str, code: int = 0) -> str:
        command, *more = words
        return self.run("experiment", command, str(self.project), *more, code=code)

    def standing(self) -> Experiment:
        """How it stands, as a program is told."""
        self.close()
        found = CliRunner().invoke(
            app, ["experiment", "status", str(self.project), "--json", "--workspace", str(self.settings.workspace)]
        )
        return msgspec.json.decode(found.stdout, type=Experiment)


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def due(found: Experiment) -> None:
    """Wait until all that was asked so far had the time that its label may take."""
    time.sleep(found.plan.label_delay_days * 86_400 + 0.05)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, environments: None) -> Iterator[Live]:
    """A rough champion that was deployed, and a better version, packaged and proven as anybody's."""
    folder = tmp_path_factory.mktemp("experiment")
    prices = folder / "prices"
    prices.touch()
    project = circles.write_project(folder / "houses", TEXT.replace("{prices}", str(prices)))
    (folder / "houses" / "pricing.py").write_text(PRICING)
    settings = circles.settings(folder)
    with opened(settings) as session:
        for kind in ("rough", "priced"):
            source = with_params(loaded(project), {"kind": kind})
            trained = train.train_in(session, source)
            draft = drafts.of_run(session, trained.run)
            made = package.package_in(session, source, draft, trained.report_digest, trained.report, approve="auto")
            if kind == "rough":
                promote.promote_in(session, "houses", made.version, "the first one")
        url = deploy.deploy_in(session, "houses").url
    try:
        with closing(Live(project, prices, settings, url)) as found:
            yield found
    finally:
        deploy.remove("houses", settings=settings)


def traffic(live: Live, requests: int, several: Sequence[int]) -> None:
    """So many requests of one row, and some of several, on one connection; now and then what they cost in truth."""
    for place in range(requests):
        live.ask()
        if place % 10 == 0 and place // 10 < len(several):
            live.ask(several[place // 10])
        if place % 100 == 99:
            live.label()


def test_one_that_breaks_is_taken_back_and_not_promoted_though_it_was_better(live: Live) -> None:
    told = live.experiment("start", "--effect", "0.5", "--guardrail", "failed<=1%")
    assert "version 2 of houses beside version 1, by value_per_row" in told
    # Its process is not there yet: the champion answers, and none of this counts for either of them.
    early = [live.ask()[0] for _ in range(60)]
    live.label()
    until(lambda: bool(live.beside().get("answers")))
    assert set(early[:20]) == {1}
    live.earned = {1: [], 2: []}
    traffic(live, 400, [4] * 25)
    due(live.standing())
    found = live.standing()
    assert (found.verdict.standing, found.verdict.state) == ("better", "decided"), found.text
    assert found.verdict.difference.low is not None
    assert found.verdict.difference.low > 0
    assert all(each.holds for each in (*found.verdict.trust, *found.verdict.guardrails)), found.verdict
    assert min(len(live.earned[version]) for version in (1, 2)) > 200

    live.prices.unlink()  # what its model reads is gone: from now on it raises
    try:
        answered = [version for place in range(45) for version in live.ask(3 if place % 9 == 8 else 1)]
        live.label()
        assert set(answered) == {1}, "the champion answers these very requests"
        tripped = live.settings.workspace / "splits" / f"{found.split}.json"
        assert "FileNotFoundError" in json.loads(tripped.read_bytes())["reason"]
        failed = [row for row in log.read(live.settings.workspace / "predictions", "houses") if row.assigned]
        assert 2 <= len({(row.time, row.latency) for row in failed}) <= 8, "a few requests, and it was asked no more"

        # By its rows it still is the better one, and nobody makes it champion by that.
        told = live.experiment("stop", "--promote", code=2)
        assert "version 2 of houses was taken back, whatever it is better in" in told
        assert "FileNotFoundError" in told
        assert "version 2 does harm, and the next turn takes it back" in live.experiment("status")
        assert live.ask() == [1]
        # The server of a deployment takes no turn. Whoever monitors does.
        live.run("monitor", str(live.project))
        ended = live.standing()
        assert ended.ended == "stopped"
        assert "FileNotFoundError" in ended.reason
        assert ended.reason in ended.text
        assert "rolled back" in live.run("deploy", "houses", "--status")
        until(lambda: not live.beside())
        assert live.ask(5) == [1] * 5
        assert "no experiment of houses runs" in live.experiment("stop", "--promote", code=2)
    finally:
        live.prices.touch()
    live.label()


def test_a_better_one_is_found_and_then_answers_everybody(live: Live) -> None:
    live.experiment(
        "start", "--effect", "0.5", "--guardrail", "failed<=1%", "--guardrail", "rejected<=2x",
        "--guardrail", "slower:5s<=5%", "--until", "30d",
    )  # fmt: skip
    until(lambda: bool(live.beside().get("answers")))
    begun = live.beside()["id"]
    live.earned = {1: [], 2: []}
    traffic(live, 500, [1 + place % 8 for place in range(48)])
    due(live.standing())
    found = live.standing()
    rows = [row for row in log.read(live.settings.workspace / "predictions", "houses") if row.split == begun]
    counted = [row for row in rows if row.propensity != 1.0]
    assert {(row.version, row.propensity) for row in counted} == {(1, 0.5), (2, 0.5)}
    assert [sum(row.version == arm.version for row in counted) for arm in found.verdict.arms] == [
        len(live.earned[1]), len(live.earned[2])
    ]  # fmt: skip
    assert [arm.rows for arm in found.verdict.arms] == [len(live.earned[1]), len(live.earned[2])]
    verdict = found.verdict
    assert (verdict.standing, verdict.state) == ("better", "decided"), found.text
    assert all(each.holds for each in (*verdict.trust, *verdict.guardrails)), verdict
    low, high = verdict.difference.low, verdict.difference.high
    assert low is not None
    assert high is not None
    truly = float(np.mean(live.earned[2]) - np.mean(live.earned[1]))
    assert 0 < low < truly < high
    assert verdict.difference.value == pytest.approx(truly, abs=0.5)

    told = live.experiment("status", "--page")
    more = f"{verdict.difference.value:+.4g} EUR"
    words = f"Version 2 is better than version 1 in value_per_row, where more is better: {more}"
    assert words in told
    page = Path(live.settings.workspace / "pages" / "houses-experiment.html").read_text(encoding="utf-8")
    assert words in page
    assert "at most 5% ever say so" in page
    for name in ("sample ratio", "label coverage", "failed", "rejected", "slower:5s"):
        assert name in page

    assert "It was promoted" in live.experiment("stop", "--promote")
    until(lambda: [one["version"] for one in live.call("GET", "/models")["models"]] == [2], 20.0)
    assert [live.ask(3) for _ in range(20)] == [[2, 2, 2]] * 20
    assert not live.beside()
    with opened(live.settings) as session:
        state = session.workspace.ledger.state()
        assert state.champions["houses"] == 2
        assert not state.splits
        (fact,) = [
            each for each in session.workspace.ledger.facts("experiment.stopped") if each.body["split"] == begun
        ]
        assert fact.body["action"] == "promoted"
    assert live.standing().verdict == verdict, "what was decided on is kept"
