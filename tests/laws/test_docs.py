"""What the documentation lists is what the program has, both ways."""

from __future__ import annotations

import ast
import re

import typer

from fullcircle import errors
from fullcircle.cli import app
from fullcircle.settings import SETTINGS
from laws.sizes import ROOT, SOURCE

DOCS = ROOT / "docs"


def _first_column(name: str) -> list[str]:
    """The code names in the first column of a page's tables, in order."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def _errors() -> list[type[errors.FullcircleError]]:
    found = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    return [thing for thing in found if issubclass(thing, errors.FullcircleError)]


def test_every_error_code_is_explained() -> None:
    assert sorted(_first_column("errors.md")) == sorted(
        each.code for each in _errors() if each is not errors.FullcircleError
    )


def test_the_exit_code_of_every_error_is_the_one_it_has() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([^`]+)` \| (\d) \|", text, re.MULTILINE))
    assert told == {each.code: str(each.exit_code) for each in _errors() if each is not errors.FullcircleError}


def test_every_setting_is_explained() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert _first_column("settings.md") == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        variables = ", ".join(f"`{name}`" for name in setting.env)
        default = f"`{setting.default}`" if setting.default else ""
        assert f"| `{setting.name}` | {variables} | {default} | {setting.help} |" in text


def _commands() -> set[str]:
    root = typer.main.get_command(app)
    found = set()
    for name, command in getattr(root, "commands", {}).items():
        below = getattr(command, "commands", None)
        found |= {f"{name} {each}" for each in below} if below else {name}
    return found


def test_every_command_is_explained() -> None:
    assert sorted(_first_column("commands.md")) == sorted(_commands())


def test_every_check_code_is_explained() -> None:
    used = {
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[EM]\d{3}", node.value)
    }
    assert sorted(_first_column("checks.md")) == sorted(used)


def test_every_decision_names_the_test_that_enforces_it() -> None:
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    assert decisions
    for number, path in enumerate(decisions, start=1):
        assert path.name.startswith(f"{number:04}-")
        *_, last = path.read_text(encoding="utf-8").strip().splitlines()
        found = re.findall(r"`([\w/.]+)`", last)
        assert last.startswith("Enforced by")
        assert found
        for name in found:
            assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("https://"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_shows_the_project_as_it_is() -> None:
    project = (ROOT / "examples/diabetes/project.py").read_text(encoding="utf-8").strip()
    assert project in (ROOT / "README.md").read_text(encoding="utf-8")
