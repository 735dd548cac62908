from __future__ import annotations

import hashlib
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fullcircle.errors import BundleInvalid, LockFailed
from fullcircle.packaging import lock as locks
from fullcircle.packaging.wheel import wheel
from fullcircle.types.progress import Silent

A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def own() -> tuple[str, bytes]:
    return wheel()


@pytest.fixture(scope="module")
def text(own: tuple[str, bytes]) -> str:
    try:
        return locks.lock(wheel=own)
    except LockFailed as error:
        if "connection" in str(error.next_step):
            pytest.skip(f"neither the network nor uv's cache has what a lock needs: {error}")
        raise


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


def test_the_same_inputs_give_the_same_lock_from_the_cache_too(text: str, own: tuple[str, bytes]) -> None:
    assert locks.lock(wheel=own, offline=True) == text


def test_more_requirements_are_locked_at_the_version_installed(text: str, own: tuple[str, bytes]) -> None:
    longer = locks.pins(locks.lock(wheel=own, requirements=["joblib>=1", " certifi "], offline=False))
    assert longer["certifi"] == version("certifi")
    assert {name: pin for name, pin in longer.items() if name != "certifi"} == locks.pins(text)


@pytest.mark.usefixtures("text")
def test_a_version_that_is_not_the_installed_one_fails_in_uvs_words(own: tuple[str, bytes]) -> None:
    with pytest.raises(LockFailed, match=r"numpy==1\.26"):
        locks.lock(wheel=own, requirements=["numpy==1.26"])


def test_with_an_empty_cache_offline_fails_and_says_so(
    own: tuple[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    with pytest.raises(LockFailed, match="network was disabled") as caught:
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
        locks.lock(wheel=("x.whl", b""), requirements=[line])


def test_progress_is_told(own: tuple[str, bytes], text: str) -> None:
    class Listening(Silent):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def note(self, text: str) -> None:
            self.heard.append(text)

    listening = Listening()
    locks.lock(wheel=own, progress=listening)
    assert any(f"{sys.version_info.major}.{sys.version_info.minor}" in note for note in listening.heard)


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


def test_names_are_compared_normalised() -> None:
    assert locks.normal("Scikit_Learn") == locks.normal("scikit-learn") == locks.normal("scikit..learn")
    assert "fullcircle" not in locks.installed_versions()
    assert locks.installed_versions()["numpy"] == version("numpy")
