"""What is said about a version's bundle: made, signed, audited, written to travel, verified in hand."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

import circles
from bundle_samples import sample
from circles import Circle
from fullcircle.cli.commands import app
from fullcircle.errors import SettingInvalid, VersionNotFound
from fullcircle.flows import attestations
from fullcircle.flows.audit import audit
from fullcircle.flows.package import package
from fullcircle.flows.provenance import git_revision
from fullcircle.flows.session import Session, opened
from fullcircle.flows.verify import verify
from fullcircle.ledger.checkpoint import Checkpoints
from fullcircle.ledger.envelopes import Envelope, keyid, seal, signed_by
from fullcircle.packaging.bundle import pack
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.types.attestation import PREDICATES, Attestation

MODEL = "bike-demand"
PACKED = pack(sample())
BODIES = {"report": {"passed": True}, "certificate": {"same_bits": True}, "provenance": {"run": "r" * 32}}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with opened(circles.settings(tmp_path)) as found:
        yield found


def register(session: Session, version: int = 1, **changes: Any) -> str:
    """Record a version whose parts are small, as packaging does it. Returns its bundle's digest."""
    bundle = session.workspace.blobs.put(PACKED)
    session.record("bundle.built", model=MODEL, run="r", bundle=bundle, bytes=len(PACKED))
    blobs: Any = {kind: session.keep(body) for kind, body in BODIES.items()}
    parts: dict[str, Any] = {
        "report": blobs["report"],
        "proof": blobs["certificate"],
        "provenance": blobs["provenance"],
        "attestations": attestations.signed(session, MODEL, bundle, blobs),
    }
    fact: dict[str, Any] = {"model": MODEL, "version": version, "run": "r", "bundle": bundle, "snapshot": "s"}
    session.record("version.registered", **(fact | parts | changes))
    return bundle


def envelopes(session: Session) -> dict[str, Envelope]:
    known = session.workspace.ledger.state().versions[MODEL][1]
    return session.recall(known.attestations, dict[str, Envelope])


def approve(session: Session) -> None:
    report = session.workspace.ledger.state().versions[MODEL][1].report
    session.record("version.approved", model=MODEL, version=1, report=report, reason="read it", login="anna@desk")


# --- what is said ---------------------------------------------------------------------------------------


def test_each_names_the_digest_of_the_bundle(session: Session) -> None:
    bundle = register(session)
    found = attestations.attestations(session, MODEL, 1)
    assert [each.kind for each in found] == ["report", "certificate", "provenance"]
    assert {each.bundle for each in found} == {bundle} == {sample().digest}
    assert {each.kind: dict(each.body) for each in found} == BODIES
    assert [session.recall(each.digest, dict[str, Any]) for each in found] == list(BODIES.values())


def test_an_approval_is_one_too(session: Session) -> None:
    register(session)
    approve(session)
    found = attestations.attestations(session, MODEL, 1)[-1]
    assert (found.kind, found.body["reason"], found.body["login"]) == ("approval", "read it", "anna@desk")


def test_a_version_of_before_has_a_report_and_a_certificate(session: Session) -> None:
    register(session, provenance="", attestations="")
    assert [each.kind for each in attestations.attestations(session, MODEL, 1)] == ["report", "certificate"]
    assert attestations.problems(session) == []
    sealed = msgspec.json.decode(attestations.files(session, MODEL, 1)["report.json"], type=Envelope)
    assert signed_by(sealed, Checkpoints(session.workspace.config).public() or b"")


def test_a_version_that_nobody_registered_is_not_attested(session: Session) -> None:
    with pytest.raises(VersionNotFound):
        attestations.attestations(session, MODEL, 1)


def test_a_statement_is_an_in_toto_statement_in_canonical_json() -> None:
    made = Attestation(kind="report", model="m", bundle="b" * 64, digest="d" * 64, body={"z": 1, "a": "ü"})
    text = attestations.statement(made)
    assert text == attestations.statement(replace(made, body={"a": "ü", "z": 1}))
    assert json.loads(text) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "bundle.zip", "digest": {"sha256": "b" * 64}}],
        "predicateType": PREDICATES["report"],
        "predicate": {"a": "ü", "z": 1},
    }
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- who signed it ----------------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_specification(session: Session) -> None:
    """Ed25519 over "DSSEv1 SP LEN(type) SP type SP LEN(body) SP body", checked without our own code."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = Checkpoints(session.workspace.config)
    told = json.loads(msgspec.json.encode(seal(b'{"a":1}', key)))
    assert set(told) == {"payload", "payloadType", "signatures"}
    assert base64.b64decode(told["payload"]) == b'{"a":1}'
    message = b'DSSEv1 28 application/vnd.in-toto+json 7 {"a":1}'
    public: Any = load_pem_public_key(key.public() or b"")
    public.verify(base64.b64decode(told["signatures"][0]["sig"]), message)
    assert told["signatures"][0]["keyid"] == keyid(key.public() or b"")


def test_any_change_of_an_envelope_ends_its_signature(session: Session) -> None:
    key = Checkpoints(session.workspace.config)
    public, sealed = key.public() or b"", seal(b'{"a":1}', key)
    other = msgspec.structs.replace
    assert signed_by(sealed, public)
    assert not signed_by(other(sealed, payload=base64.b64encode(b'{"a":2}').decode()), public)
    assert not signed_by(other(sealed, payload="no base64"), public)
    assert not signed_by(other(sealed, payload_type="text/plain"), public)
    assert not signed_by(other(sealed, signatures=()), public)
    for sig in ("", "no base64", base64.b64encode(bytes(64)).decode()):
        assert not signed_by(other(sealed, signatures=(other(sealed.signatures[0], sig=sig),)), public)
    with pytest.raises(SettingInvalid, match="no public key"):
        signed_by(sealed, b"-----BEGIN")


def stranger(session: Session) -> Checkpoints:
    found = Checkpoints(session.workspace.config.parent / "another")
    found.prepare()
    return found


def forge(session: Session, change: Any) -> list[str]:
    """What the audit says of a version whose kept envelopes are changed."""
    bundle = session.workspace.blobs.put(PACKED)
    blobs: Any = {kind: session.keep(body) for kind, body in BODIES.items()}
    kept = session.recall(attestations.signed(session, MODEL, bundle, blobs), dict[str, Envelope])
    register(session, attestations=session.keep(change(kept)))
    return [problem.text for problem in attestations.problems(session)]


def test_what_was_signed_here_passes_the_audit(session: Session) -> None:
    register(session)
    assert attestations.problems(session) == []


def test_the_audit_finds_what_the_ledger_does_not_say(session: Session) -> None:
    def lie(kept: dict[str, Envelope]) -> Any:
        text = (kept["report"].content() or b"").replace(b"true", b"null")
        return kept | {"report": seal(text, Checkpoints(session.workspace.config))}

    assert forge(session, lie) == [f"{MODEL} version 1: its attestation report says something else than the ledger"]


def test_the_audit_finds_one_that_is_about_another_bundle(session: Session) -> None:
    def swap(kept: dict[str, Envelope]) -> Any:
        text = (kept["report"].content() or b"").replace(sample().digest.encode(), b"0" * 64)
        return kept | {"report": seal(text, Checkpoints(session.workspace.config))}

    assert "report says something else" in forge(session, swap)[0]


def test_the_audit_finds_a_signature_that_is_not_ours(session: Session) -> None:
    def forged(kept: dict[str, Envelope]) -> Any:
        sealed = seal(kept["report"].content() or b"", stranger(session))
        named = msgspec.structs.replace(sealed.signatures[0], keyid=kept["report"].signatures[0].keyid)
        return kept | {"report": msgspec.structs.replace(sealed, signatures=(named,))}

    assert forge(session, forged) == [
        f"{MODEL} version 1: its attestation report names your key, which did not sign it"
    ]


def test_what_another_member_signed_is_compared_only(session: Session) -> None:
    assert not forge(
        session, lambda kept: kept | {"report": seal(kept["report"].content() or b"", stranger(session))}
    )


@pytest.mark.parametrize("change", [lambda kept: {"report": kept["report"]}, lambda kept: {}])
def test_the_audit_finds_one_that_is_missing(session: Session, change: Any) -> None:
    assert "its signed attestations are" in forge(session, change)[0]


def test_the_audit_finds_what_cannot_be_read(session: Session) -> None:
    assert forge(session, lambda kept: ["no", "envelopes"]) == [f"{MODEL} version 1: its attestations cannot be read"]


# --- to travel ----------------------------------------------------------------------------------------


@pytest.fixture
def travelled(session: Session, tmp_path: Path) -> Path:
    register(session)
    approve(session)
    return attestations.write(session, MODEL, 1, tmp_path / "deep" / "out")


def test_a_folder_that_can_travel(travelled: Path, session: Session) -> None:
    assert sorted(path.relative_to(travelled).as_posix() for path in travelled.rglob("*") if path.is_file()) == [
        "attestations/approval.json",
        "attestations/certificate.json",
        "attestations/provenance.json",
        "attestations/report.json",
        "bundle.zip",
        "signing-key.pub",
    ]
    assert (travelled / "bundle.zip").read_bytes() == PACKED
    assert [path.name for path in travelled.parent.iterdir()] == ["out"]
    with pytest.raises(SettingInvalid, match="not empty"):
        attestations.write(session, MODEL, 1, travelled)


def test_nothing_is_written_where_a_part_is_gone(session: Session, tmp_path: Path) -> None:
    from fullcircle.errors import BlobMissing

    register(session, provenance="0" * 64)
    with pytest.raises(BlobMissing):
        attestations.write(session, MODEL, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_or_a_full_folder_is_refused_before_anything_is_built(circle: Circle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(SettingInvalid, match="not empty"):
            package(circle.project, out=place, settings=circle.settings)


def test_a_bundle_in_hand_is_verified(travelled: Path, session: Session) -> None:
    found = verify(travelled / "bundle.zip", digest=sample().digest)
    assert found.passed
    assert (found.model, found.digest, found.golden_rows, found.pickled) == (MODEL, sample().digest, 2, False)
    assert [name for name, _, _ in found.files] == list(sample().files)
    assert dict(found.packages)["numpy"] == "2.4.6"
    mine = keyid(Checkpoints(session.workspace.config).public() or b"")
    assert [(each.kind, each.signed_by, each.verified) for each in found.attestations] == [
        (kind, mine, True) for kind in ("approval", "certificate", "provenance", "report")
    ]
    assert verify(travelled / "bundle.zip", key=travelled / "signing-key.pub").passed


def test_a_bundle_alone_is_verified_too(tmp_path: Path) -> None:
    (tmp_path / "any name").write_bytes(PACKED)
    found = verify(tmp_path / "any name")
    assert (found.passed, found.attestations) == (True, ())


def other_bundle(folder: Path) -> None:
    saved = SavedModel(file="model.skops", data=b"older", types=())
    (folder / "bundle.zip").write_bytes(pack(sample(saved=saved)))


def edited(folder: Path) -> None:
    path = folder / "attestations" / "report.json"
    told = json.loads(path.read_text())
    told["payload"] = base64.b64encode(base64.b64decode(told["payload"]).replace(b"true", b"null")).decode()
    path.write_text(json.dumps(told))


def unknown(folder: Path) -> None:
    told = json.loads(base64.b64decode(json.loads((folder / "attestations/report.json").read_text())["payload"]))
    (folder / "attestations" / "report.json").write_text(json.dumps(told | {"predicateType": "urn:other"}))


def written(name: str, data: bytes) -> Any:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (other_bundle, "attestations/report.json is about another bundle"),
        (written("bundle.zip", PACKED[:-9]), "the archive is damaged"),
        (written("bundle.zip", PACKED.replace(b'"format":1', b'"format":2')), "bundle"),
        (written("bundle.zip", b""), "not an archive"),
        (edited, "attestations/report.json was not signed by the key"),
        (unknown, "says something that is not known: urn:other"),
        (written("attestations/report.json", b"[]"), "report.json is no attestation"),
        (written("attestations/more.json", b"\xff"), "more.json is no attestation"),
        (written("attestations/more.json", b"{}"), "more.json is no attestation"),
    ],
)
def test_what_is_wrong_in_hand_is_named(travelled: Path, damage: Any, word: str) -> None:
    damage(travelled)
    found = verify(travelled / "bundle.zip")
    assert not found.passed
    assert word in " ".join(found.problems)


def test_the_right_digest_and_the_right_key_can_be_asked_for(
    travelled: Path, session: Session, tmp_path: Path
) -> None:
    assert "not the bundle asked for" in verify(travelled / "bundle.zip", digest="0" * 64).problems[0]
    (tmp_path / "other.pub").write_bytes(stranger(session).public() or b"")
    found = verify(travelled / "bundle.zip", key=tmp_path / "other.pub")
    assert len(found.problems) == 5
    bare = base64.b64decode(json.loads((travelled / "attestations/report.json").read_text())["payload"])
    (travelled / "attestations" / "report.json").write_bytes(bare)
    assert "report.json was not signed" in verify(travelled / "bundle.zip").problems[0]
    for lost in ("absent.zip", "attestations"):
        with pytest.raises(SettingInvalid, match="cannot be verified"):
            verify(travelled / lost)


def test_the_command_says_it_and_ends_with_1_where_something_is_wrong(travelled: Path) -> None:
    runner = CliRunner()
    found = runner.invoke(app, ["verify", str(travelled / "bundle.zip")])
    assert found.exit_code == 0, found.output
    flat = " ".join(found.output.split())
    assert sample().digest in "".join(found.output.split())
    assert "the bundle is whole" in flat
    assert "(verified)" in flat
    told = runner.invoke(app, ["verify", str(travelled / "bundle.zip"), "--json"])
    assert json.loads(told.stdout)["digest"] == sample().digest
    edited(travelled)
    found = runner.invoke(app, ["verify", str(travelled / "bundle.zip")])
    assert found.exit_code == 1
    assert "WRONG: attestations/report.json" in " ".join(found.output.split())
    assert runner.invoke(app, ["verify", str(travelled / "absent")]).exit_code == 2


# --- provenance -----------------------------------------------------------------------------------------


def test_a_real_version_says_what_it_was_made_of(circle: Circle) -> None:
    packaged = circle.turn.packaged
    assert packaged is not None
    with opened(circle.settings) as session:
        found = {each.kind: each for each in attestations.attestations(session, "houses", packaged.version)}
        said = found["provenance"].body
        assert attestations.problems(session) == []
    assert {each.bundle for each in found.values()} == {packaged.bundle}
    outside, inside = (said["buildDefinition"][name] for name in ("externalParameters", "internalParameters"))
    assert (outside["code"], outside["seed"], outside["pickle_allowed"]) == (circle.turn.trained.code, 0, False)
    assert (inside["inferred"], inside["versions_from"], inside["judged_against"]) == (True, "", None)
    assert inside["environment"]["scikit-learn"]
    depends = {each["name"]: each["digest"] for each in said["buildDefinition"]["resolvedDependencies"]}
    assert depends["snapshot"] == {"sha256": circle.turn.trained.snapshot.digest}
    assert said["runDetails"]["metadata"]["invocationId"] == packaged.run
    assert found["certificate"].body["bundle"] == packaged.bundle
    assert audit(settings=circle.settings).passed


def git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@b")
    environment = {"PATH": os.defpath, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    ran = subprocess.run(
        ["git", *names, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


@pytest.mark.skipif(shutil.which("git", path=os.defpath) is None, reason="git is not installed")
def test_the_commit_is_read_however_git_keeps_it(tmp_path: Path) -> None:
    inside = tmp_path / "repository" / "models" / "houses"
    inside.mkdir(parents=True)
    top = tmp_path / "repository"
    git(top, "init", "--quiet", "--initial-branch", "main")
    assert git_revision(inside) is None  # no commit yet
    git(top, "commit", "--quiet", "--allow-empty", "--message", "one")
    head = git(top, "rev-parse", "HEAD")
    assert git_revision(inside) == head
    git(top, "pack-refs", "--all")
    assert git_revision(inside) == head
    git(top, "worktree", "add", "--quiet", "../beside")
    assert git_revision(tmp_path / "beside") == head
    git(top, "checkout", "--quiet", "--detach")
    assert git_revision(inside) == head


@pytest.mark.parametrize("head", ["", "ref: ../../etc/passwd", "ref: refs/../../x", "0" * 39, "\xff"])
def test_a_strange_head_is_no_commit(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head, encoding="latin-1")
    assert git_revision(tmp_path) is None


# --- the same digest ------------------------------------------------------------------------------------

CHILD = """
import json
import sys
from pathlib import Path
from fullcircle.flows import drafts
from fullcircle.flows.package import build, latest_report
from fullcircle.flows.session import opened
from fullcircle.settings import load
place, run = Path(sys.argv[1]), sys.argv[2]
flags = {"workspace": str(place / "workspace"), "config": str(place / "config"), "offline": "yes"}
with opened(load(flags, folder=place)) as session:
    draft = drafts.of_run(session, run)
    found = build(session, draft, latest_report(session, run)[1])
    print(json.dumps([found.digest, found.manifest.files]))
"""


def test_two_builds_from_the_same_inputs_have_the_same_digest(circle: Circle, tmp_path: Path) -> None:
    """With another hash seed, number of threads, time zone, locale and folder, in a process of its own."""
    packaged = circle.turn.packaged
    assert packaged is not None
    place = tmp_path / "elsewhere, with a longer name"
    home = Path(str(circle.settings["workspace"])).parent
    shutil.copytree(home / "workspace", place / "workspace", symlinks=True, ignore=shutil.ignore_patterns("server*"))
    shutil.copytree(home / "config", place / "config")
    changed = {"PYTHONHASHSEED": "77", "TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONOPTIMIZE": "1"}
    changed |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(place), packaged.run],
        env={**os.environ, **changed},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    digest, files = json.loads(ran.stdout)
    assert dict(files) == dict(packaged.files)
    assert digest == packaged.bundle
