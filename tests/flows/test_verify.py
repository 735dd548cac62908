"""A bundle in the hand of somebody who trusts nobody: what lies beside it may be anything."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import circles
from bundle_samples import sample
from fullcircle.cli.commands import app
from fullcircle.errors import SettingInvalid
from fullcircle.flows import attestations
from fullcircle.flows.session import Session, opened
from fullcircle.flows.verify import verify
from fullcircle.ledger.checkpoint import Checkpoints
from fullcircle.ledger.envelopes import PAYLOAD, Envelope, Signature, keyid, seal, signed_by
from fullcircle.packaging.bundle import pack
from fullcircle.types.attestation import Attestation

PACKED = pack(sample())
REPORT = attestations.statement(
    Attestation(kind="report", model="m", bundle=sample().digest, digest="d" * 64, body={"passed": True})
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoints, Checkpoints]:
    """The maker's key, and another one."""
    found = tuple(Checkpoints(tmp_path_factory.mktemp(name)) for name in ("maker", "other"))
    for key in found:
        key.prepare()
    return found[0], found[1]


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Checkpoints, Checkpoints]) -> Path:
    """A bundle with one signed attestation and the maker's key beside it."""
    (tmp_path / "attestations").mkdir()
    (tmp_path / "bundle.zip").write_bytes(PACKED)
    (tmp_path / attestations.PUBLIC).write_bytes(keys[0].public() or b"")
    (tmp_path / "attestations/report.json").write_bytes(msgspec.json.encode(seal(REPORT, keys[0])))
    return tmp_path


def written(folder: Path) -> Any:
    return json.loads((folder / "attestations/report.json").read_text())


def rewrite(folder: Path, **changes: Any) -> None:
    (folder / "attestations/report.json").write_text(json.dumps(written(folder) | changes))


def bare(folder: Path) -> None:
    (folder / "attestations/report.json").write_bytes(REPORT)


def unsigned(folder: Path) -> None:
    rewrite(folder, signatures=[])


def signed_with(sig: str) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, signatures=[{"keyid": "k" * 64, "sig": sig}])


def holding(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, **changes)


def bytes_of(data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "attestations/report.json").write_bytes(data)

    return change


def pipe(folder: Path) -> None:
    (folder / "attestations/report.json").unlink()
    os.mkfifo(folder / "attestations/report.json")


def directory(folder: Path) -> None:
    (folder / "attestations/report.json").unlink()
    (folder / "attestations/report.json").mkdir()


def dangling(folder: Path) -> None:
    (folder / "attestations/more.json").symlink_to("nowhere")


NO_ATTESTATION = "is no attestation"
NOT_SIGNED = "was not signed by the key"
DEEP = b'{"_type": "t", "subject": [], "predicateType": "p", "predicate": {"a": ' + b"[" * 200_000


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (bare, NOT_SIGNED),
        (unsigned, NOT_SIGNED),
        (signed_with(""), NOT_SIGNED),
        (signed_with("no base64"), NOT_SIGNED),
        (signed_with("schlüssel"), NOT_SIGNED),
        (signed_with(base64.b64encode(bytes(64)).decode()), NOT_SIGNED),
        (holding(payload="schlüssel"), NO_ATTESTATION),
        (holding(payload="no base64"), NO_ATTESTATION),
        (holding(payload=base64.b64encode(b"\xff").decode()), NO_ATTESTATION),
        (holding(payloadType="text/plain"), NO_ATTESTATION),
        (holding(more=1), NO_ATTESTATION),
        (bytes_of(b""), NO_ATTESTATION),
        (bytes_of(b"\xff\xfe"), NO_ATTESTATION),
        (bytes_of(DEEP), NO_ATTESTATION),
        (bytes_of(REPORT.replace(b'"sha256"', b'"sha512"')), "is about another bundle"),
        (
            bytes_of(REPORT.replace(b'"subject":[', b'"subject":[{"name":"x","digest":{}},')),
            "is about another bundle",
        ),
        (bytes_of(REPORT.replace(sample().digest.encode(), b"0" * 64)), "is about another bundle"),
        (bytes_of(REPORT.replace(b"Statement/v1", b"Statement/v2")), "says something that is not known"),
        (pipe, NO_ATTESTATION),
        (directory, NO_ATTESTATION),
        (dangling, NO_ATTESTATION),
    ],
)
def test_whatever_lies_beside_is_named_and_never_waited_for(folder: Path, damage: Any, word: str) -> None:
    assert verify(folder / "bundle.zip").passed
    damage(folder)
    found = verify(folder / "bundle.zip")
    assert [word in problem for problem in found.problems] == [True], found.problems
    assert found.problems[0].startswith("attestations/")
    assert not any(each.verified for each in found.attestations if each.file in found.problems[0])


@given(st.binary(max_size=60))
def test_no_bytes_make_a_signature(keys: tuple[Checkpoints, Checkpoints], data: bytes) -> None:
    public = keys[0].public() or b""
    for sig in (data.decode("latin-1"), base64.b64encode(data).decode()):
        made = Envelope(base64.b64encode(data).decode(), PAYLOAD, (Signature(keyid(public), sig),))
        assert made.content() == data
        assert not signed_by(made, public)
    assert signed_by(seal(data, keys[1], seal(data, keys[0]).signatures), public)
    assert not signed_by(seal(data, keys[1]), public)


def test_a_pipe_in_place_of_the_bundle_or_the_key_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(SettingInvalid, match="no plain file"):
        verify(folder / "pipe")
    with pytest.raises(SettingInvalid, match="no plain file"):
        verify(folder / "bundle.zip", key=folder / "pipe")


def test_a_key_that_is_given_has_to_have_signed_something(
    folder: Path, tmp_path: Path, keys: tuple[Checkpoints, Checkpoints]
) -> None:
    """Whoever takes the attestations away must not be believed more than who forges them."""
    key = tmp_path / "theirs.pub"
    key.write_bytes(keys[0].public() or b"")
    found = verify(folder / "bundle.zip", key=key)
    assert (found.passed, found.key) == (True, keyid(key.read_bytes()))
    (folder / "attestations/report.json").unlink()
    found = verify(folder / "bundle.zip", key=key)
    assert found.problems == (f"nothing beside it was signed by the key {keyid(key.read_bytes())[:16]}",)
    (folder / "attestations").rmdir()
    assert not verify(folder / "bundle.zip", key=key).passed
    found = verify(folder / "bundle.zip")
    assert (found.passed, found.key, found.attestations) == (True, "", ())


def test_without_a_key_beside_an_unsigned_one_is_told(folder: Path) -> None:
    bare(folder)
    (folder / attestations.PUBLIC).unlink()
    found = verify(folder / "bundle.zip")
    assert found.passed
    assert [(each.signed_by, each.verified) for each in found.attestations] == [("", None)]


@pytest.mark.parametrize(
    ("change", "options", "code", "words"),
    [
        (None, [], 0, "who made it is not shown: name the maker's public key with --key"),
        (None, ["--key"], 0, "what lies beside it was signed by the key"),
        (bare, ["without a key"], 0, "NOT SIGNED: anybody may have written it"),
        (bare, [], 1, "WRONG: attestations/report.json was not signed by the key"),
        (bare, ["--key"], 1, "do not use this bundle"),
        (dangling, [], 1, "WRONG: attestations/more.json is no attestation"),
    ],
)
def test_the_command_says_what_was_shown_and_what_was_not(
    folder: Path, tmp_path: Path, change: Any, options: list[str], code: int, words: str
) -> None:
    key = tmp_path / "theirs.pub"
    key.write_bytes((folder / attestations.PUBLIC).read_bytes())
    if change is not None:
        change(folder)
    if options == ["without a key"]:
        (folder / attestations.PUBLIC).unlink()
    line = ["verify", str(folder / "bundle.zip"), *(["--key", str(key)] if options == ["--key"] else [])]
    ran = CliRunner().invoke(app, line)
    assert ran.exit_code == code, ran.output
    assert words in " ".join(ran.output.split())
    told = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert bool(told["key"]) == (options == ["--key"])


# --- a ledger of several members ------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with opened(circles.settings(tmp_path / "mine")) as found:
        yield found


def test_what_another_member_packaged_travels_under_both_names(
    session: Session, tmp_path: Path, keys: tuple[Checkpoints, Checkpoints]
) -> None:
    bundle = session.workspace.blobs.put(PACKED)
    blobs: Any = {kind: session.keep({"kind": kind}) for kind in ("report", "certificate", "provenance")}
    sealed = {
        each.kind: seal(attestations.statement(each), keys[0])
        for each in attestations.made(session, "bike-demand", bundle, blobs)
    }
    session.record("bundle.built", model="bike-demand", run="r", bundle=bundle, bytes=len(PACKED))
    session.record(
        "version.registered", model="bike-demand", version=1, run="r", bundle=bundle, snapshot="s",
        report=blobs["report"], proof=blobs["certificate"], provenance=blobs["provenance"],
        attestations=session.keep(sealed),
    )  # fmt: skip
    assert attestations.problems(session) == []
    out = attestations.write(session, "bike-demand", 1, tmp_path / "out")
    (tmp_path / "first.pub").write_bytes(keys[0].public() or b"")
    (tmp_path / "other.pub").write_bytes(keys[1].public() or b"")
    mine = (out / attestations.PUBLIC).read_bytes()
    found = verify(out / "bundle.zip")
    assert found.problems == ()
    assert {each.signed_by for each in found.attestations} == {keyid(mine)}
    found = verify(out / "bundle.zip", key=tmp_path / "first.pub")
    assert found.problems == ()
    assert {(each.signed_by, each.verified) for each in found.attestations} == {
        (keyid(keys[0].public() or b""), True)
    }
    assert len(verify(out / "bundle.zip", key=tmp_path / "other.pub").problems) == 4
