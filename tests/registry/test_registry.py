"""Plug-ins: found by name through real packages on the path; unknown, doubled and broken ones are refused."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fullcircle import registry
from fullcircle.errors import PluginBroken, PluginUnknown
from fullcircle.registry import GROUPS, Group

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with entry points on the path, as an installer would: modules and a dist-info folder."""
    modules: list[str] = []

    def put(name: str, group: str, members: Mapping[str, str], **sources: str) -> Path:
        site = tmp_path / name
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"[fullcircle.{group}]", *(f"{member} = {value}" for member, value in members.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for module, source in sources.items():
            (site / f"{module}.py").write_text(source, encoding="utf-8")
            modules.append(module)
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return site

    yield put
    for module in modules:
        sys.modules.pop(module, None)


GOOD = "class Mine:\n    name = 'mine'\n\n\nclass Outer:\n    class Inner:\n        pass\n"
ALL = pytest.mark.parametrize("group", GROUPS)


@ALL
def test_anybody_may_register_for_every_group(group: Group, install: Install) -> None:
    before = registry.names(group)
    install("acme", group, {"mine": "acme_plugin:Mine"}, acme_plugin=GOOD)
    assert registry.names(group) == tuple(sorted((*before, "mine")))
    found = registry.find(group, "mine")
    assert found.__module__ == "acme_plugin"
    assert found().name == "mine"
    for other in set(GROUPS) - {group}:
        assert "mine" not in registry.names(other)


def test_a_name_inside_another_is_found(install: Install) -> None:
    install("acme", "checks", {"inner": "acme_plugin:Outer.Inner"}, acme_plugin=GOOD)
    assert registry.find("checks", "inner").__qualname__ == "Outer.Inner"


def test_listing_imports_nothing(install: Install, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    source = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n{GOOD}"
    install("acme", "checks", {"mine": "acme_plugin:Mine"}, acme_plugin=source)
    assert "mine" in registry.names("checks")
    assert not mark.exists()
    registry.find("checks", "mine")
    assert mark.exists()


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    code = (
        "import sys; from fullcircle import registry; "
        "[registry.names(group) for group in registry.GROUPS]; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'numpy', 'pandas', 'sklearn'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == []


@ALL
@pytest.mark.parametrize("name", ["no-such-thing", "", "Sklearn", "fullcircle.runtimes.sklearn:SklearnRuntime"])
def test_an_unknown_name_says_which_there_are(group: Group, name: str) -> None:
    with pytest.raises(PluginUnknown, match=f"among the {group}") as caught:
        registry.find(group, name)
    assert caught.value.received == repr(name)
    assert caught.value.allowed == ", ".join(registry.names(group))
    assert "install" in (caught.value.next_step or "")


def test_two_packages_with_one_name_are_refused_and_both_named(install: Install) -> None:
    install("acme", "checks", {"mine": "acme_plugin:Mine"}, acme_plugin=GOOD)
    install("other", "checks", {"mine": "other_plugin:Mine"}, other_plugin=GOOD)
    assert registry.names("checks").count("mine") == 1
    with pytest.raises(PluginUnknown, match="two packages register the same name") as caught:
        registry.find("checks", "mine")
    assert "acme_plugin:Mine" in (caught.value.received or "")
    assert "other_plugin:Mine" in (caught.value.received or "")
    assert caught.value.next_step


def test_what_is_installed_and_taken_away_while_a_process_runs_is_seen(install: Install) -> None:
    # What is installed is read once: by the folders' times it is known that it has to be read again.
    site = install("acme", "checks", {"mine": "acme_plugin:Mine"}, acme_plugin=GOOD)
    before = registry.names("checks")
    assert "mine" in before
    later = site / "other-1.0.dist-info"
    later.mkdir()
    (later / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n", encoding="utf-8")
    (later / "entry_points.txt").write_text("[fullcircle.checks]\nanother = acme_plugin:Outer\n", encoding="utf-8")
    assert set(registry.names("checks")) == {*before, "another"}
    assert registry.find("checks", "another").__name__ == "Outer"
    shutil.rmtree(site / "acme-1.0.dist-info")
    assert set(registry.names("checks")) == {*before, "another"} - {"mine"}
    with pytest.raises(PluginUnknown):
        registry.find("checks", "mine")


def test_a_member_is_found_without_reading_what_is_installed_again() -> None:
    registry.find("checks", "quality")
    read: list[str] = []
    watching = True

    def heard(event: str, given: tuple[object, ...]) -> None:
        if watching and event == "open" and "entry_points.txt" in str(given[0]):
            read.append(str(given[0]))

    sys.addaudithook(heard)  # stays until the process ends, and is deaf from here on
    try:
        assert registry.find("checks", "quality") is registry.find("checks", "quality")
        assert "quality" in registry.names("checks")
    finally:
        watching = False
    assert read == []


def test_a_built_in_cannot_be_replaced_in_silence(install: Install) -> None:
    install("acme", "checks", {"quality": "acme_plugin:Mine"}, acme_plugin=GOOD)
    with pytest.raises(PluginUnknown, match="two packages") as caught:
        registry.find("checks", "quality")
    assert "fullcircle.evaluation.checks.quality:Quality" in (caught.value.received or "")


def test_one_package_found_twice_is_one(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # An editable install beside a built one: two folders tell of the same member.
    site = install("acme", "checks", {"mine": "acme_plugin:Mine"}, acme_plugin=GOOD)
    second = tmp_path / "second"
    (second / "acme_again-1.0.dist-info").mkdir(parents=True)
    for file in (site / "acme-1.0.dist-info").iterdir():
        text = file.read_text(encoding="utf-8").replace("Name: acme", "Name: acme-again")
        (second / "acme_again-1.0.dist-info" / file.name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(second)
    importlib.invalidate_caches()
    assert registry.find("checks", "mine").__module__ == "acme_plugin"


BROKEN: Mapping[str, tuple[str, str]] = {
    "an import that fails": ("import no_such_library_anywhere\n", "no_such_library_anywhere"),
    "another name": ("class Yours: pass\n", "Mine"),
    "a syntax error": ("class Mine(:\n", "SyntaxError"),
    "an exception": ("raise ValueError('out of order')\n", "ValueError: out of order"),
    "an operating system error": ("open('/no/such/folder/at/all')\n", "No such file"),
    "a missing key": ("{}['colour']\n", "colour"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_plug_in_that_cannot_be_loaded_is_named_with_the_cause(fault: str, install: Install) -> None:
    source, said = BROKEN[fault]
    install("acme", "detectors", {"mine": "acme_plugin:Mine"}, acme_plugin=source)
    assert "mine" in registry.names("detectors"), "it can be listed all the same"
    with pytest.raises(PluginBroken) as caught:
        registry.find("detectors", "mine")
    error: Any = caught.value
    assert said in error.what
    assert "'mine' among the detectors" in error.what
    assert error.received == "acme_plugin:Mine"
    assert error.next_step
    assert error.__cause__ is not None, "the whole story is kept for who wants it"


def test_a_plug_in_without_its_module_is_broken(install: Install) -> None:
    install("acme", "stores", {"mine": "gone_plugin:Mine"})
    with pytest.raises(PluginBroken, match="gone_plugin"):
        registry.find("stores", "mine")


def test_control_c_while_a_plug_in_is_imported_is_not_swallowed(install: Install) -> None:
    install("acme", "stores", {"mine": "acme_plugin:Mine"}, acme_plugin="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        registry.find("stores", "mine")


def test_a_broken_neighbour_does_no_harm(install: Install) -> None:
    install("acme", "checks", {"broken": "acme_plugin:Mine"}, acme_plugin="raise RuntimeError\n")
    assert registry.find("checks", "quality").name == "quality"
