from __future__ import annotations

import hashlib
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fullcircle.errors import BundleInvalid, LockFailed
from fullcircle.packaging import lock as locks
from fullcircle.packaging.versions import normal
from fullcircle.packaging.wheel import wheel
from fullcircle.types.environments import Wanted
from fullcircle.types.progress import Silent

A, B = "a" * 64, "b" * 64
SKLEARN = ("numpy", "pandas", "scikit-learn", "skops")
OLDER = Wanted(source="requirements.txt", lines=("tomli<2.1",))


class Listening(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture(scope="module")
def own() -> tuple[str, bytes]:
    return wheel()


@pytest.fixture(scope="module")
def both(own: tuple[str, bytes]) -> locks.Lock:
    """A lock, made when uv's cache has all that the tests here ask for; the network is asked where it has not."""
    try:
        for packages, wanted in (([*SKLEARN, "certifi", "tomli"], Wanted()), (["tomli"], OLDER)):
            try:
                found = locks.lock(wheel=own, packages=packages, wanted=wanted, offline=True)
            except LockFailed:
                found = locks.lock(wheel=own, packages=packages, wanted=wanted)
            assert set(packages) <= set(locks.pins(found.text))
        return locks.lock(wheel=own, packages=SKLEARN, compiled=True, offline=True)
    except LockFailed as error:
        if "connection" in str(error.next_step):
            pytest.skip(f"neither the network nor uv's cache has what a lock needs: {error}")
        raise


@pytest.fixture(scope="module")
def text(both: locks.Lock) -> str:
    return both.text


def test_it_pins_what_is_installed_here(text: str) -> None:
    pins = locks.pins(text)
    for name in ("numpy", "pandas", "scikit-learn", "skops", "scipy", "msgspec", "uvicorn", "joblib"):
        assert pins[name] == version(name)
    assert pins["fullcircle"] == version("fullcircle")


def test_it_holds_only_what_answering_needs(text: str) -> None:
    assert not {"mlflow-skinny", "sqlalchemy", "cryptography", "uv", "pyarrow", "pytest"} & set(locks.pins(text))


def test_it_names_no_address_and_no_folder_of_this_machine(text: str) -> None:
    assert not re.search(r"https?:|file:|--index|--find-links|/tmp|/home|#", text)
    for line in text.splitlines():
        assert re.fullmatch(r"(\S+==\S+|\./wheels/\S+\.whl) \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line)


def test_our_wheel_travels_with_its_hash(text: str, own: tuple[str, bytes]) -> None:
    assert locks.travelling(text) == {f"wheels/{own[0]}": hashlib.sha256(own[1]).hexdigest()}


def test_the_same_inputs_give_the_same_lock_from_the_cache_too(both: locks.Lock, own: tuple[str, bytes]) -> None:
    assert locks.lock(wheel=own, packages=[*SKLEARN, " skops "], compiled=True, offline=True) == both


def test_a_compiled_form_has_the_part_of_the_lock_that_it_needs(both: locks.Lock) -> None:
    assert both.compiled is not None
    assert locks.is_part(both.compiled, both.text)
    assert not locks.is_part(both.text, both.compiled)
    small = locks.pins(both.compiled)
    assert {"numpy", "msgspec", "uvicorn", "fullcircle"} <= set(small)
    assert not {"pandas", "scikit-learn", "scipy", "skops", "joblib"} & set(small)
    assert locks.travelling(both.compiled) == locks.travelling(both.text)


@pytest.mark.usefixtures("text")
def test_what_any_form_needs_is_in_both(own: tuple[str, bytes]) -> None:
    found = locks.lock(wheel=own, packages=["pandas"], serving=["certifi"], compiled=True, offline=True)
    assert found.compiled is not None
    assert locks.pins(found.compiled)["certifi"] == locks.pins(found.text)["certifi"] == version("certifi")


@pytest.mark.usefixtures("text")
def test_without_packages_it_is_what_a_server_is_made_of(own: tuple[str, bytes], both: locks.Lock) -> None:
    alone = locks.lock(wheel=own, offline=True)
    assert (alone.text, alone.compiled) == (both.compiled, None)


def test_what_the_project_says_bounds_and_adds_nothing(own: tuple[str, bytes], text: str) -> None:
    lines = ("scikit-learn[docs] >=1.5", f"numpy=={version('numpy')} ; python_version > '3.8'", "pytest>=1", "absent")
    own_too = (f"fullcircle[lab]>={version('fullcircle')}", f"fullcircle=={version('fullcircle')}")
    said = Wanted(source="pyproject.toml", lines=(*lines, "scipy", *own_too))
    assert locks.lock(wheel=own, packages=SKLEARN, wanted=said, offline=True).text == text


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("scikit-learn==1.5.0", "scikit-learn"),
        ("pandas[all]>=1,<2", "pandas"),
        ("numpy<2 ; python_version>'3'", "numpy"),
        ("fullcircle==99.0", "fullcircle"),
        ("fullcircle[lab]<0.0.1", "fullcircle"),
    ],
)
@pytest.mark.usefixtures("text")
def test_a_contradiction_names_the_package_and_both_versions(own: tuple[str, bytes], line: str, package: str) -> None:
    said = Wanted(source="uv.lock", lines=("pytest==1.0", "rich>=1", line))
    with pytest.raises(LockFailed) as caught:
        locks.lock(wheel=own, packages=SKLEARN, wanted=said, offline=True)
    told = caught.value
    assert told.what.startswith(
        f"the model was trained with {package} {version(package)}, and uv.lock says {package}"
    )
    assert "pytest" not in str(told), "what the model does not need is nobody's business"
    assert "uv sync" in str(told.next_step)


@pytest.mark.usefixtures("text")
def test_another_python_and_platform_go_to_uv(own: tuple[str, bytes]) -> None:
    listening = Listening()
    target = Wanted(python="3.99", platform="no-such-platform")
    with pytest.raises(LockFailed, match="no-such-platform"):
        locks.lock(wheel=own, wanted=target, offline=True, progress=listening)
    assert listening.heard == ["locking the packages for Python 3.99 on no-such-platform"]


@pytest.mark.usefixtures("text")
def test_what_is_installed_from_a_folder_is_not_taken_from_an_index(
    own: tuple[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index may have something else of that name and version."""
    info = tmp_path / f"certifi-{version('certifi')}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: certifi\nVersion: {version('certifi')}\n")
    (info / "direct_url.json").write_text('{"url": "file:///home/me/certifi", "dir_info": {}}')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LockFailed, match="the model needs certifi, installed here from a folder"):
        locks.lock(wheel=own, packages=["certifi"], offline=True)
    (info / "INSTALLER").write_text("conda\n")
    assert "certifi" in locks.pins(locks.lock(wheel=own, packages=["certifi"], offline=True).text)


def test_with_an_empty_cache_offline_fails_and_says_so(
    own: tuple[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    with pytest.raises(LockFailed, match="locking the environment failed") as caught:
        locks.lock(wheel=own, offline=True)
    assert "cache" in str(caught.value.next_step)


def test_no_network_and_no_cache_fails_and_says_so(
    own: tuple[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_INDEX_STRATEGY", "first-index")
    with pytest.raises(LockFailed, match="Connection refused") as caught:
        locks.lock(wheel=own)
    assert "connection" in str(caught.value.next_step)


@pytest.mark.parametrize(
    "line",
    [
        "x @ https://host/x.whl",
        "x @ file:///x.whl",
        "./x.whl",
        "/x",
        "-r other.txt",
        "--index-url https://host/simple",
        "git+https://host/x",
        "",
        "numpy\n--pre",
        "-e .",
    ],
)
def test_a_requirement_that_is_an_address_or_an_option_is_refused(line: str) -> None:
    with pytest.raises(LockFailed, match="cannot be locked"):
        locks.lock(wheel=("x.whl", b""), packages=[line])
    with pytest.raises(LockFailed, match="cannot be locked"):
        locks.lock(wheel=("x.whl", b""), serving=[line])
    with pytest.raises(LockFailed, match=r"a line of uv\.lock cannot be used"):
        locks.lock(wheel=("x.whl", b""), wanted=Wanted(source="uv.lock", lines=(line,)))


@pytest.mark.usefixtures("text")
def test_a_version_that_nobody_trained_with_is_told(own: tuple[str, bytes]) -> None:
    listening = Listening()
    found = locks.lock(wheel=own, packages=["tomli"], offline=True, progress=listening)
    assert any(f"{sys.version_info.major}.{sys.version_info.minor}" in note for note in listening.heard)
    assert listening.heard[-1] == "not installed here: tomli; the latest were taken"
    older = locks.lock(wheel=own, packages=["tomli"], wanted=OLDER, offline=True, progress=listening)
    assert locks.pins(older.text)["tomli"] < "2.1"
    assert listening.heard[-1] == "not installed here: tomli; versions are the latest that requirements.txt allows"
    assert "tomli" in locks.pins(found.text)


def test_a_lock_is_read_strictly() -> None:
    sound = f"a==1.0 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
    sound += f"./wheels/my_b-2.0-py3-none-any.whl \\\n    --hash=sha256:{A}\n"
    assert locks.pins(sound) == {"a": "1.0", "my-b": "2.0"}
    assert locks.travelling(sound) == {"wheels/my_b-2.0-py3-none-any.whl": A}


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "\n",
        "a==1.0\n",
        f"a>=1.0 --hash=sha256:{A}\n",
        f"a==1.0 --hash=md5:{A}\n",
        f"a==1.0 --hash=sha256:{A[:-1]}\n",
        f"a==1.0 --hash=sha256:{A}\n--index-url https://host/simple\n",
        f"a @ https://host/a.whl --hash=sha256:{A}\n",
        f"../wheels/b-2.0-py3-none-any.whl --hash=sha256:{A}\n",
        f"./wheels/../b-2.0-py3-none-any.whl --hash=sha256:{A}\n",
        f"./wheels/b-2.0-py3-none-any.whl --hash=sha256:{A} --hash=sha256:{B}\n",
        f"a==1.0 --hash=sha256:{A}\nA==1.0 --hash=sha256:{A}\n",
        f"a==1.0 --hash=sha256:{A} ; python_version > '3'\n",
        f"a==1.* --hash=sha256:{A}\n",
        "# a comment\n",
    ],
)
def test_anything_else_in_a_lock_is_refused(damaged: str) -> None:
    with pytest.raises(BundleInvalid, match=r"lock\.txt"):
        locks.pins(damaged)
    with pytest.raises(BundleInvalid, match=r"lock-compiled\.txt"):
        locks.travelling(damaged, "lock-compiled.txt")


def test_names_are_compared_normalised() -> None:
    assert normal("Scikit_Learn") == normal("scikit-learn") == normal("scikit..learn")
    assert "fullcircle" not in locks.installed_versions()
    assert locks.installed_versions()["numpy"] == version("numpy")
