"""Plug-ins: the built-in ones register like anybody's, and each resolves; each contract has its public suite."""

from __future__ import annotations

import inspect
import tomllib
from importlib import import_module

import pytest

from fullcircle import registry
from fullcircle.errors import PluginUnknown
from fullcircle.registry import GROUPS, Group
from laws.sizes import ROOT

SUITES = {
    "runtimes": "fullcircle.testing.runtimes:RuntimeSuite",
    "checks": "fullcircle.testing.checks:CheckSuite",
    "detectors": "fullcircle.testing.detectors:DetectorSuite",
    "stores": "fullcircle.testing.stores:StoreSuite",
    "targets": "fullcircle.testing.targets:TargetSuite",
}
# What a member of the stores is tells its name: online.NAME, offline.NAME, or a ledger's database.
STORES = {
    "online": "fullcircle.testing.online:OnlineStoreSuite",
    "offline": "fullcircle.testing.engines:OfflineEngineSuite",
}
MEMBERS = [(group, name) for group in GROUPS for name in registry.names(group)]


@pytest.mark.parametrize(("group", "name"), MEMBERS, ids=[f"{group}-{name}" for group, name in MEMBERS])
def test_each_registered_member_resolves(group: Group, name: str) -> None:
    found = registry.find(group, name)
    assert inspect.isclass(found)
    assert inspect.getdoc(found)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_members_and_what_is_declared_is_installed(group: Group) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert set(declared) == {f"fullcircle.{each}" for each in GROUPS}
    assert set(declared[f"fullcircle.{group}"]) <= set(registry.names(group))


@pytest.mark.parametrize("place", [*SUITES.values(), *STORES.values()])
def test_each_extension_point_has_a_public_suite(place: str) -> None:
    module, _, name = place.partition(":")
    suite = getattr(import_module(module), name)
    assert inspect.getdoc(suite)
    tests = [each for each in dir(suite) if each.startswith("test_")]
    assert len(tests) >= 3


def test_each_kind_of_store_has_members_and_no_other_kind_is_registered() -> None:
    kinds = {name.partition(".")[0] for name in registry.names("stores") if "." in name}
    assert kinds == set(STORES)


@pytest.mark.parametrize("group", GROUPS)
def test_an_unknown_name_says_which_are_known(group: Group) -> None:
    with pytest.raises(PluginUnknown) as caught:
        registry.find(group, "no-such-thing")
    assert caught.value.allowed == ", ".join(registry.names(group))
