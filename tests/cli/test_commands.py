"""Every command at its door: what a person reads, what a script parses, the exit code. Values are shown as they are.

Columns, categories, candidates and reasons carry what a terminal library could take for its markup.
"""

from __future__ import annotations

import csv
import io
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import circles
from children import Child, command, servers, surrounding
from fullcircle.cli import app
from fullcircle.cli.progress import Lines, Live
from fullcircle.deployment import client
from fullcircle.errors import FullcircleError

HEAT, AREA = "[red]heat", "area [/]"
AREAS = {"north": "[/]", "south": "[bold]south", "west": "west ]["}
REASON = "[/] it is [red]better[/red]"
PROJECT = f"""
import fullcircle as fc
from sklearn.ensemble import HistGradientBoostingRegressor


def fit(X, y, **params):
    return HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0, **params).fit(X, y)


def stump(X, y, **params):
    return fit(X[["rooms", "{HEAT}", "{AREA}"]], y, max_iter=1)


project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "{HEAT}", "{AREA}"],
    candidates={{"[b]all[/b]": fit, "[stump]": stump}},
    params={{"max_iter": 8}},
    checks=["quality", "fairness"],
    gates=[fc.at_most("mae", 7), fc.beats("champion"), fc.fair(by="{AREA}", metric="mae", gap=5)],
    arrivals={{
        "[i]as before": lambda rows: rows,
        "too hot [/]": lambda rows: rows.assign(**{{"{HEAT}": rows["{HEAT}"] * 10}}),
    }},
)
"""


def _houses(seed: int = 3, rows: int = 400) -> str:
    found = list(csv.reader(io.StringIO(circles.houses(seed, rows))))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rooms", HEAT, AREA, "cost"])
    writer.writerows([rooms, heat, AREAS[area], cost] for rooms, heat, area, cost in found[1:])
    return text.getvalue()


@dataclass(frozen=True)
class Shop:
    """A workspace with champion 1, whose server was stopped, and version 2, not promoted."""

    folder: Path
    run: Result
    said: dict[str, Result]


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def _words(text: str) -> str:
    """The text without its layout."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    circles.write_project(folder / "houses", PROJECT, _houses())
    circles.begun(folder / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {**surrounding(folder), "COLUMNS": "250"}.items():
            patch.setenv(name, value)
        turned = _invoke("run", "houses/project.py", "--stop")
        said = {
            "train": _invoke("train", "houses", "--set", "max_iter=30"),
            "evaluate": _invoke("evaluate", "houses"),
            "package": _invoke("package", "houses"),
        }
        yield Shop(folder, turned, said)
        _invoke("deploy", "houses", "--stop")
    assert not servers(folder)


def test_run_tells_the_whole_turn(shop: Shop) -> None:
    assert shop.run.exit_code == 0, shop.run.output
    said = _words(shop.run.stdout)
    for expected in (
        "promote: houses version 1",
        "[b]all[/b]",
        "[stump]",
        f"mae differs by at most 5 between groups of {AREA}",
        f"{AREA} was never seen flagged",
        "[i]as before: 100 rows (100 ok), 100 labelled",
        "too hot [/]: 100 rows (100 flagged), 100 labelled",
        "25 golden rows answered with the same bits in a clean environment",
        "200 rows scored online and in batch: the same numbers",
        "hold: houses version 1",
        "fullcircle why ",
    ):
        assert expected in said, f"{expected!r} is not in\n{shop.run.stdout}"
    assert Path(said.split("The whole story: ")[1].split()[0]).is_file()
    steps = [line.partition(":")[0] for line in shop.run.stderr.splitlines() if not line.startswith(" ")]
    assert list(dict.fromkeys(steps)) == [
        "open", "snapshot", "fit", "evaluate", "package", "test", "prove", "register", "promote", "deploy", "probe",
        "window", "retrain", "stop",
    ]  # fmt: skip


def test_train_evaluate_and_package_tell_what_they_made(shop: Shop) -> None:
    train, evaluate, package = (shop.said[name] for name in ("train", "evaluate", "package"))
    for one in (train, evaluate, package):
        assert one.exit_code == 0, one.output
    assert "300 rows to train, 100 to test (a draw with seed 0)" in _words(train.stdout)
    assert "passed beats the champion" in _words(train.stdout)
    assert f"groups of {AREA}" in _words(evaluate.stdout)
    assert "houses version 2: bundle " in package.stdout


def test_runs_shows_the_leaderboard_with_whole_ids(shop: Shop) -> None:
    found = _invoke("runs", "houses/project.py")
    assert found.exit_code == 0
    rows = json.loads(_invoke("runs", "houses", "--json").stdout)
    assert len(rows) >= 6
    for row in rows:
        assert row["id"][:12] in found.stdout
    assert "[b]all[/b]" in found.stdout
    assert "max_iter=30" in found.stdout


@pytest.mark.parametrize("width", [80, 40])
def test_ids_are_never_broken_on_a_narrow_terminal(shop: Shop, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for command_, field in (("runs houses", "id"), ("snapshots list", "digest")):
        words = _invoke(*command_.split()).stdout.split()
        for row in json.loads(_invoke(*command_.split(), "--json").stdout):
            assert row[field][:12] in words, command_


def test_promote_and_rollback_show_the_decision_and_its_reason(shop: Shop) -> None:
    promoted = _invoke("promote", "houses", "--reason", REASON)
    assert promoted.exit_code == 0, promoted.output
    assert promoted.stdout == f"promote: houses version 2\n{REASON}\n"
    assert promoted.stderr == ""
    again = _invoke("promote", "houses", "--version", "2")
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr.startswith("error (state_conflict): version 2 of houses is the champion already")
    status = _invoke("status").stdout
    assert f"promote: {REASON}" in _words(status)
    back = _invoke("rollback", "houses", "--reason", REASON, "--json")
    assert back.exit_code == 0
    decision = json.loads(back.stdout)
    assert (decision["action"], decision["version"], decision["reason"]) == ("rollback", 1, REASON)
    assert _invoke("rollback", "houses").exit_code == 2, "there is nothing before the first"


def test_deploy_starts_keeps_and_stops(shop: Shop) -> None:
    first, second = _invoke("deploy", "houses"), _invoke("deploy", "houses", "--json")
    assert first.exit_code == second.exit_code == 0, first.output
    url = json.loads(second.stdout)["url"]
    assert first.stdout == f"houses version 1 answers at {url}/predict/houses\n"
    assert url in _invoke("status").stdout
    stopped = _invoke("deploy", "houses", "--stop")
    assert (stopped.exit_code, stopped.stdout) == (0, f"stopped {url}\n")
    assert _invoke("deploy", "houses", "--stop").stdout == "no server of houses runs\n"
    assert json.loads(_invoke("deploy", "houses", "--stop", "--json").stdout) == {"model": "houses", "url": ""}
    assert not servers(shop.folder)


def test_score_tells_what_was_answered_and_rejected(shop: Shop) -> None:
    rows = pd.read_csv(shop.folder / "houses" / "houses.csv").head(20).astype({"rooms": "Int64"})
    rows.loc[3, "rooms"] = None
    rows.to_csv(shop.folder / "rows.csv", index=False)
    scored = _invoke("score", "houses", "rows.csv", "--out", "answers.csv")
    assert scored.exit_code == 0, scored.output
    said = _words(scored.stdout)
    assert "rows 20 answered 19 rejected 1" in said
    assert "answers.csv" in said
    assert "score: houses version 1" in scored.stderr
    answers = pd.read_csv(shop.folder / "answers.csv")
    assert list(answers[AREA]) == list(rows[AREA].drop(3))
    found = json.loads(_invoke("score", "houses", "rows.csv", "--out", "more.jsonl", "--json").stdout)
    assert (found["rows"], found["rejected"]) == (20, 1)


def test_monitor_names_the_alarm_and_ends_with_1(shop: Shop) -> None:
    found = _invoke("monitor", "houses")
    assert found.exit_code == 1, found.output
    assert HEAT in found.stdout
    parsed = _invoke("monitor", "houses", "--json")
    assert parsed.exit_code == 1
    alarms = json.loads(parsed.stdout)["alarms"]
    assert HEAT in {suspect["feature"] for alarm in alarms for suspect in alarm["suspects"]}
    written = _invoke("monitor", "houses", "--page", "--prometheus", "houses.prom")
    assert written.exit_code == 1, written.output
    page = shop.folder / "workspace" / "pages" / "houses-monitor.html"
    assert f"page: {page}" in written.stderr
    assert "[red]heat" in page.read_text(encoding="utf-8")
    assert 'fullcircle_alarms_open{model="houses",version="1"' in (shop.folder / "houses.prom").read_text("utf-8")
    refused = _invoke("monitor", "houses", "--prometheus", "nowhere/houses.prom")
    assert refused.exit_code == 2
    assert "error (workspace_unusable): the file of metrics cannot be written" in refused.stderr
    later = _invoke("monitor", "houses", "--since", "2999-01-01T00:00:00Z", "--json")
    assert later.exit_code == 1, "the alarm is open, whatever stretch is told of"
    assert (json.loads(later.stdout)["rows"], len(json.loads(later.stdout)["alarms"])) == (0, len(alarms))


def test_retrain_holds_and_ends_with_1(shop: Shop) -> None:
    held = _invoke("retrain", "houses")
    assert held.exit_code == 1, held.output
    assert held.stdout.startswith("hold: houses version 1\nasked for by hand; held: ")
    assert json.loads(_invoke("retrain", "houses", "--json").stdout)["action"] == "hold"


def test_status_and_audit_tell_that_all_is_well(shop: Shop) -> None:
    status = _invoke("status")
    assert status.exit_code == 0
    assert "houses 1 1, 2 not deployed" in _words(status.stdout)
    (model,) = json.loads(_invoke("status", "--json").stdout)["models"]
    assert (model["name"], model["champion"], model["versions"]) == ("houses", 1, [1, 2])
    audit = _invoke("audit")
    assert audit.exit_code == 0
    assert audit.stdout.endswith("signed checkpoints: the chain holds\n")
    assert json.loads(_invoke("audit", "--json").stdout)["problems"] == []


def test_why_walks_from_a_prediction_to_its_snapshot(shop: Shop) -> None:
    identity = shop.run.stdout.split("fullcircle why ")[1].split()[0]
    found = _invoke("why", identity)
    assert found.exit_code == 0, found.output
    parsed = json.loads(_invoke("why", identity, "--json").stdout)
    for expected in (
        identity,
        parsed["bundle"],
        parsed["snapshot"]["digest"],
        parsed["run"],
        f"{HEAT}={parsed['prediction']['inputs'][HEAT]}",
        f"{AREA}={parsed['prediction']['inputs'][AREA]}",
        "all gates passed",
        "([b]all[/b])",
    ):
        assert expected in _words(found.stdout), expected
    unknown = _invoke("why", "[/]")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "error (prediction_not_found)" in unknown.stderr
    assert "[/]" in unknown.stderr


def test_reopen_trains_again_what_a_run_trained(shop: Shop) -> None:
    rows = json.loads(_invoke("runs", "houses", "--json").stdout)
    run = next(row for row in rows if row["params"]["max_iter"] == "30" and "fullcircle.part" not in row["tags"])
    found = _invoke("reopen", run["id"][:8])
    assert found.exit_code == 0, found.output
    assert "300 rows to train, 100 to test" in found.stdout, found.output
    assert "gate" in found.stdout


def test_snapshots_are_listed_compared_restored_and_pruned(shop: Shop) -> None:
    (shop.folder / "houses" / "houses.csv").write_text(_houses(rows=420))
    try:
        assert _invoke("train", "houses", "--json").exit_code in (0, 1)
    finally:
        (shop.folder / "houses" / "houses.csv").write_text(_houses())
    listed = json.loads(_invoke("snapshots", "list", "--json").stdout)
    first, second = (one["digest"] for one in listed)
    human = _invoke("snapshots", "list").stdout
    assert first[:12] in human
    assert second[:12] in human
    difference = _invoke("snapshots", "diff", first[:12], second[:12])
    assert difference.exit_code == 0
    assert "rows_added" in difference.stdout
    assert isinstance(json.loads(_invoke("snapshots", "diff", first, second, "--json").stdout), dict)
    restored = _invoke("snapshots", "restore", first[:12], "--out", "rows-again.csv")
    assert restored.exit_code == 0, restored.output
    assert (shop.folder / "rows-again.csv").read_text().splitlines()[0] == f"rooms,{HEAT},{AREA},cost"
    unused = _invoke("snapshots", "prune")
    assert second[:12] in unused.stdout
    assert first[:12] not in unused.stdout, "a version was trained on it"
    pruned = json.loads(_invoke("snapshots", "prune", "--delete", "--json").stdout)
    assert [one["digest"] for one in pruned] == [second]
    assert second[:12] not in _invoke("snapshots", "list").stdout
    gone = _invoke("snapshots", "restore", second[:12], "--out", "gone.csv")
    assert (gone.exit_code, gone.stdout) == (2, "")
    assert _invoke("audit").exit_code == 0


def test_init_says_what_it_proposes_and_does_not_overwrite(shop: Shop) -> None:
    written = _invoke("init", "houses/houses.csv", "--out", "proposed.py")
    assert written.exit_code == 0, written.output
    assert "label: cost (regression), time: none" in written.stdout
    assert "fullcircle run proposed.py" in written.stdout
    again = _invoke("init", "houses/houses.csv", "--out", "proposed.py")
    assert (again.exit_code, again.stdout) == (2, "")
    parsed = json.loads(_invoke("init", "houses/houses.csv", "--out", "more.py", "--json").stdout)
    assert parsed["proposal"]["label"] == "cost"


# --- serve ------------------------------------------------------------------------------------------------


def _version(url: str) -> int | None:
    try:
        return client.models(url)[0].version
    except FullcircleError:
        return None


def _eventually(url: str, version: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if _version(url) == version:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("one", "everything"),
    [(signal.SIGTERM, False), (signal.SIGINT, True)],
    ids=["SIGTERM to the command alone", "Ctrl-C"],
)
def test_serve_answers_follows_the_champion_and_ends_well(shop: Shop, one: signal.Signals, everything: bool) -> None:
    child = Child(shop.folder, "serve", "--port", "0")
    try:
        url = json.loads(child.answer())["listening"]
        assert _eventually(url, 1)
        told = _words(_invoke("deploy", "houses", "--status").stdout)
        assert f"; fullcircle serve answers at a port that it chose (process {child.pid})" in told
        if one is signal.SIGTERM:
            assert _invoke("promote", "houses", "--version", "2").exit_code == 0
            assert _eventually(url, 2), "serve did not follow the promotion"
            assert _invoke("rollback", "houses").exit_code == 0
            assert _eventually(url, 1)
        (answer,) = client.predict(url, "houses", [{"rooms": 3, HEAT: 20.5, AREA: "[/]"}])
        assert answer.verdict.status == "ok"
        assert child.stop(one, everything=everything) == 0, child.said
        assert "Traceback" not in child.said
        assert "fullcircle serve" not in _invoke("deploy", "houses", "--status").stdout
        assert not servers(shop.folder)
    finally:
        if child.alive():
            child.stop(signal.SIGKILL)


# --- what does not work -----------------------------------------------------------------------------------


def test_errors_go_to_standard_error_and_results_to_standard_output(shop: Shop) -> None:
    told = _invoke("promote", "houses", "--version", "7")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith(
        "error (version_not_found): houses has no version 7\n  received: 7\n  allowed: 1, 2\n"
    )
    done = command(shop.folder, "snapshots", "restore", "ffffffff", "--out", "gone.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error (snapshot_not_found): ")
    done = command(shop.folder, "snapshots", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("snapshots")


def test_a_gate_that_says_no_ends_with_1(shop: Shop) -> None:
    trained = _invoke("train", "houses", "--set", "learning_rate=0.0001")
    assert trained.exit_code == 1
    assert "FAILED beats the champion" in _words(trained.stdout)
    packaged = _invoke("package", "houses")
    assert (packaged.exit_code, packaged.stdout) == (1, "")
    assert "error (gate_failed)" in packaged.stderr
    assert _invoke("evaluate", "houses", "--json").exit_code == 1


def test_unknown_words_end_with_2() -> None:
    for line in ("turn", "run", "run x --fast", "snapshots burn", "run x --port y", "score x"):
        assert _invoke(*line.split()).exit_code == 2, line


@pytest.mark.parametrize("listener", [Lines, Live])
def test_progress_shows_names_as_they_are(listener: type[Lines | Live], capsys: pytest.CaptureFixture[str]) -> None:
    told = listener()
    told.step("window: [i]one[/i]", "[/] of [red]")
    told.note("[red]heat[/] moved")
    told.advance(1, 2)
    told.advance(5000, 0)
    told.advance(9000, 20_000)
    told.step("done [/]")
    if isinstance(told, Live):
        told.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    for expected in ("window: [i]one[/i]", "[red]heat[/] moved", "done [/]"):
        assert expected in captured.err
