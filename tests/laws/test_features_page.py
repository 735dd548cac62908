"""The page about features: its code runs, in order, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from laws.sizes import ROOT


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/features.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    for name in ("FULLCIRCLE_WORKSPACE", "FULLCIRCLE_FEATURES", "FULLCIRCLE_ONLINE"):
        monkeypatch.delenv(name, raising=False)
    source = tmp_path / "page.py"
    source.write_text("\n".join(blocks), encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), names)  # noqa: S102 - the page's own code
    assert names["now"] == {"spent_7d": 0.0, "last_page": None, "share": None}


def test_every_link_of_the_docs_leads_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []
