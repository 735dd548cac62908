"""What differs between two machines, and how it is named."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from fullcircle.errors import BundleInvalid
from fullcircle.packaging import machine
from fullcircle.packaging.lock import running
from fullcircle.types.bundle import Proof

INTEL = """processor\t: 0
model name\t: Xeon 9000
flags\t\t: fpu sse4_2 avx fma avx2 avx512f hypervisor

processor\t: 1
model name\t: another
flags\t\t: none
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve aes\n"
PROVEN = Proof(
    bundle="b",
    python="3.11.4",
    platform="Linux-6.1-x86_64-with-glibc2.36",
    packages=(("numpy", "2.4.6"), ("scipy", "1.17.0")),
    golden_rows=3,
    largest_difference=0.0,
    same_bits=True,
    environment="e",
    seconds=1.0,
    cpu="Xeon 9000",
    flags=("avx2", "avx512f"),
    threads=("cores 8", "openblas 0.3.30 SkylakeX, threads 8"),
)
THERE = machine.Here(
    python=PROVEN.python,
    platform=PROVEN.platform,
    packages=PROVEN.packages,
    cpu=PROVEN.cpu,
    flags=PROVEN.flags,
    threads=PROVEN.threads,
)


@pytest.mark.parametrize(
    ("text", "flags"),
    [(INTEL, ("sse4_2", "avx", "fma", "avx2", "avx512f")), (ARM, ("asimd", "sve")), ("", ()), ("\xff:\n::\n", ())],
)
def test_a_processor_is_told_by_what_changes_sums(tmp_path: Path, text: str, flags: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="latin-1")
    name, found = machine.processor(str(tmp_path / "cpuinfo"))
    assert found == flags
    assert name == ("Xeon 9000" if text is INTEL else platform.processor() or platform.machine())


def test_without_that_file_the_system_names_it() -> None:
    assert machine.processor("/nonexistent") == (platform.processor() or platform.machine(), ())


def test_this_process_is_told() -> None:
    import sklearn.utils  # noqa: F401 - brings threadpoolctl and a BLAS

    here = machine.here()
    assert here.python == platform.python_version()
    assert dict(here.packages)["msgspec"] == version("msgspec")
    assert here.threads[0].startswith("cores ")
    assert any("threads" in each for each in here.threads[1:])
    assert machine.differences(here, machine.here()) == ()


def test_where_nothing_differs_nothing_is_told() -> None:
    assert machine.differences(PROVEN, THERE) == ()
    assert machine.differences(replace(PROVEN, cpu="", flags=(), threads=()), THERE) == (), "an older certificate"
    assert machine.differences(PROVEN, replace(THERE, packages=(*THERE.packages, ("pip", "25")))) == ()
    more = (*THERE.threads, "openblas 0.3.31 SkylakeX, threads 8", "openmp, threads 8")
    assert machine.differences(PROVEN, replace(THERE, threads=more)) == (), "a library more was loaded"
    assert machine.differences(PROVEN, replace(THERE, packages=(("numpy", "2.4.6.0"), ("scipy", "1.17")))) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "3.12.1"}, "Python was 3.11.4, and is 3.12.1 here"),
        ({"packages": (("numpy", "2.3.0"), ("scipy", "1.17.0"))}, "numpy was 2.4.6, and is 2.3.0 here"),
        ({"packages": (("numpy", "2.4.6"),)}, "scipy was 1.17.0, and is not installed here"),
        ({"cpu": "EPYC"}, "the CPU was Xeon 9000, and is EPYC here"),
        ({"flags": ("avx2", "amx_tile")}, "the CPU's features differ: without avx512f, with amx_tile here"),
        ({"platform": "Linux-5"}, "the platform was Linux-6.1-x86_64-with-glibc2.36, and is Linux-5 here"),
        ({"threads": ("cores 2",)}, "threads: it was cores 8, and is cores 2 here"),
        (
            {"threads": ("cores 8", "openblas 0.3.30 Haswell, threads 1")},
            "threads: it was openblas 0.3.30 SkylakeX, threads 8, and is openblas 0.3.30 Haswell, threads 1 here",
        ),
        (
            {"threads": (*PROVEN.threads, "OMP_NUM_THREADS=1")},
            "threads: it was OMP_NUM_THREADS unset, and is OMP_NUM_THREADS=1 here",
        ),
    ],
)
def test_what_differs_is_named(changes: dict[str, object], words: str) -> None:
    assert machine.differences(PROVEN, replace(THERE, **changes)) == (words,)  # type: ignore[arg-type]


def test_the_likeliest_cause_comes_first() -> None:
    other = replace(THERE, python="3.12.0", packages=(("numpy", "1"), ("scipy", "1")), cpu="x", platform="y")
    told = machine.differences(PROVEN, other)
    assert [text.split()[0] for text in told[:3]] == ["Python", "numpy", "scipy"]


def test_a_process_is_compared_with_the_nearer_of_the_locks() -> None:
    whole, small = {"numpy": "2.4.6", "scipy": "1.17.0"}, {"numpy": "2.4.6"}
    locks = {"lock.txt": whole, "lock-compiled.txt": small}
    lean = replace(THERE, packages=(("numpy", "2.4.6"),))
    (told,) = machine.against(running(), locks, lean)
    assert "Xeon 9000" in told
    assert "avx512f" in told
    old = replace(THERE, packages=(("numpy", "2.0"), ("pip", "25")))
    assert machine.against(running(), locks, old) == ("numpy 2.0 is installed, the lock says 2.4.6",)
    assert machine.against("3.99", locks, old)[0] == f"this is Python {running()}, and the bundle is for 3.99"


def test_another_python_is_refused_with_words() -> None:
    machine.check_python(running())
    with pytest.raises(BundleInvalid, match=r"this is Python .*, and the bundle is for 3\.99") as caught:
        machine.check_python("3.99")
    assert "its own environment" in str(caught.value.next_step)


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="tells this machine by name")
def test_a_platform_is_this_machines_or_not() -> None:
    libc = platform.libc_ver()[0]
    for name in ("", "linux", "x86_64-unknown-linux-gnu", "x86_64-manylinux_2_17", "x86_64-manylinux2014"):
        assert machine.is_here(name) == (libc == "glibc" or not name), name
    assert machine.is_here("x86_64-unknown-linux-musl") == (libc != "glibc")
    for name in (
        "aarch64-manylinux_2_28",
        "macos",
        "windows",
        "x86_64-apple-darwin",
        "x86_64-manylinux_2_999",
        "wasm",
    ):
        assert not machine.is_here(name), name
