"""Blobs are found by their content, come back verified, and never show half-written."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fullcircle.errors import BlobCorrupt, BlobMissing, MissingExtra, SettingInvalid, WorkspaceUnusable
from fullcircle.ledger.blobs import Blobs, is_digest

per_test = [HealthCheck.function_scoped_fixture]


@pytest.fixture(params=["folder", "file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    places = {
        "folder": str(tmp_path / "blobs"),
        "file": f"file://{tmp_path}/blobs",
        "memory": f"memory://{uuid.uuid4().hex}/blobs",
    }
    return Blobs(places[request.param])


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=per_test)
@given(data=st.binary(max_size=5000))
def test_what_goes_in_comes_out(blobs: Blobs, data: bytes) -> None:
    digest = blobs.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert blobs.put(data) == digest
    assert blobs.get(digest) == data
    assert blobs.exists(digest)


def test_listing_and_deleting(blobs: Blobs) -> None:
    assert list(blobs.digests()) == []
    digests = sorted(blobs.put(bytes([n])) for n in range(5))
    assert list(blobs.digests()) == digests
    blobs.delete(digests[2])
    blobs.delete(digests[2])
    assert not blobs.exists(digests[2])
    assert list(blobs.digests()) == [*digests[:2], *digests[3:]]
    with pytest.raises(BlobMissing, match="not in the store"):
        blobs.get(digests[2])


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "/etc/passwd"])
def test_what_is_no_digest_names_no_blob(blobs: Blobs, name: str) -> None:
    assert not is_digest(name)
    assert not blobs.exists(name)
    blobs.delete(name)
    with pytest.raises(BlobMissing):
        blobs.get(name)


def test_two_stores_at_one_place_see_each_other(tmp_path: Path) -> None:
    digest = Blobs(str(tmp_path / "blobs")).put(b"shared")
    assert Blobs(f"file://{tmp_path}/blobs").get(digest) == b"shared"


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=per_test)
@given(data=st.binary(min_size=1, max_size=200), place=st.integers(0, 10_000), cut=st.booleans())
def test_one_changed_byte_is_never_handed_out(tmp_path: Path, data: bytes, place: int, cut: bool) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    digest = blobs.put(data)
    path = tmp_path / "blobs" / digest[:2] / digest
    index = place % len(data)
    path.write_bytes(data[:index] if cut else data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
    with pytest.raises(BlobCorrupt, match="does not match") as caught:
        blobs.get(digest)
    assert caught.value.allowed == digest
    blobs.put(data)
    assert blobs.get(digest) == data, "putting it again mends it"


def test_many_who_put_the_same_leave_one(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: Blobs(str(tmp_path / "blobs")).put(data), range(16)))
    (digest,) = digests
    assert Blobs(str(tmp_path / "blobs")).get(digest) == data
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


WRITER = """
import os, sys
from fullcircle.ledger.blobs import Blobs
blobs = Blobs(sys.argv[1])
while True:
    print(blobs.put(os.urandom(200_000)), flush=True)
"""


def test_a_killed_writer_leaves_only_whole_blobs(tmp_path: Path) -> None:
    for pause in (0.3, 0.31, 0.33, 0.37):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "blobs")], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        first = child.stdout.readline().strip()
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        acknowledged = [first, *child.communicate()[0].split()]
        blobs = Blobs(str(tmp_path / "blobs"))
        stored = list(blobs.digests())
        assert set(acknowledged) <= set(stored)
        for digest in stored:
            blobs.get(digest)


def test_what_a_killed_writer_left_is_swept_a_day_later(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    blobs.put(b"1")
    old, new = (tmp_path / "blobs" / "incoming" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    blobs.put(b"2")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: the write fails in the same place."""
    blobs = Blobs(str(tmp_path / "blobs"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(WorkspaceUnusable, match=os.strerror(errno.EFBIG)):
            blobs.put(b"x" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(blobs.digests()) == []
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blobs = Blobs(str(tmp_path / "file" / "blobs"))
    with pytest.raises(WorkspaceUnusable, match="blob store"):
        blobs.put(b"x")


def test_a_url_nobody_knows() -> None:
    with pytest.raises(SettingInvalid, match="URL") as caught:
        Blobs("nonsense://place")
    assert "fsspec" in str(caught.value.allowed)


def test_a_protocol_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtra, match="s3fs"):
        Blobs("s3://bucket/path")


def test_a_key_in_the_url_is_not_shown() -> None:
    assert "secret" not in Blobs("memory://me:secret@place/x").url
