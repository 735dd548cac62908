from __future__ import annotations

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from bundle_samples import PROFILE, lock_of, sample
from fullcircle.errors import BundleInvalid, LockFailed, ProofFailed
from fullcircle.packaging import archive, machine, uv
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import Bundle, pack
from fullcircle.packaging.bundle import build as bundle_of
from fullcircle.packaging.lock import lock, pins, travelling
from fullcircle.packaging.prove import Testimony as Said
from fullcircle.packaging.wheel import build, wheel
from fullcircle.runtimes.forms.certificate import choose
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.types.bundle import Proof
from fullcircle.types.contract import Column, Contract
from fullcircle.types.definitions import FunctionSpec, ViewSpec
from fullcircle.types.progress import Silent
from model_samples import regressor

SKLEARN = ("numpy", "pandas", "scikit-learn", "skops")
METADATA = b"Metadata-Version: 2.4\nName: fullcircle\nVersion: 0.1.0\n"


class Listening(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)

    def advance(self, done: int, total: int) -> None:
        self.heard.append(f"{done}/{total}")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose environment needs nothing but one small wheel: no index, no time."""
    source = tmp_path_factory.mktemp("tiny") / "fullcircle"
    source.mkdir()
    (source / "__init__.py").write_text("x = 1\n")
    made = build(source, name="fullcircle", version="0.1.0", info={"METADATA": METADATA})
    return sample(wheel=made, lock=lock_of(made)[lock_of(made).index("./wheels") :])


def left(folder: Path) -> list[str]:
    """What lies beside the environments and lock files."""
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".part")


# --- environments -------------------------------------------------------------------------------------


def test_an_environment_holds_what_the_lock_names_and_is_used_again(tiny: Bundle, tmp_path: Path) -> None:
    listening = Listening()
    python = proofs.environment(tiny, tmp_path / "environments", offline=True, progress=listening)
    assert "1 packages" in listening.heard[0]
    assert listening.heard[-1] == "3/3"
    ran = subprocess.run(
        [python, "-I", "-c", "import fullcircle, sys; print(fullcircle.x, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["1", str(python.parent.parent)]
    assert left(tmp_path / "environments") == []
    before = python.parent.parent.stat().st_ino
    assert proofs.environment(tiny, tmp_path / "environments", progress=listening) == python
    assert python.parent.parent.stat().st_ino == before
    assert "already" in listening.heard[-1]


def test_bundles_of_one_lock_share_an_environment(tiny: Bundle) -> None:
    assert proofs.key(tiny) == proofs.key(replace(tiny, digest="0" * 64))
    assert proofs.key(tiny) != proofs.key(sample())


def test_a_hash_that_does_not_match_is_refused_in_uvs_words(tiny: Bundle, tmp_path: Path) -> None:
    (name,) = [name for name in tiny.files if name.startswith("wheels/")]
    swapped = dict(tiny.files) | {name: archive.pack(archive.unpack(tiny.files[name], bool) | {"evil.py": b""})}
    with pytest.raises(LockFailed, match=r"Hash mismatch"):
        proofs.environment(replace(tiny, files=swapped), tmp_path, offline=True)
    assert left(tmp_path) == []
    assert not (tmp_path / proofs.key(tiny)).exists()


def test_what_is_not_in_the_cache_cannot_be_installed_offline(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    wants = tiny.lock + f"absent==1.0 \\\n    --hash=sha256:{'a' * 64}\n"
    with pytest.raises(LockFailed, match=r"installing the locked packages failed[\s\S]*absent"):
        proofs.environment(
            replace(tiny, files=dict(tiny.files) | {"lock.txt": wants.encode()}), tmp_path, offline=True
        )
    assert left(tmp_path) == []


def test_a_python_that_is_not_here_is_told(tiny: Bundle, tmp_path: Path) -> None:
    other = replace(tiny, manifest=replace(tiny.manifest, python="3.99"))
    with pytest.raises(LockFailed, match=r"3\.99"):
        proofs.environment(other, tmp_path, offline=True)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_told(tiny: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LockFailed, match="could not be written"):
        proofs.environment(tiny, tmp_path / "file", offline=True)


def test_an_environment_whose_interpreter_is_gone_is_made_again(tiny: Bundle, tmp_path: Path) -> None:
    python = proofs.environment(tiny, tmp_path, offline=True)
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert proofs.environment(tiny, tmp_path, offline=True) == python
    assert python.exists()


def test_many_processes_make_one_environment(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "environments"
    workers = [creator(tiny, folder, uv.find()) for _ in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert sorted(path.name for path in folder.iterdir()) == [proofs.key(tiny), f"{proofs.key(tiny)}.lock"]


def creator(tiny: Bundle, folder: Path, program: Path) -> subprocess.Popen[bytes]:
    """A process that creates the environment with ``program`` as uv."""
    (folder.parent / "bundle.zip").write_bytes(pack(tiny))
    code = (
        "import sys; from pathlib import Path; from fullcircle.packaging import proof, uv;"
        "from fullcircle.packaging.bundle import open_bundle; uv.find = lambda: Path(sys.argv[3]);"
        "proof.environment(open_bundle(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), offline=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, folder.parent / "bundle.zip", folder, program],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def slow_uv(tmp_path: Path) -> Path:
    """uv in front of which a script waits before it installs, so that a creator can be caught at work."""
    script = tmp_path / "slow-uv"
    script.write_text(f'#!/bin/sh\n[ "$1" = pip ] && sleep 30\nexec {uv.find()} "$@"\n')
    script.chmod(0o755)
    return script


def begin(tiny: Bundle, folder: Path, slow: Path) -> subprocess.Popen[bytes]:
    """A process that is in the middle of creating the environment."""
    process = creator(tiny, folder, slow)
    until = time.monotonic() + 20
    while not list(folder.glob("*.part/environment/bin/python")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_creator_leaves_nothing_half_done(
    tiny: Bundle, tmp_path: Path, slow_uv: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "environments"
    process = begin(tiny, folder, slow_uv)
    os.killpg(process.pid, how)
    process.wait(20)
    assert not (folder / proofs.key(tiny)).exists()
    assert bool(left(folder)) == (how == signal.SIGKILL)
    python = proofs.environment(tiny, folder, offline=True)
    assert subprocess.run([python, "-I", "-c", "import fullcircle"], check=False).returncode == 0
    assert left(folder) == []


def test_who_comes_second_waits_and_says_so(tiny: Bundle, tmp_path: Path, slow_uv: Path) -> None:
    folder = tmp_path / "environments"
    process = begin(tiny, folder, slow_uv)

    class Ending(Listening):
        """The first creator ends once the second one waits."""

        def note(self, text: str) -> None:
            super().note(text)
            if "waiting" in text:
                os.killpg(process.pid, signal.SIGKILL)

    listening = Ending()
    proofs.environment(tiny, folder, offline=True, progress=listening)
    process.wait(20)
    assert any("waiting" in text for text in listening.heard)
    assert left(folder) == []


# --- proofs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="module")
def real() -> Bundle:
    """A bundle with the lock that this environment asks for, and fullcircle's own wheel."""
    made = wheel()
    try:
        return regressor(lock=lock(wheel=made, packages=SKLEARN).text, wheel=made)
    except LockFailed as error:
        raise unprovided(error) from error


@pytest.fixture(scope="module")
def python(real: Bundle, home: Path) -> Path:
    try:
        return proofs.environment(real, home)
    except LockFailed as error:
        raise unprovided(error) from error


def unprovided(error: LockFailed) -> BaseException:
    """A skip where neither the network nor uv's cache has what is needed, else the error itself."""
    if "connection" not in str(error.next_step):
        return error
    return pytest.skip.Exception(f"neither the network nor uv's cache has what an environment needs: {error}")


@pytest.fixture(scope="module")
def proof(real: Bundle, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    """A proof asked for by a parent whose variables and folder would lead a child astray."""
    folder = tmp_path_factory.mktemp("astray")
    (folder / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    (folder / "sitecustomize.py").write_text("raise SystemExit('a stranger')")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "LD_PRELOAD"):
            patch.setenv(name, str(folder))
        patch.chdir(folder)
        return proofs.prove(real, python)


def test_a_bundle_proves_itself_in_a_clean_environment(real: Bundle, proof: Proof) -> None:
    assert proof.bundle == real.digest
    assert proof.same_bits
    assert proof.largest_difference == 0.0
    assert proof.golden_rows == len(real.golden) == 20
    assert proof.python == platform.python_version()
    assert dict(proof.packages) == pins(real.lock)
    assert dict(proof.packages)["scikit-learn"] == version("scikit-learn")
    assert proof.environment == proofs.key(real)
    assert proof.seconds > 0
    assert (proof.cpu, proof.flags) == machine.processor()
    assert proof.threads[0].startswith("cores ")
    assert set(machine.COUNTS[:3]) <= {each.removesuffix("=1") for each in proof.threads}, (
        "in one thread, as a server"
    )
    assert any("threads" in each for each in proof.threads[1:]), "the libraries that share out sums are named"
    assert (proof.target, proof.compiled) == ("", ())
    assert msgspec.json.decode(msgspec.json.encode(proof), type=Proof) == proof


@pytest.mark.usefixtures("proof")
def test_the_environment_shares_no_file_with_the_parent(python: Path) -> None:
    """Not even an inode: an edit here must not reach there through a hard link."""
    theirs = next(python.parent.parent.glob("lib/*/site-packages/numpy/__init__.py"))
    assert theirs.read_bytes() == Path(np.__file__).read_bytes()
    assert theirs.stat().st_nlink == 1


def test_the_wheel_made_from_the_bundles_environment_is_the_bundles(real: Bundle, python: Path) -> None:
    code = "import sys; from fullcircle.packaging.wheel import wheel; sys.stdout.buffer.write(wheel()[1])"
    ran = subprocess.run([python, "-I", "-c", code], capture_output=True, check=True)
    (name,) = [name for name in real.files if name.startswith("wheels/")]
    assert ran.stdout == real.files[name]


def test_another_answer_is_not_proven(real: Bundle, python: Path) -> None:
    golden = msgspec.json.decode(real.files["golden.json"])
    golden[3]["value"] += 0.5
    files = dict(real.files) | {"golden.json": msgspec.json.encode(golden)}
    with pytest.raises(ProofFailed, match=r"by at most 0\.5") as caught:
        proofs.prove(signed(real, files), python)
    assert "golden row 4" in str(caught.value)
    assert "nothing else that is known differs from this process" in str(caught.value)
    assert caught.value.exit_code == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "3")
        patch.setattr("platform.python_version", lambda: "3.11.0")
        with pytest.raises(ProofFailed) as caught:
            proofs.prove(signed(real, files), python)
    assert f"Python was 3.11.0, and is {platform.python_version()} here" in str(caught.value)


def signed(bundle: Bundle, files: dict[str, bytes]) -> Bundle:
    """A bundle of other files with a manifest that agrees with them."""
    listed = tuple((name, hashlib.sha256(files[name]).hexdigest()) for name in sorted(files))
    return replace(bundle, files=files, manifest=replace(bundle.manifest, files=listed))


def test_the_parents_own_interpreter_proves_nothing(real: Bundle) -> None:
    with pytest.raises(ProofFailed, match="does not prove anything") as caught:
        proofs.prove(real, Path(sys.executable))
    assert "does not belong to the environment" in str(caught.value)


def test_an_interpreter_without_fullcircle_gives_no_testimony(real: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ProofFailed, match="no testimony") as caught:
        proofs.prove(real, Path(sys._base_executable))  # type: ignore[attr-defined]  # CPython has it
    assert "fullcircle" in str(caught.value)
    with pytest.raises(ProofFailed, match="could not be started"):
        proofs.prove(real, tmp_path / "python")


@pytest.fixture
def site(python: Path) -> Iterator[Path]:
    """The environment's packages, put back as they were after the test."""
    folder = next(python.parent.parent.glob("lib/*/site-packages"))
    edited = [folder / "joblib" / "__init__.py", *folder.glob("threadpoolctl-*.dist-info/METADATA")]
    before = {path: path.read_bytes() for path in edited}
    there = {path.name for path in folder.iterdir()}
    yield folder
    for path, content in before.items():
        path.write_bytes(content)
    for path in folder.iterdir():
        if path.name not in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def refused(bundle: Bundle, python: Path, word: str) -> None:
    with pytest.raises(ProofFailed) as caught:
        proofs.prove(bundle, python)
    assert word in str(caught.value)


def test_an_edited_library_is_found_and_named(real: Bundle, python: Path, site: Path) -> None:
    with (site / "joblib" / "__init__.py").open("a") as opened:
        opened.write("\n")
    refused(real, python, "joblib/__init__.py of joblib was altered")


def test_another_version_is_found_and_named(real: Bundle, python: Path, site: Path) -> None:
    (metadata,) = site.glob("threadpoolctl-*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace(f"Version: {version('threadpoolctl')}", "Version: 0.9"))
    refused(real, python, "threadpoolctl 0.9 is installed, the lock says")


def test_another_package_is_found_and_named(real: Bundle, python: Path, site: Path) -> None:
    info = site / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    refused(real, python, "stranger 1.0 is installed and not in the lock")


def test_a_path_to_the_parent_is_found_and_named(real: Bundle, python: Path, site: Path) -> None:
    theirs = Path(proofs.__file__).parents[2]
    (site / "leak.pth").write_text(f"{theirs}\n")
    refused(real, python, f"{theirs} plays a part")


def test_a_bundle_for_another_python_is_not_proven_here(real: Bundle, python: Path) -> None:
    refused(replace(real, manifest=replace(real.manifest, python="3.99")), python, "the bundle is for 3.99")


def test_an_interpreter_that_says_it_is_another_python_is_not_believed_to_fit(real: Bundle, tmp_path: Path) -> None:
    """Whatever it answers: the bundle's answers are to be those of the Python that it is for."""
    says = Said(here=machine.Here(python="3.12.1", platform="p", packages=()), rows=len(real.golden), same_bits=True)
    (tmp_path / "answer").write_bytes(msgspec.json.encode(says))
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    script.chmod(0o755)
    refused(real, script, "this is Python 3.12.1, and the bundle is for 3.11")
    (tmp_path / "answer").write_bytes(
        msgspec.json.encode(replace(says, here=replace(says.here, python="3.11.0"), compiled=True))
    )
    refused(real, script, "the environment of the other lock")


def checked(python: Path, bundle: Bundle, folder: Path, *more: str | Path) -> tuple[int, str]:
    """The exit code and the words of a check without a parent, as the build of a container makes it."""
    (folder / "bundle.zip").write_bytes(pack(bundle))
    line = [python, "-I", "-m", "fullcircle.packaging.prove", folder / "bundle.zip", "--check", *more]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder, env={})
    return ran.returncode, ran.stdout


# --- the compiled form --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(real: Bundle) -> Bundle:
    """A linear model that a compiled form answers for, with a lock of what that form needs."""
    (name,) = travelling(real.lock)
    made = (name.rpartition("/")[2], real.files[name])
    locked = lock(wheel=made, packages=SKLEARN, compiled=True, offline=True)
    columns = (Column(name="a", kind="number"), Column(name="b", kind="number"))
    contract = Contract(columns=columns, label="y", task="regression", prior=0.0)
    rows = [{"a": float(place), "b": place**2 / 7} for place in range(12)]
    inputs = np.array([[row["a"], row["b"]] for row in rows])
    model = LinearRegression().fit(inputs, inputs.sum(axis=1) + 0.1)
    chosen = choose(contract, model, rows)
    assert chosen.certificate.form == "linear"
    answers = Scorer(contract, model, form=chosen.form).score(rows)
    return bundle_of(
        model="lines", runtime="sklearn", saved=SklearnRuntime().save(model, Path.cwd()), contract=contract,
        golden=list(zip(rows, answers, strict=True)), profile=PROFILE, lock=locked.text, wheel=made,
        certificate=chosen.certificate, compiled=chosen.data, compiled_lock=locked.compiled,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(compiled: Bundle, home: Path) -> Path:
    """The environment of the compiled form."""
    return proofs.environment(compiled, home, compiled=True, offline=True)


def test_a_compiled_form_proves_itself_without_the_models_library(
    compiled: Bundle, home: Path, python: Path, small: Path
) -> None:
    assert proofs.environment(compiled, home, offline=True) == python, "the whole lock is that of any other model"
    assert not list(small.parent.parent.glob("lib/*/site-packages/sklearn"))
    proof = proofs.prove(compiled, python, compiled=small, platform="aarch64-manylinux_2_28")
    assert dict(proof.compiled) == pins(str(compiled.compiled_lock))
    assert dict(proof.packages) == pins(compiled.lock)
    assert proof.target == "aarch64-manylinux_2_28"
    with pytest.raises(ProofFailed, match="does not prove anything") as caught:
        proofs.prove(compiled, small)
    assert "the environment of the other lock" in str(caught.value)


def test_a_function_of_a_view_has_to_find_its_imports(compiled: Bundle, small: Path, tmp_path: Path) -> None:
    """Golden rows hold what on-demand functions gave, so that answering them calls none."""
    function = FunctionSpec(
        name="gap", source="def gap(a):\n    return float(pd.isna(a))", inputs=("a",), returns="float",
        imports=("math", "pandas as pd"),
    )  # fmt: skip
    view = ViewSpec(name="v", time="at", tables=(), features=(), functions=(function,), order=("gap",), keys={})
    files = dict(compiled.files) | {"features.json": msgspec.json.encode(view)}
    code, words = checked(small, signed(compiled, files), tmp_path)
    assert code == 1
    assert "'gap' needs a library that cannot be imported" in words


def test_a_check_without_a_parent_judges_by_its_exit_code(compiled: Bundle, small: Path, tmp_path: Path) -> None:
    code, words = checked(small, compiled, tmp_path)
    told = (
        f"12 golden rows answered with the same bits by the compiled form alone, Python {platform.python_version()}"
    )
    assert (code, words) == (0, f"proven: {told}\n")
    golden = msgspec.json.decode(compiled.files["golden.json"])
    golden[3]["value"] += 0.5
    other = signed(compiled, dict(compiled.files) | {"golden.json": msgspec.json.encode(golden)})
    code, words = checked(small, other, tmp_path)
    assert code == 1
    assert "golden row 4" in words
    assert "Python and packages are those of the lock; the CPU here is" in words
    elsewhere = Proof(
        bundle="", python="3.11.0", platform="", packages=(("numpy", "1.0"),), golden_rows=12, same_bits=True,
        largest_difference=0.0, environment="", seconds=0.0, cpu="another",
    )  # fmt: skip
    (tmp_path / "certificate.json").write_bytes(msgspec.json.encode(elsewhere))
    code, words = checked(small, other, tmp_path, "--certificate", tmp_path / "certificate.json")
    assert code == 1
    assert f"Python was 3.11.0, and is {platform.python_version()} here" in words
    assert f"numpy was 1.0, and is {version('numpy')} here" in words
    assert "the CPU was another" in words


def test_a_check_in_another_environment_says_what_is_not_the_locks(real: Bundle, small: Path, tmp_path: Path) -> None:
    code, words = checked(small, real, tmp_path)
    assert code == 1
    assert f"scikit-learn {version('scikit-learn')} is in the lock and not installed" in words
    (tmp_path / "x.json").write_text("{}")
    code, words = checked(small, real, tmp_path, "--certificate", tmp_path / "x.json")
    assert code == 1
    assert words.startswith("not proven: ")


def test_a_bundle_without_a_compiled_lock_has_no_such_environment(real: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="no lock of a compiled form"):
        proofs.environment(real, tmp_path, compiled=True)


def test_serving_needs_none_of_the_laboratory(real: Bundle, python: Path, tmp_path: Path) -> None:
    """The audit and loading side imports in an environment without uv, sqlalchemy, pyarrow and the like."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(pack(real))
    code = (
        "import sys; from pathlib import Path; from fullcircle.packaging import bundle, loading;"
        "data = Path(sys.argv[1]).read_bytes(); found = bundle.open_bundle(data);"
        "absent = [name for name in ('pandas', 'sklearn', 'uv', 'skops') if name in sys.modules];"
        "print(loading.replay(found, loading.scorer(found, Path(sys.argv[2]))).largest_difference, absent)"
    )
    ran = subprocess.run(
        [python, "-I", "-c", code, path, tmp_path], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert ran.stdout.split(maxsplit=1) == ["0.0", "[]\n"]
