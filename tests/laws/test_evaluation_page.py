"""The page about evaluation: its code runs as it stands there. And each check is one file, one page, one test."""

from __future__ import annotations

import re

import pytest

from fullcircle import registry
from fullcircle.types.gates import Gate
from fullcircle.types.report import Report
from laws.sizes import ROOT, SOURCE


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    monkeypatch.chdir(str(tmp_path))
    names: dict[str, object] = {"__name__": "page"}
    exec(compile("\n".join(blocks), "evaluation.md", "exec"), names)  # noqa: S102 - the page's own code
    report, answers, gates = (names[name] for name in ("report", "answers", "gates"))
    assert isinstance(report, Report)
    assert isinstance(answers, Report)
    assert [gate.gate for gate in report.gates if not gate.passed] == []
    assert {finding.check for finding in report.findings} == {*registry.names("checks"), "serving"}
    assert not [finding.text for finding in report.findings if finding.title.endswith("failed")]
    assert isinstance(gates, list)
    assert all(isinstance(gate, Gate) for gate in gates)


@pytest.mark.parametrize("name", registry.names("checks"))
def test_a_check_is_one_file_one_page_and_one_test(name: str) -> None:
    code = registry.find("checks", name).code
    assert (
        (SOURCE / "evaluation" / "checks" / f"{name}.py").read_text(encoding="utf-8").startswith(f'"""{code} {name}')
    )
    assert (ROOT / "docs" / "checks" / f"{name}.md").read_text(encoding="utf-8").startswith(f"# {code} {name}")
    assert (ROOT / "tests" / "evaluation" / "checks" / f"test_{name}.py").exists()
