"""What a project may say that it needs, and what follows from it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import FullcircleError, ProjectInvalid
from fullcircle.types.needs import KEYS, KINDS, Checked, Need, needs, packages, satisfies, variables

GOOD: dict[str, dict[str, Any]] = {
    "warehouse": {"kind": "database", "at": "postgresql://reader@db.example/sales", "version": ">=14,<17"},
    "rates": {"kind": "url", "at": "https://rates.example:8443/v1?base=eur", "within": "200ms"},
    "token": {"kind": "secret", "at": "API_TOKEN"},
    "table": {"kind": "file", "at": "lookup.csv", "age": "2d"},
    "runs": {"kind": "mlflow", "at": "env:MLFLOW_PLACE", "optional": True},
    "store": {"kind": "features"},
    "cluster": {"kind": "h2o", "at": "http://h2o:54321"},
}


def told(need: Need) -> dict[str, Any]:
    return {key: value for key, value in asdict(need).items() if key != "name"}


def refused(**said: Any) -> str:
    with pytest.raises(ProjectInvalid) as found:
        needs({"one": said})
    assert found.value.next_step
    return str(found.value)


def test_they_come_in_the_order_in_which_they_were_said() -> None:
    found = needs(GOOD)
    assert [one.name for one in found] == list(GOOD)
    assert found[0] == Need(
        name="warehouse", kind="database", at="postgresql://reader@db.example/sales", version=">=14,<17"
    )
    assert (found[4].optional, found[0].optional) == (True, False)
    assert (found[1].seconds, found[0].seconds) == (0.2, 0.0)


def test_they_read_back_from_json_and_from_what_they_say_themselves() -> None:
    found = needs(GOOD)
    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[Need, ...]) == found
    assert needs({one.name: told(one) for one in found}) == found


def test_a_need_of_before_the_key_age_reads_as_one_without() -> None:
    raw = b'[{"name":"a","kind":"file","at":"x","version":"","within":"","optional":false}]'
    assert msgspec.json.decode(raw, type=tuple[Need, ...]) == (Need(name="a", kind="file", at="x"),)


@pytest.mark.parametrize(
    "at",
    [
        "postgresql://u:p@db/x", "redis://:geheim@cache/0", "http://u:p@host/x",
        "postgresql://db/x?password=p", "https://host/x?api_key=1", "https://host/x?a=1&access_token=2",
        "mssql://db/x;Pwd=p", "sqlite:///a.db?apikey=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["database", "url", "mlflow", "h2o", "features", "file"])
def test_no_password_is_written_down(kind: str, at: str) -> None:
    said = refused(kind=kind, at=at)
    assert "a bundle travels" in said
    assert "env:NAME" in said
    assert not any(secret in said for secret in ("geheim", "p@", "p/q", "=p", "=1", "=2"))


def test_nor_a_token_before_the_host_of_a_web_address() -> None:
    said = refused(kind="url", at="https://ghp_1234@host/x")
    assert "ghp_1234" not in said
    assert needs({"a": {"kind": "database", "at": "postgresql://reader@db/x"}})
    assert needs({"a": {"kind": "url", "at": "http://host:8080/users/@me"}})
    said = refused(kind="database", at="postgresql://u:geheim/q@db/x")
    assert "geheim" not in said
    assert "holds a password" in said


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"kind": "url"}, "does not say where"),
        ({"kind": "url", "at": "host/x"}, "web address"),
        ({"kind": "url", "at": "ftp://host/x"}, "web address"),
        ({"kind": "url", "at": "http://"}, "web address"),
        ({"kind": "url", "at": "http://host:x/"}, "no address"),
        ({"kind": "url", "at": "http://host:99999/"}, "no address"),
        ({"kind": "url", "at": "http://[::1/"}, "no address"),
        ({"kind": "url", "at": "http://host/\r\nX: y"}, "printable"),
        ({"kind": "h2o", "at": "h2o:54321"}, "web address"),
        ({"kind": "database", "at": "host=db password=x"}, "no address"),
        ({"kind": "features", "at": "cache"}, "no address"),
        ({"kind": "secret", "at": "env:TOKEN"}, "names no environment variable"),
        ({"kind": "secret", "at": "MY TOKEN"}, "names no environment variable"),
        ({"kind": "secret"}, "names no environment variable"),
        ({"kind": "file", "at": "env:"}, "names no environment variable"),
        ({"kind": "database", "at": "env:1X"}, "names no environment variable"),
        ({"kind": "file", "at": "x", "version": ">=1"}, "tells no version"),
        ({"kind": "url", "at": "http://h", "version": ">=1"}, "tells no version"),
        ({"kind": "h2o", "at": "http://h", "version": "new"}, "bounds no version"),
        ({"kind": "h2o", "at": "http://h", "version": ">=1,"}, "bounds no version"),
        ({"kind": "h2o", "at": "http://h", "version": "1" * 30}, "bounds no version"),
        ({"kind": "secret", "at": "X", "within": "1s"}, "takes no time"),
        ({"kind": "file", "at": "x", "within": "0s"}, "no time to wait"),
        ({"kind": "file", "at": "x", "within": "1h"}, "no time to wait"),
        ({"kind": "file", "at": "x", "within": "soon"}, "span of time"),
        ({"kind": "url", "at": "http://h", "age": "1d"}, "has no age"),
        ({"kind": "file", "at": "x", "age": "0s"}, "is no age"),
        ({"kind": "file", "at": "x", "optional": 1}, "neither True nor False"),
        ({"kind": "file", "at": 3}, "is not text"),
        ({"kind": "disk", "at": "x"}, "kind"),
        ({"at": "x"}, "kind"),
        ({"kind": ["url"], "at": "x"}, "kind"),
        ({"kind": "file", "at": "x", "port": 3}, "a key of"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(said: dict[str, Any], word: str) -> None:
    assert word in refused(**said)


@pytest.mark.parametrize("name", ["", "A", "-x", "a b", "a" * 64, 3, None])
def test_names_are_plain(name: Any) -> None:
    with pytest.raises(ProjectInvalid, match="name in requires"):
        needs({name: {"kind": "features"}})


@pytest.mark.parametrize("given_", [[], "x", [{"kind": "features"}], {"a": "features"}, {"a": None}])
def test_what_is_no_mapping_is_refused(given_: Any) -> None:
    if given_ == []:
        with pytest.raises(ProjectInvalid):
            needs(given_)
        return
    with pytest.raises(ProjectInvalid):
        needs(given_)


_TEXT = st.text(max_size=30) | st.sampled_from(
    [
        "env:X",
        "http://h/",
        "sqlite:///a",
        "postgresql://u:p@h/x",
        ">=1",
        "1s",
        "http://[",
        "file",
        "\x00",
        "@:://",
        "?",
    ]
)
_ANY = st.none() | st.booleans() | st.integers() | _TEXT | st.lists(_TEXT, max_size=2)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | _TEXT, st.sampled_from(KINDS) | _ANY, max_size=7))
def test_whatever_is_said_is_taken_or_refused_in_words(said: dict[str, Any]) -> None:
    try:
        (found,) = needs({"one": said})
    except ProjectInvalid:
        return
    assert needs({"one": told(found)}) == (found,)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Need) == found
    assert packages((found,)) == packages((found, found))
    assert all(name.isidentifier() for name in variables((found,)))


class TestVersions:
    @pytest.mark.parametrize(
        ("version", "bounds", "fits"),
        [
            ("16.4", ">=14,<17", True), ("17.0", ">=14,<17", False), ("13.9", ">=14", False), ("14.0", ">=14", True),
            ("16.4", "==16", True), ("16.4", "16", True), ("16.4", "<=16", True), ("16.4", ">16", False),
            ("17.0", ">16", True), ("16", "==16.0", True), ("16", ">=16.1", False), ("3.46.0.7", ">=3.46,<4", True),
            ("16.4 (Debian 16.4-1)", ">=16.4", True), ("3.16.0.dev0", ">=3.15", True), ("v9.2", "<10", True),
            ("10.0", ">=9.9", True), ("devel", ">=0", False), ("", ">=0", False), ("1.2", "=1", False),
        ],
    )  # fmt: skip
    def test_they_are_compared_as_far_as_the_bound_is_written(self, version: str, bounds: str, fits: bool) -> None:
        assert satisfies(version, bounds) is fits

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.integers(0, 300), min_size=1, max_size=4), st.lists(st.integers(0, 300), min_size=1, max_size=4)
    )
    def test_of_three_relations_exactly_one_holds(self, version: list[int], bound: list[int]) -> None:
        shown, limit = ".".join(map(str, version)), ".".join(map(str, bound))
        less, same, more = (satisfies(shown, f"{sign}{limit}") for sign in ("<", "==", ">"))
        assert less + same + more == 1
        assert satisfies(shown, f">={limit}") is (same or more)
        assert satisfies(shown, f"<={limit}") is (same or less)


class TestWhatFollows:
    def test_which_variables_have_to_reach_the_server(self) -> None:
        found = variables(needs(GOOD))
        assert {"API_TOKEN", "MLFLOW_PLACE", "MLFLOW_TRACKING_TOKEN", "SSL_CERT_FILE"} <= set(found)
        assert list(found) == sorted(set(found))
        assert variables(needs({"a": {"kind": "file", "at": "x"}})) == ()
        assert variables(needs({"a": {"kind": "file", "at": "env:PLACE"}})) == ("PLACE",)

    @pytest.mark.parametrize(
        ("said", "wanted"),
        [
            ({"kind": "database", "at": "postgresql://db/x"}, ("psycopg[binary]",)),
            ({"kind": "database", "at": "postgresql+psycopg://db/x"}, ("psycopg[binary]",)),
            ({"kind": "database", "at": "postgres://db/x"}, ("psycopg[binary]",)),
            ({"kind": "database", "at": "env:DB"}, ("psycopg[binary]",)),
            ({"kind": "mlflow", "at": "postgresql://db/x"}, ("psycopg[binary]",)),
            ({"kind": "mlflow", "at": "env:RUNS"}, ()),
            ({"kind": "database", "at": "sqlite:///a.db"}, ()),
            ({"kind": "database", "at": "mysql://db/x"}, ()),
            ({"kind": "features", "at": "rediss://cache/0"}, ("redis",)),
            ({"kind": "features"}, ()),
            ({"kind": "url", "at": "https://postgresql/x"}, ()),
        ],
    )
    def test_which_packages_the_lock_has_to_have(
        self, said: dict[str, Any], wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert packages(needs({"a": said})) == wanted
        monkeypatch.setenv("DB", "sqlite:///a.db")  # the digest of a bundle does not hang on this machine
        assert packages(needs({"a": said})) == wanted

    def test_a_finding_is_plain_json(self) -> None:
        found = Checked(name="a", kind="url", status="failed", what="w", next_step="n")
        assert msgspec.json.decode(msgspec.json.encode(found), type=Checked) == found

    def test_a_refusal_is_one_of_ours(self) -> None:
        assert issubclass(ProjectInvalid, FullcircleError)
