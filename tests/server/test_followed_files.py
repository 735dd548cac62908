"""Files that workers follow, on a machine that cannot read them for a moment: what changed meanwhile is not lost."""

from __future__ import annotations

import json
import logging
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from access_samples import ROLES, bearer, written
from fullcircle.errors import Unauthorized
from fullcircle.server import unloaded
from fullcircle.server.guard import Guard
from fullcircle.server.tokens import KeySet
from fullcircle.server.unloaded import Unloaded
from fullcircle.types.access import Issuer
from token_samples import OTHER, RSA, key_set, public


@contextmanager
def no_file_more() -> Iterator[None]:
    """As many files are open as the system allows: EMFILE for every other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.levelno >= logging.ERROR]


def test_g2_a_revocation_is_taken_up_when_its_file_can_be_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Guard(written(tmp_path, ROLES["viewer"], ROLES["scorer"]))
    followed.look()
    assert followed.check("/models", {"headers": list(bearer("viewer"))}) is not None
    written(tmp_path, ROLES["scorer"])
    with no_file_more():
        for _ in range(3):
            followed.look()
        assert followed.check("/models", {"headers": list(bearer("viewer"))}) is not None, "what was known stays"
    assert len(told(caplog)) == 1, "said once, not five times a second"
    followed.look()
    with pytest.raises(Unauthorized):
        followed.check("/models", {"headers": list(bearer("viewer"))})
    assert followed.check("/models", {"headers": list(bearer("scorer"))}) is not None
    written(tmp_path)
    with no_file_more():
        followed.look()
    assert len(told(caplog)) == 2, "another fault is said again"


def test_g2_also_the_first_time(tmp_path: Path) -> None:
    fresh = Guard(written(tmp_path, ROLES["viewer"]))
    with no_file_more():
        fresh.look()
    with pytest.raises(Unauthorized):
        fresh.check("/models", {"headers": list(bearer("viewer"))})
    fresh.look()
    assert fresh.check("/models", {"headers": list(bearer("viewer"))}) is not None


def test_what_is_wrong_in_itself_is_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    followed = Guard(written(tmp_path, ROLES["viewer"]))
    followed.look()
    (tmp_path / "access.json").write_bytes(b"{")
    for _ in range(3):
        followed.look()
    assert len(told(caplog)) == 1


def test_g2_a_key_of_an_issuer_that_was_taken_away_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "keys.json"
    place.write_bytes(key_set(public(RSA, "one"), public(OTHER, "two")))
    keys = KeySet(
        Issuer(issuer="i", audience="a", algorithm="RS256", keys="keys.json", claim="c", roles={}), tmp_path
    )
    keys.look()
    assert keys.find("one") is not None
    place.write_bytes(key_set(public(OTHER, "two")))
    with no_file_more():
        for _ in range(3):
            keys.look()
        assert keys.find("one") is not None
    assert len(told(caplog)) == 1
    keys.look()
    assert keys.find("one") is None
    assert keys.find("two") is not None


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes a second pass."""
    passed = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])

    def one() -> None:
        passed[0] += 1.0

    return one


def test_g2_a_model_that_was_unloaded_is_left_out(
    tmp_path: Path, second: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    followed = Unloaded(tmp_path)
    assert followed.names() == frozenset()
    Unloaded(tmp_path).change("a", out=True)
    assert json.loads((tmp_path / unloaded.NAME).read_bytes()) == {"models": ["a"]}
    seen = followed.mark()
    with no_file_more():
        assert followed.names() == frozenset()
        for _ in range(3):
            second()
            assert followed.mark() != seen, "who asks when the mark changes is told to ask again"
            seen = followed.mark()
            assert followed.mark() == seen, "and once a second, for each time models are looked at anew"
            assert followed.names() == frozenset()
    assert len(told(caplog)) == 1
    second()
    assert followed.names() == {"a"}
    assert followed.names() == {"a"}
    assert followed.mark() == followed.mark()
