"""One turn of the circle on a small project: each step's output is there, and used by the next."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from pathlib import Path

import pandas as pd
import pytest

from circles import Circle
from fullcircle.deployment import client
from fullcircle.errors import PredictionNotFound, RunNotFound, SnapshotNotFound, TableUnreadable
from fullcircle.flows import snapshots
from fullcircle.flows.audit import audit
from fullcircle.flows.evaluate import evaluate
from fullcircle.flows.monitor import monitor
from fullcircle.flows.reopen import reopen
from fullcircle.flows.run import run
from fullcircle.flows.runs import runs, track
from fullcircle.flows.score import score
from fullcircle.flows.status import status
from fullcircle.flows.why import why
from fullcircle.types.prediction import Outcome


def test_a_turn_ends_with_a_served_monitored_champion(circle: Circle) -> None:
    turn = circle.turn
    assert turn.trained.report.passed
    assert (turn.decision.action, turn.champion) == ("promote", 1)
    assert turn.packaged is not None
    assert turn.packaged.proof.same_bits
    assert turn.packaged.proof.golden_rows == 25
    assert turn.deployed is not None
    assert turn.deployed.largest_difference == 0.0
    assert turn.deployed.rows == 200


def test_a_hold_out_is_quiet_and_a_wrong_unit_raises_an_alarm(circle: Circle) -> None:
    quiet, wrong = circle.turn.windows
    assert quiet.alarms == ()
    assert "heat" in {suspect.feature for alarm in wrong.alarms for suspect in alarm.suspects}
    (heat,) = [one for alarm in wrong.alarms for one in alarm.suspects if one.feature == "heat"]
    assert heat.guess == "heat looks multiplied by 10"
    assert heat.text.startswith("heat: ")
    assert any("heat looks multiplied by 10" in alarm.text for alarm in wrong.alarms)
    assert all(quiet.since <= alarm.since < wrong.until for alarm in wrong.alarms), "it began while rows were played"
    assert wrong.labelled == wrong.rows == 100
    assert dict(wrong.verdicts) == {"flagged": 100}


def test_wrong_rows_get_their_verdicts(circle: Circle) -> None:
    verdicts = {probe.title: probe.prediction.verdict.status for probe in circle.turn.probes}
    assert verdicts == {
        "rooms is missing": "rejected",
        "area was never seen": "flagged",
        "rooms is far outside": "flagged",
    }


def test_the_retraining_is_held_with_its_reason(circle: Circle) -> None:
    retrained = circle.turn.retrained
    assert retrained is not None
    assert retrained.decision.action == "hold"
    assert "no new labelled rows" in retrained.decision.reason
    assert retrained.quarantined == 100


def test_the_page_tells_it(circle: Circle) -> None:
    page = Path(circle.turn.page).read_text(encoding="utf-8")
    assert "houses" in page
    assert "ten times too hot" in page
    assert all(gate.gate in page for gate in circle.turn.trained.report.gates)


def test_the_server_answers_strangers(circle: Circle) -> None:
    assert circle.turn.deployed is not None
    address = urllib.parse.urlsplit(circle.turn.deployed.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    body = json.dumps({"rows": [{"rooms": 3, "heat": 20.5, "area": "north"}]})
    connection.request("POST", "/predict/houses", body, {"Content-Type": "application/json"})
    answer = json.load(connection.getresponse())
    connection.close()
    assert answer["version"] == 1
    assert answer["predictions"][0]["verdict"] == "ok"
    assert 12 < answer["predictions"][0]["prediction"] < 27


def test_why_walks_back_to_the_row(circle: Circle) -> None:
    found = why(circle.turn.sample_prediction, settings=circle.settings)
    assert found.run == circle.turn.trained.run
    assert found.snapshot == circle.turn.trained.snapshot
    assert found.report == circle.turn.trained.report
    assert circle.turn.packaged is not None
    assert found.bundle == found.prediction.bundle == found.proof.bundle == circle.turn.packaged.bundle
    assert "version.promoted" in {fact.kind for fact in found.decisions}
    assert found.prediction.inputs is not None
    frame = pd.read_csv(circle.project.parent / "houses.csv")
    row = found.prediction.inputs
    same = (frame["rooms"] == row["rooms"]) & (frame["heat"] == row["heat"]) & (frame["area"] == row["area"])
    assert found.outcome is not None
    assert found.outcome.value in frame["cost"][same].tolist()


def test_why_refuses_an_unknown_prediction(circle: Circle) -> None:
    with pytest.raises(PredictionNotFound):
        why("0123456789abcdef-17", settings=circle.settings)


def test_the_same_again_makes_nothing_new(circle: Circle) -> None:
    again = run(circle.project, settings=circle.settings)
    assert again.champion == 1
    assert again.trained.run == circle.turn.trained.run
    assert "nothing changed since version 1" in again.decision.reason
    assert status(settings=circle.settings).models[0].versions == (1,)
    assert again.deployed is not None
    assert circle.turn.deployed is not None
    assert again.deployed.url == circle.turn.deployed.url, "the server that runs is kept"


def test_status_and_audit_agree_with_the_turn(circle: Circle) -> None:
    found = status(settings=circle.settings)
    (model,) = found.models
    assert (model.name, model.champion) == ("houses", 1)
    assert model.url is not None
    assert found.notes == ()
    checked = audit(settings=circle.settings)
    assert checked.problems == ()
    assert checked.facts >= 15


def test_batch_answers_as_the_server_does(circle: Circle, tmp_path: Path) -> None:
    assert circle.turn.deployed is not None
    rows = [{"rooms": r, "heat": 18.0 + r, "area": "south"} for r in range(1, 9)]
    rows.append({"rooms": None, "heat": 18.0, "area": "south"})
    table = tmp_path / "rows.csv"
    pd.DataFrame(rows).astype({"rooms": "Int64"}).to_csv(table, index=False)
    scored = score("houses", table, tmp_path / "out.csv", settings=circle.settings)
    assert (scored.rows, scored.answered, scored.rejected) == (9, 8, 1)
    batch = pd.read_csv(scored.results)["prediction"].tolist()
    online = [p.value for p in client.predict(circle.turn.deployed.url, "houses", rows)]
    assert batch == online[:8]
    assert len(pd.read_csv(scored.quarantine)) == 1


def test_a_batch_row_is_walked_back_like_an_answer_of_the_server(circle: Circle, tmp_path: Path) -> None:
    assert circle.turn.deployed is not None
    table = tmp_path / "rows.csv"
    table.write_text("rooms,heat,area\n3,20.5,south\n,20.5,south\n")
    scored = score("houses", table, tmp_path / "out.csv", settings=circle.settings)
    answered, rejected = pd.read_csv(scored.results).iloc[0], pd.read_csv(scored.quarantine).iloc[0]
    client.outcomes(
        circle.turn.deployed.url, "houses", [Outcome(prediction_id=answered["prediction_id"], value=31.5)]
    )
    found = why(answered["prediction_id"], settings=circle.settings)
    assert found.prediction.value == answered["prediction"]
    assert found.prediction.inputs == {"rooms": 3, "heat": 20.5, "area": "south"}
    assert (found.prediction.version, found.bundle) == (1, found.prediction.bundle)
    assert found.run == circle.turn.trained.run
    assert found.outcome is not None
    assert found.outcome.value == 31.5
    refused = why(rejected["prediction_id"], settings=circle.settings)
    assert (refused.prediction.value, refused.prediction.verdict.status) == (None, "rejected")


def test_monitoring_what_was_logged_finds_the_wrong_unit(circle: Circle) -> None:
    window = monitor(circle.project, settings=circle.settings)
    assert window.rows >= 200
    assert "heat" in {suspect.feature for alarm in window.alarms for suspect in alarm.suspects}


def test_the_leaderboard_has_the_run_with_its_interval(circle: Circle) -> None:
    rows = runs("houses", settings=circle.settings)
    row = next(row for row in rows if row.id == circle.turn.trained.run)
    main = circle.turn.trained.report.measure("mae")
    assert main is not None
    assert (row.metric, row.value, row.low, row.high) == ("mae", main.value, main.low, main.high)
    assert row.snapshot == circle.turn.trained.snapshot.digest


def test_reopening_a_run_trains_the_same_again(circle: Circle) -> None:
    trained = reopen(circle.turn.trained.run[:8], settings=circle.settings)
    assert trained.run != circle.turn.trained.run
    assert trained.snapshot == circle.turn.trained.snapshot
    assert trained.code == circle.turn.trained.code
    before, after = circle.turn.trained.report.measure("mae"), trained.report.measure("mae")
    assert before is not None
    assert after is not None
    assert before.value == after.value
    with pytest.raises(RunNotFound):
        reopen("ffffffff", settings=circle.settings)


def test_evaluating_again_gives_the_same_figures(circle: Circle) -> None:
    report = evaluate(circle.project, run=circle.turn.trained.run, settings=circle.settings)
    assert report.measure("mae") == circle.turn.trained.report.measure("mae")
    beats = next(gate for gate in report.gates if gate.gate == "beats the champion")
    assert not beats.passed, "it is the champion by now, and cannot beat itself"


def test_tracking_by_hand_is_on_the_leaderboard(circle: Circle) -> None:
    with track("houses", name="a hunch", params={"depth": 3}, settings=circle.settings) as tracked:
        tracked.log_metrics({"mae": 1.5})
    row = next(row for row in runs("houses", settings=circle.settings) if row.id == tracked.id)
    assert (row.name, dict(row.params)) == ("a hunch", {"depth": "3"})


def test_snapshots_can_be_listed_compared_restored_and_pruned(circle: Circle, tmp_path: Path) -> None:
    first = circle.turn.trained.snapshot
    assert first in snapshots.list_snapshots(settings=circle.settings)
    assert snapshots.diff(first.digest[:8], first.digest, settings=circle.settings).same
    snapshots.restore(first.digest[:8], tmp_path / "rows.csv", settings=circle.settings)
    restored = pd.read_csv(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(restored, pd.read_csv(circle.project.parent / "houses.csv"))
    with pytest.raises(TableUnreadable):
        snapshots.restore(first.digest[:8], tmp_path / "rows.csv", settings=circle.settings)
    with pytest.raises(SnapshotNotFound):
        snapshots.diff("ffffffff", first.digest, settings=circle.settings)
    assert first not in snapshots.prune(settings=circle.settings), "a version was trained on it"
