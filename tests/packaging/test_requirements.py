"""What a project says of its packages, and what it may not say."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fullcircle as fc
from fullcircle.errors import LockFailed, ProjectInvalid
from fullcircle.packaging import requirement_files
from fullcircle.packaging.requirements import MOST_BYTES, wanted
from fullcircle.types.environments import REQUIREMENT, Wanted
from fullcircle.types.progress import Silent

UV_LOCK = """
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "mine"
version = "0.1.0"
source = { editable = "." }

[[package]]
name = "colorama"
version = "0.4.6"
source = { registry = "https://host.invalid/simple" }

[[package]]
name = "forked"
version = "1.0"
source = { registry = "https://host.invalid/simple" }
resolution-markers = ["python_full_version < '3.12'"]

[[package]]
name = "forked"
version = "2.0"
source = { registry = "https://host.invalid/simple" }
resolution-markers = ["python_full_version >= '3.13'", "python_full_version == '3.12.*'"]

[[package]]
name = "private"
version = "3.0"
source = { git = "https://host.invalid/x?rev=1#2" }
"""
PYPROJECT = """
[project]
name = "mine"
dependencies = ["numpy>=1.26", "uvicorn[standard] >=0.30"]
[project.optional-dependencies]
train = ["lightgbm>=4", "mine[old]"]
old = ["pandas<4"]
[dependency-groups]
dev = ["pytest>=8", {include-group = "lint"}]
lint = ["ruff"]
"""


def project(requirements: str | Sequence[str] = "", **more: str) -> fc.Project:
    return fc.Project(
        name="m",
        data="x.csv",
        label="y",
        features=["a"],
        fit=lambda X, y: None,
        requirements=requirements,
        **more,
    )


class Listening(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


def test_where_nothing_is_said_that_is_told(tmp_path: Path) -> None:
    listening = Listening()
    assert wanted(tmp_path, project(), listening) == Wanted()
    (note,) = listening.heard
    assert all(word in note for word in ("uv.lock", "pyproject.toml", "requirements.txt", "installed here"))


def test_the_most_exact_file_speaks(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("tiny-a==1\n")
    assert wanted(tmp_path, project()) == Wanted(source="requirements.txt", lines=("tiny-a==1",))
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert wanted(tmp_path, project()).source == "requirements.txt", "a pyproject.toml without a project says nothing"
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    assert wanted(tmp_path, project()).source == "pyproject.toml"
    (tmp_path / "uv.lock").write_text(UV_LOCK)
    assert wanted(tmp_path, project()).source == "uv.lock"
    assert wanted(tmp_path, project("requirements.txt")).source == "requirements.txt"
    assert wanted(tmp_path, project(["tiny-b>=2"])) == Wanted(source="the project file", lines=("tiny-b>=2",))


def test_a_uv_lock_pins_what_comes_from_an_index(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(UV_LOCK)
    assert wanted(tmp_path, project()).lines == (
        "colorama==0.4.6",
        "forked==1.0 ; (python_full_version < '3.12')",
        "forked==2.0 ; (python_full_version >= '3.13') or (python_full_version == '3.12.*')",
    )


def test_of_versions_that_exclude_each_other_the_installed_one_counts() -> None:
    text = UV_LOCK.replace("resolution-markers", "ignored")
    assert "forked==2.0" in requirement_files.locked("uv.lock", text, {"forked": "2.0"}.get)
    assert "forked==1.0" in requirement_files.locked("uv.lock", text, {"forked": "9.0"}.get)
    extra = UV_LOCK.replace("python_full_version < '3.12'", "extra == 'extra-4-mine-cpu'")
    assert "forked==2.0" in requirement_files.locked("uv.lock", extra, {"forked": "2.0"}.get)


def test_a_pyproject_says_its_dependencies_and_the_groups_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    plain = ("numpy>=1.26", "uvicorn[standard] >=0.30")
    assert wanted(tmp_path, project()).lines == plain
    assert wanted(tmp_path, project("pyproject.toml[train]")).lines == (*plain, "lightgbm>=4", "pandas<4")
    found = wanted(tmp_path, project("pyproject.toml[dev, old]"))
    assert found.lines == (*plain, "pytest>=8", "pandas<4", "ruff")
    assert found.source == "pyproject.toml[dev, old]"
    with pytest.raises(LockFailed, match="cannot be used") as caught:
        wanted(tmp_path, project("pyproject.toml[absent]"))
    assert "lint, old, train" in str(caught.value)


def test_a_requirements_file_with_includes_hashes_and_comments(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text(
        "\ufeff# a comment\r\ntiny-a==1.0 \\\r\n    --hash=sha256:aa \\\r\n    --hash=sha256:bb\r\n\r\n"
        "-r more/base.txt\n--constraint=more/bounds.txt\ntiny-b >= 2, <3 ; python_version > '3.8'  # why\n"
        "tiny-c[x, y]\n"
    )
    (tmp_path / "more" / "base.txt").write_text("tiny-d~=1.4\n-r ../requirements.txt\n-rbase.txt\n")
    (tmp_path / "more" / "bounds.txt").write_text("tiny-e!=3")
    assert wanted(tmp_path, project()).lines == (
        "tiny-a==1.0",
        "tiny-b >= 2, <3 ; python_version > '3.8'",
        "tiny-c[x, y]",
        "tiny-d~=1.4",
        "tiny-e!=3",
    )


LINES = [
    "tiny-a",
    "tiny-b==1.0",
    "tiny-c[x, y] >=2 ,<3",
    "tiny-d ; python_version > '3'",
    "tiny-e~=1.4 ; extra == 'a'",
]


@given(
    st.lists(st.tuples(st.sampled_from(LINES), st.integers(0, 7), st.booleans()), max_size=6),
    st.booleans(),
    st.data(),
)
def test_however_a_requirements_file_is_laid_out_it_says_the_same(
    written: list[tuple[str, int, bool]], mark: bool, data: st.DataObject
) -> None:
    """Comments, hashes, continued lines, tabs, the ends of lines of another system, includes that go in circles."""
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    blank = data.draw(st.lists(st.sampled_from(["", "  ", "# tiny-z==1", "\t# x \\"]), max_size=2))
    files: dict[str, list[str]] = {"requirements.txt": [*blank], "deep/more.txt": ["-r ../requirements.txt"]}
    for line, layout, elsewhere in written:
        text = [
            line, f"  {line}  # why not", f"{line} \\{end}    --hash=sha256:aa", f"{line} --hash=md5:a --hash=sha1:b",
            line.replace(" ", "\t"), f"{line}\\", f"\\{end}{line}", f"{line}\t#{line} --hash=x",
        ][layout]  # fmt: skip
        files["deep/more.txt" if elsewhere else "requirements.txt"] += [text, *blank] if layout != 5 else [text, ""]
    include = data.draw(
        st.sampled_from(["-r deep/more.txt", "-rdeep/more.txt", "--requirement=deep/../deep/more.txt"])
    )
    files["requirements.txt"].append(include)
    texts = {name: ("\ufeff" * mark + end.join(lines)).encode() for name, lines in files.items()}
    found = requirement_files.listed("requirements.txt", lambda name: texts[name].decode("utf-8-sig"))
    here = [line for line, _, elsewhere in written if not elsewhere]
    assert found == here + [line for line, _, elsewhere in written if elsewhere]


HOSTILE = [
    "x @ https://host.invalid/x.whl",
    "x @ file:///x.whl",
    "git+https://host.invalid/x",
    "https://host.invalid/x.whl",
    "./x.whl",
    "../x",
    "/x",
    "-e .",
    "--editable=.",
    "-i http://host.invalid/simple",
    "--index-url http://host.invalid/simple",
    "--extra-index-url=http://me:secret@host.invalid/simple",
    "--find-links /somewhere",
    "-f .",
    "--trusted-host host.invalid",
    "--pre",
    "--no-binary :all:",
    "tiny; rm -rf /",
    "tiny && rm -rf /",
    "$(touch /tmp/owned)",
    "tiny==${SECRET}",
    "tiny==1 --config-settings=a=b",
    "tiny ; python_version > '3' @ file:///x",
    "tiny ; platform_release == '\\\\'",
    "-r https://host.invalid/r.txt",
    "-r /etc/passwd",
    "=1.0",
    "tiny=1.0",
    "tiny 1.0",
    "тіny",
    "tiny\u2028--pre",
    "tiny\x00",
    "tiny\x0b--pre",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_what_is_no_package_is_refused_with_file_and_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"tiny-a\n\n{line}\n")
    with pytest.raises(LockFailed, match=r"requirements\.txt, line 3 names no package") as caught:
        wanted(tmp_path, project())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("line", [*HOSTILE, "tiny\n--pre", "tiny\r--pre", "", "-r x.txt"])
def test_it_is_refused_wherever_it_stands(tmp_path: Path, line: str) -> None:
    with pytest.raises(ProjectInvalid):
        project([line])
    entry = re.sub(r"[^ -~]|[\\\"]", lambda found: f"\\u{ord(found[0]):04x}", line)
    (tmp_path / "pyproject.toml").write_text(f'[project]\ndependencies = ["{entry}"]\n')
    with pytest.raises(LockFailed, match=r"pyproject\.toml"):
        wanted(tmp_path, project())
    (tmp_path / "uv.lock").write_text(
        f'[[package]]\nname = "{entry}"\nversion = "1"\nsource = {{ registry = "x" }}\n'
        f'[[package]]\nname = "t"\nversion = "1 {entry}"\nsource = {{ registry = "x" }}\n'
    )
    with pytest.raises(LockFailed, match=r"uv\.lock"):
        wanted(tmp_path, project())


@given(st.text(max_size=40), st.sampled_from(["", "tiny", "tiny>=1", "tiny ; python_version > '3'"]))
def test_nothing_that_is_taken_leaves_its_line_or_is_an_option(text: str, begin: str) -> None:
    line = begin + text
    if REQUIREMENT.fullmatch(line):
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert re.match(r"[A-Za-z0-9]", line)
        assert not set(line) & set("/\\@$`&|#:{}")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("uv.lock", "version = 2\n", "version = 2"),
        ("uv.lock", "package = 3\n", "package"),
        ("uv.lock", '[[package]]\nname = 3\nsource = {registry = ""}\n', "package 1"),
        ("uv.lock", '[[package]]\nname = "a"\nversion = 1\nsource = {registry = ""}\n', "'a'"),
        ("uv.lock", "not toml", "cannot be used"),
        ("pyproject.toml", "[project\n", "cannot be used"),
        ("pyproject.toml", "project = 3\n", "a table"),
        ("pyproject.toml", "[project]\ndependencies = 'numpy'\n", "a list"),
        ("pyproject.toml", "[project]\ndependencies = [3]\n", "text"),
        ("requirements.txt", "-r absent.txt\n", "absent.txt"),
        ("requirements.txt", "\\", ""),
    ],
)
def test_a_file_that_cannot_be_understood_is_told(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    if not words:
        assert wanted(tmp_path, project()).lines == ()
        return
    with pytest.raises(LockFailed, match=re.escape(name) if words != "absent.txt" else words) as caught:
        wanted(tmp_path, project())
    assert words in str(caught.value)


def test_files_that_are_named_have_to_be_there_and_to_say_something(tmp_path: Path) -> None:
    with pytest.raises(LockFailed, match=r"base\.txt"):
        wanted(tmp_path, project("base.txt"))
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    with pytest.raises(LockFailed, match="says nothing of packages"):
        wanted(tmp_path, project("pyproject.toml"))
    (tmp_path / "base.txt").write_text("tiny\n")
    with pytest.raises(LockFailed, match="groups"):
        wanted(tmp_path, project("base.txt[train]"))


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "/etc/hosts", "../x.txt", "a/../../x.txt"])
def test_a_name_that_leads_elsewhere_is_refused_when_it_is_declared(name: str) -> None:
    with pytest.raises(ProjectInvalid, match="names no file"):
        project(name)


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    home = tmp_path / "project"
    home.mkdir()
    (tmp_path / "secret.txt").write_text("a-secret==1\n")
    (home / "uv.lock").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(LockFailed, match=r"uv\.lock leads out of the project's folder") as caught:
        wanted(home, project())
    assert "a-secret" not in str(caught.value)
    (home / "uv.lock").unlink()
    (home / "requirements.txt").write_text("-r ../secret.txt\n")
    with pytest.raises(LockFailed, match="leads out"):
        wanted(home, project())
    (home / "up").symlink_to(tmp_path)
    (home / "requirements.txt").write_text("-r up/secret.txt\n")
    with pytest.raises(LockFailed, match="leads out"):
        wanted(home, project())
    (home / "real.txt").write_text("tiny-a\n")
    (home / "requirements.txt").unlink()
    (home / "requirements.txt").symlink_to("real.txt")
    assert wanted(home, project()).lines == ("tiny-a",)


def test_what_is_no_plain_text_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "requirements.txt"
    os.mkfifo(place)
    with pytest.raises(LockFailed, match="no plain file"):
        wanted(tmp_path, project())
    place.unlink()
    place.mkdir()
    with pytest.raises(LockFailed, match="cannot be read"):
        wanted(tmp_path, project())
    place.rmdir()
    place.symlink_to("requirements.txt")
    with pytest.raises(LockFailed, match="cannot be read"):
        wanted(tmp_path, project())
    place.unlink()
    place.write_bytes(b"tiny\xff")
    with pytest.raises(LockFailed, match="UTF-8"):
        wanted(tmp_path, project())
    with open(place, "wb") as opened:
        opened.truncate(MOST_BYTES + 1)
    with pytest.raises(LockFailed, match="larger than 32 MB"):
        wanted(tmp_path, project())


def test_includes_end(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n")
    with pytest.raises(LockFailed, match="cannot be used") as caught:
        wanted(tmp_path, project("0.txt"))
    assert "more than 50 files" in str(caught.value)


def test_training_with_another_version_than_the_project_says_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("pytest==1.0\neditables==0.1\nabsent-package==1\n")
    with pytest.raises(LockFailed) as caught:
        wanted(tmp_path, project())
    assert f"the model was trained with pytest {version('pytest')}, and requirements.txt says pytest==1.0" in str(
        caught.value
    )
    assert "editables" not in str(caught.value), "what is not loaded was not trained with"
    (tmp_path / "requirements.txt").write_text(f"pytest=={version('pytest')}.0\neditables==0.1\n")
    assert wanted(tmp_path, project()).source == "requirements.txt"


def installed_as(folder: Path, name: str, number: str, module: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n{info.name}/RECORD,,\n")


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("torch-like==2.1", False),
        ("torch-like==2.1.0+cpu", False),
        ("Torch_Like == 2.1.0", False),
        ("torch-like==2.1.0+cu118", True),
        ("torch-like==2.2", True),
        ("torch-like>=2.2", False),  # a range is judged by uv, when the lock is made
        ("torch-like==2.2 ; sys_platform == 'win32'", False),
        ("fullcircle==99.0", True),
        (f"fullcircle=={version('fullcircle')}", False),
        ("never-loaded==2", False),
    ],
)
def test_a_pin_is_judged_as_an_installer_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, refused: bool
) -> None:
    installed_as(tmp_path / "site", "torch-like", "2.1.0+cpu", "torch_like")
    installed_as(tmp_path / "site", "never-loaded", "1.0", "never_loaded")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(sys.modules, "torch_like", sys)
    if not refused:
        assert wanted(tmp_path, project([line])).lines == (line,)
        return
    with pytest.raises(LockFailed, match=f"the model was trained with {re.split('[ =]', line)[0]} "):
        wanted(tmp_path, project([line]))


def test_python_and_platform_are_the_projects() -> None:
    found = wanted(Path("/nonexistent"), project(["tiny"], python="3.12", platform="aarch64-manylinux_2_28"))
    assert (found.python, found.platform) == ("3.12", "aarch64-manylinux_2_28")
