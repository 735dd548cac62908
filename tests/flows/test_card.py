"""The model card: what it tells, and that no text a user chooses can change what it looks like."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from flows.sample_report import ABOUT, APPROVAL, HOSTILE, hostile_report, whole_report
from fullcircle.flows.pages import markdown
from fullcircle.flows.pages.card import model_card
from fullcircle.types.report import About, Finding, GateVerdict, Measure, Report

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# What a card is made of. Anything else was made by somebody's text.
OURS = {"heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item", "inline"}
INSIDE = {"text", "strong_open", "strong_close", "code_inline", "text_special"}
TEXTS = st.text(max_size=60) | st.text("ab1 \n\t\\`*_[]()<>|#~&$@!+-=.:;\"'/", max_size=30)


def read(card: str) -> list[Token]:
    return READER.parse(card)


def shown(tokens: list[Token]) -> str:
    """What a person sees, with single spaces."""
    inside = [child for token in tokens if token.type == "inline" for child in token.children or []]
    return " ".join(" ".join(token.content for token in inside).split())


def squeezed(value: str) -> str:
    """Without white space and control characters, which Markdown may fold."""
    return "".join(character for character in markdown._UNSEEN.sub("", value) if not character.isspace())


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ")[0]


def tables(card: str) -> list[list[int]]:
    """The number of cells in each row of each table."""
    found: list[list[int]] = []
    for token in read(card):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(0)
        elif token.type in ("td_open", "th_open"):
            found[-1][-1] += 1
    return found


CARD = model_card(whole_report(), name="loans v2", approvals=(APPROVAL,))


def test_it_has_the_sections_of_a_model_card_in_their_order() -> None:
    titles = [line.removeprefix("## ") for line in CARD.splitlines() if line.startswith("## ")]
    assert titles == [
        "Decision",
        "Intended use",
        "Limits",
        "Data",
        "Performance",
        "Calibration",
        "Value",
        "Fairness",
        "Explanation",
        "How to serve it",
        "Further checks",
        "Reproducibility",
    ]
    assert CARD.startswith("# Model card: loans v2\n")
    assert CARD.endswith("\n")


def test_the_decision_and_who_approved_it() -> None:
    told = shown(read(section(CARD, "Decision")))
    assert told.startswith("Held")
    for gate in whole_report().gates:
        assert gate.gate in told
        assert gate.reason in told
    assert "Approved version 2 by ada@bank , 23 November 2026, 18:00 UTC: looked at with the risk team" in told


def test_what_it_is_for_and_where_its_limits_are() -> None:
    assert ABOUT.purpose in shown(read(section(CARD, "Intended use")))
    limits = shown(read(section(CARD, "Limits")))
    assert ABOUT.limits in limits
    assert "bad , When the input is wrong: With annual_income in thousands" in limits
    assert "latency was measured on a machine that did other work" in limits


def test_nothing_is_made_up_where_nobody_stated_it() -> None:
    card = model_card(Report(subject="x"))
    assert section(card, "Intended use").strip() == "not stated"
    assert section(card, "Limits").strip() == "not stated"
    assert "source: not stated" in section(card, "Data")
    assert section(card, "Performance").strip() == "Not measured."
    assert section(card, "Fairness").strip() == "Not checked."
    decision = section(card, "Decision")
    assert "Nothing proven" in decision
    assert "Not yet approved by a person when this was written." in decision
    assert "How to serve it" not in card
    assert model_card(Report(subject="x", about=About())) == card


def test_a_passed_model_is_said_to_have_passed() -> None:
    gates = (GateVerdict(gate="a", passed=True, reason="r"),)
    assert "**Passed**: the gate said yes." in model_card(Report(subject="x", gates=gates))
    assert "**Passed**: all 2 gates said yes." in model_card(Report(subject="x", gates=gates * 2))
    failed = (replace(gates[0], passed=False),)
    assert "**Held**: the gate said no." in model_card(Report(subject="x", gates=failed))
    assert "**Held**: 1 of 2 gates said no." in model_card(Report(subject="x", gates=gates + failed))


def test_a_card_says_what_it_knows_of_approvals() -> None:
    report = Report(subject="x", about=About(run="5f" * 16))
    kept = section(model_card(report), "Decision")
    assert "Not yet approved by a person when this was written; `fullcircle card MODEL@N` writes it" in kept
    asked = section(model_card(report, approvals=()), "Decision")
    assert "Nobody's approval is recorded." in asked
    assert "Not yet approved" not in asked
    given = section(model_card(report, approvals=(APPROVAL,)), "Decision")
    assert "approved by a person" not in given
    assert "Approved version 2 by **ada@bank**, " in given.replace("\\", "")
    known = section(model_card(report, approvals=(replace(APPROVAL, login="anna@desk"),)), "Decision")
    assert "by **ada@bank** (login anna@desk), 23 November 2026" in known.replace("\\", "")


def test_what_could_not_be_measured_is_a_limit() -> None:
    unknown = Measure(name="accuracy", value=None, group="sex=other", n=7, method="too few rows: 7 of at least 20")
    fairness = Finding(check="fairness", code="E002", title="F", severity="info", text="t.", measures=(unknown,))
    card = model_card(Report(subject="x", findings=(fairness,)))
    assert "unknown: accuracy of sex=other (too few rows: 7 of at least 20)" in shown(read(section(card, "Limits")))
    assert "| sex=other | accuracy | unknown | – | 7 |" in section(card, "Fairness")


def test_what_is_not_known_of_a_rival_is_no_limit_of_the_model() -> None:
    names = ("baseline_mcc", "champion_precision", "precision")
    card = model_card(quality(*(Measure(name=name, value=None, method="not defined") for name in names)))
    limits = shown(read(section(card, "Limits")))
    assert "unknown: precision (not defined)" in limits
    assert "mcc" not in limits
    assert "champion" not in limits


def quality(*measures: Measure) -> Report:
    finding = Finding(check="quality", code="E001", title="Q", severity="good", text="t.", measures=measures)
    return Report(subject="x", findings=(finding,))


def test_performance_stands_beside_the_trivial_model_and_the_champion() -> None:
    card = model_card(
        quality(
            Measure(name="mae", value=2.0, low=1.5, high=2.5, n=90, unit="rides", method="t interval"),
            Measure(name="baseline_mae", value=4.0, n=90, unit="rides"),
            Measure(name="champion_mae", value=3.0, n=90, unit="rides"),
            Measure(name="r2", value=0.5, n=90),
            Measure(name="baseline_only", value=1.0, n=90),
            Measure(name="improvement_over_champion", value=1.0, low=0.5, high=1.5, n=90, unit="rides"),
        )
    )
    told = section(card, "Performance")
    assert "| mae | 2 rides | 1.5 to 2.5 | 4 rides | 3 rides | 90 | t interval |" in told
    assert "| r2 | 0.5 | – | – | – | 90 | – |" in told
    assert "| baseline_only | 1 |" in told  # it stands beside nothing, so it stands for itself
    assert "- improvement over the champion: 1 rides (95 % 0.5 to 1.5)" in told


def test_the_explanation_names_the_columns_that_matter_most() -> None:
    rows = [line for line in section(CARD, "Explanation").splitlines() if line.startswith("| column ")]
    assert rows[1].startswith("| column 22 | 2.2 log odds |")
    assert len(rows) == 11  # the header, and ten columns of 23
    weights = (Measure(name="importance", value=v, group=g) for g, v in (("a", 0.1), ("b", -0.9), ("c", 0.5)))
    finding = Finding(check="importance", code="E004", title="I", severity="info", text="t.", measures=tuple(weights))
    told = section(model_card(Report(subject="x", findings=(finding,))), "Explanation")
    assert [line.split(" | ")[0] for line in told.splitlines()[-3:]] == ["| b", "| c", "| a"]


def test_long_lists_of_groups_are_cut_and_it_says_so() -> None:
    groups = tuple(Measure(name="mae", value=1.0, group=f"g={i}", n=30) for i in range(90))
    whole = Measure(name="fair_gap:g:mae", value=0.1, n=90)
    finding = Finding(check="fairness", code="E002", title="F", severity="info", text="t.", measures=(*groups, whole))
    told = section(model_card(Report(subject="x", findings=(finding,))), "Fairness")
    assert "| all | fair_gap:g:mae |" in told.splitlines()[5]
    assert told.rstrip().endswith("51 more are in the report.")


def test_it_says_how_to_make_it_again() -> None:
    told = section(CARD, "Reproducibility")
    for digest in (ABOUT.run, ABOUT.code, ABOUT.snapshot):
        assert f"`{digest}`" in told
    assert "report format: 1" in told


def test_hostile_text_is_text() -> None:
    approval = replace(APPROVAL, actor=HOSTILE, time=HOSTILE, reason=HOSTILE, login=HOSTILE)
    tokens = read(model_card(hostile_report(), name=HOSTILE, approvals=(approval,)))
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} <= OURS
    inside = [child for token in tokens if token.type == "inline" for child in token.children or []]
    assert {child.type for child in inside} <= INSIDE
    assert shown(tokens).count("<script>alert('x')</script>") >= 20
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1


@pytest.mark.parametrize("report", [whole_report(), hostile_report()], ids=["whole", "hostile"])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(report: Report) -> None:
    card = model_card(report, approvals=(APPROVAL,))
    found = tables(card)
    assert len(found) >= 5
    for rows in found:
        assert len(set(rows)) == 1
        assert len(rows) >= 2
    written = sum(line.startswith("| ") and not line.startswith("| ---") for line in card.splitlines())
    assert sum(map(len, found)) == written


@given(TEXTS)
@example("1. one")
@example("- a")
@example("=")
@example("    code")
@example("a\n\n# b")
@example("![a](b) <!-- <b> &amp; a|b ``` ~~x~~ __y__ *z* https://a.b www.a.b a@b.c $x$")
@example("\\|")
@example("a_b_c _d_ e_")
@example(HOSTILE)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    tokens = read(f"Before.\n\n{markdown.text(text)}\n\nAfter.")
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    assert {child.type for token in tokens for child in token.children or []} <= {"text", "text_special"}
    assert squeezed("".join(shown(tokens).split())) == squeezed(f"Before.{text}After.")


@given(st.lists(TEXTS, min_size=3, max_size=3))
@example(["a|b", "\\", "|"])
@example(["-", "---", "`|`"])
def test_any_text_stays_in_its_cell(cells: list[str]) -> None:
    lines = markdown.table(("a", "b", "c"), [[markdown.text(cell) for cell in cells]])
    tokens = read("\n".join(lines))
    inside = [token for token in tokens if token.type == "inline"]
    assert len(inside) == 6
    for cell, token in zip(cells, inside[3:], strict=True):
        assert squeezed(shown([token])) == (squeezed(cell) or "–")
        assert {child.type for child in token.children or []} <= {"text", "text_special"}


@given(TEXTS)
def test_a_code_span_holds_only_what_it_can_hold(text: str) -> None:
    (token,) = [token for token in read(f"x {markdown.code(text)}") if token.type == "inline"]
    assert squeezed("".join(shown([token]).split())) == squeezed(f"x{text}")


def test_names_of_columns_stay_readable() -> None:
    assert markdown.text("value_per_row is 12.5 EUR (95 % 3 to 4)") == "value_per_row is 12.5 EUR (95 % 3 to 4)"
    assert markdown.code("5f" * 32) == f"`{'5f' * 32}`"
    assert markdown.code("a`b") == r"a\`b"
