"""The commands around keys: what they print and where, and how they end."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fullcircle.cli import app
from fullcircle.flows.session import opened
from fullcircle.types.access import parted


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FULLCIRCLE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    return tmp_path / "workspace"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def read(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_a_secret_is_shown_once_on_standard_output_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = run(
        "key", "create", "shop", "--role", "scorer", "--model", "houses", "--rate", "100/s", "--expires", "30d"
    )
    assert made.exit_code == 0
    token = made.stdout.strip()
    assert parted(token.encode()) is not None
    assert made.stdout == f"{token}\n", "nothing else, so that a script can take it"
    assert token[16:] not in made.stderr + caplog.text
    assert "every server of this workspace asks for a key" in made.stderr
    for later in (run("key", "list"), run("key", "list", "--json"), run("key", "revoke", "shop"), run("audit")):
        assert later.exit_code == 0
        assert token[16:] not in later.stdout + later.stderr
    again = read("key", "create", "shop", "--role", "viewer")
    assert set(again) == {"key", "token", "first", "unknown_models", "known_models", "note"}
    assert parted(again["token"].encode()) is not None
    assert not again["first"]


def test_a_model_that_nobody_knows_is_told_of_and_the_key_is_created() -> None:
    first = run("key", "create", "early", "--role", "scorer", "--model", "houses")
    assert (first.exit_code, parted(first.stdout.strip().encode()) is None) == (0, False)
    assert "no model is called houses yet; known: none. The key opens such a model once" in first.stderr
    with opened() as session:
        session.record("run.finished", model="houses", run="1" * 32)
        session.record("version.registered", model="loans", version=1, run="2" * 32, bundle="", report="",
                       snapshot="", proof="")  # fmt: skip
    for models in (("houses",), ("houses", "loans"), ()):
        flags = [word for model in models for word in ("--model", model)]
        made = run("key", "create", f"key{len(models)}", "--role", "scorer", *flags)
        assert (made.exit_code, "slip" in made.stderr) == (0, False), "all are known, one by a run alone"
    made = run("key", "create", "shop", "--role", "scorer", "--model", "housse", "--model", "houses")
    assert made.exit_code == 0
    assert "no model is called housse yet; known: houses, loans." in made.stderr
    identity = next(one for one in read("key", "list") if one["name"] == "shop")["id"]
    assert f"If it was a slip: fullcircle key revoke {identity}, and create" in made.stderr
    assert run("key", "revoke", identity).exit_code == 0
    said = read("key", "create", "shop", "--role", "scorer", "--model", "housse", "--model", "lones")
    assert (said["unknown_models"], said["known_models"]) == (["housse", "lones"], ["houses", "loans"])
    assert said["note"].startswith("no model is called housse or lones yet; known: houses, loans. ")
    assert said["key"]["models"] == ["housse", "lones"]
    assert read("key", "create", "plain", "--role", "scorer")["note"] == ""


def test_the_list_says_what_each_key_may() -> None:
    run("key", "create", "shop", "--role", "scorer", "--model", "houses", "--verb", "predict", "--body", "100kB")
    read("key", "create", "eyes", "--role", "viewer")
    assert run("key", "revoke", "eyes", "--reason", "lost").stdout.strip().endswith("of eyes, viewer: revoked")
    first, second = read("key", "list")
    assert (first["models"], first["verbs"], first["body"], first["problem"]) == (
        ["houses"],
        ["predict"],
        100_000,
        "",
    )
    assert second["problem"] == "revoked"
    shown = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["key", "list"]).stdout
    assert all(
        word in shown for word in ("shop", "scorer", "houses", "predict", "100,000", "never", "eyes", "revoked")
    )


@pytest.mark.parametrize("columns", [80, 100])
def test_the_list_can_be_read_on_a_terminal(columns: int) -> None:
    flags = ("--model", "houses", "--model", "cottages", "--verb", "predict", "--verb", "explain")
    first = read("key", "create", "the-shop-in-town", "--role", "scorer", "--rate", "100/s",
                 "--body", "100kB", "--expires", "30d", *flags)["key"]  # fmt: skip
    second = read("key", "create", "eyes", "--role", "viewer")["key"]
    run("key", "revoke", "eyes")
    shown = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["key", "list"]).stdout
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    words = shown.split()
    for whole in (first["id"], second["id"], "the-shop-in-town,", "scorer,", "valid,", "expires", "never",
                  first["expires"][:16], first["created"][:16], "houses,", "cottages;", "predict,", "explain;",
                  "100,000", "revoked,"):  # fmt: skip
        assert whole in words, f"{whole} is broken, or not there:\n{shown}"
    # A key is told in a few lines, each beginning where the one before did.
    (begin,) = (place for place, line in enumerate(lines) if line.startswith(first["id"]))
    (end,) = (place for place, line in enumerate(lines) if line.startswith(second["id"]))
    assert end - begin <= 5
    assert all(line.startswith(" " * (len(first["id"]) + 1)) for line in lines[begin + 1 : end])
    first_line = f"{first['id']}  the-shop-in-town, scorer, valid, expires {first['expires'][:16]}"
    assert lines[begin].rstrip() == first_line


def test_without_limits_the_list_says_so() -> None:
    read("key", "create", "eyes", "--role", "viewer")
    shown = " ".join(run("key", "list").stdout.split())
    assert "eyes, viewer, valid, expires never models: all; verbs: all of its role created" in shown
    assert "at most" not in shown


def test_wrong_use_ends_with_2_and_says_what_is_right() -> None:
    for arguments in (
        ("key", "create", "shop", "--role", "root"),
        ("key", "create", "sh op", "--role", "viewer"),
        ("key", "create", "shop", "--role", "viewer", "--verb", "predict"),
        ("key", "create", "shop", "--role", "viewer", "--rate", "many"),
        ("key", "revoke", "nobody"),
    ):
        found = run(*arguments)
        assert (found.exit_code, found.stdout) == (2, ""), arguments
        assert "allowed:" in found.stderr or "no workspace" in found.stderr


def test_an_export_takes_its_flags_together(workspace: Path, tmp_path: Path) -> None:
    run("key", "list")
    for arguments in (("--model", "houses"), ("--export", str(tmp_path / "a.jsonl")), ("--reason", "x"),
                      ("--export", str(tmp_path / "a.jsonl"), "--model", "houses", "--settle")):  # fmt: skip
        found = run("log", *arguments)
        assert found.exit_code == 2
        assert "these flags mean nothing together" in found.stderr
