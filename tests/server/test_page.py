"""The page /docs: complete, escaped, closed to the network, and working in a real browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from flows.browsing import chromium, requests
from fullcircle.runtimes import schema
from fullcircle.runtimes.contracts import examine
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import examples, page
from fullcircle.server.app import App
from fullcircle.server.follower import Trouble, View
from fullcircle.types.contract import Column, Contract
from fullcircle.types.definitions import FunctionSpec, TableSpec, ViewSpec
from serving import Coin, Sum, app, contract, loaded, view

EVIL = "<script>alert(1)</script>'\"&"


class Outline(HTMLParser):
    """Text and links of a page; raises nothing, notes tags that were not closed in order."""

    VOID = ("meta", "br", "!doctype", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "action"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on") or name == "style":
                self.inline.append(name)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data + " "


def everything() -> Contract:
    """A contract with every kind of column and every policy."""
    columns = (
        Column(name="age", kind="integer", label="Age", unit="years", low=0, high=120, usual_low=19, usual_high=81),
        Column(name="bmi", kind="number", low=10, fill=26.05, missing="impute", outside="fallback", nullable=False),
        Column(
            name="pay",
            kind="number",
            private=True,
            low=0,
            high=90_000,
            usual_low=31_337,
            fill=41_414.0,
            missing="impute",
        ),
        Column(name="smoker", kind="boolean", nullable=True),
        Column(name="region", kind="category", categories=tuple(f"r{n}" for n in range(40)), fill="r3"),
        Column(name="code", kind="category", categories=("c1", "c2"), fill="c2", private=True),
        Column(name="note", kind="text", missing="flag"),
        Column(name="at", kind="time", wrong_type="flag", low=946_684_800.0, high=1_704_112_245.5),
    )
    return Contract(columns=columns, label="y", task="regression", prior=7.5, context=("branch",))


def test_it_shows_every_column_with_what_happens_to_it() -> None:
    text = " ".join(Outline(page.html(view(loaded("m", 3, Scorer(everything(), Sum()))))).text.split())
    for told in (
        "One model answers.",
        "Version 3, predicts y",
        "age Age integer years 0 to 120 usually 19 to 81 missing, wrong type: reject outside: flag",
        "bmi number at least 10 missing: impute 26.05 outside: fallback wrong type: reject",
        "smoker boolean or missing wrong type: reject",
        "at time 2000-01-01 to 2024-01-01 12:30 missing: reject outside, wrong type: flag",
        "r0 , r1 , r2 , r3 , r4 , r5 , r6 , r7 , r8 , r9 , r10 , r11 and 28 more",
        "A column that is not listed: reject .",
        "A row may bring branch for the log",
        "The fallback's last answer is 7.5 .",
    ):
        assert told in text, told


def test_of_private_columns_no_value_is_shown() -> None:
    text = page.html(view(loaded("m", 1, Scorer(everything(), Sum()))))
    assert "31337" not in text
    assert "31,337" not in text
    assert "41414" not in text
    assert "90000" not in text
    assert "c1" not in text
    assert text.count("not shown") == 2
    told = "No value of pay , code is shown, as it is private: put one of your own into the examples."
    assert told in " ".join(Outline(text).text.split())


def test_the_example_is_a_row_that_fits() -> None:
    public = contract(columns=tuple(one for one in everything().columns if not one.private))
    text = page.html(view(loaded("m", 1, Scorer(public, Sum()))))
    body = json.loads(shlex.split(code(text, "curl"))[-1])
    verdict, _ = examine(public, body["rows"][0])
    assert verdict.status == "ok", verdict
    assert json.loads(unescape(re.findall(r"<textarea[^>]*>(.*?)</textarea>", text, re.DOTALL)[0])) == body


def test_names_and_texts_are_escaped_and_the_page_is_well_formed() -> None:
    columns = (
        Column(name=EVIL, kind="number", label=EVIL, unit=EVIL, fill=1.5, missing="impute"),
        Column(name="kind", kind="category", categories=(EVIL, "b")),
    )
    strange = contract(columns=columns, label=EVIL, context=(EVIL,), task="classification", classes=(EVIL, "no"))
    text = page.html(view(loaded("m", 1, Scorer(strange, Coin()))))
    outline = Outline(text)
    assert "<script>alert" not in text
    assert outline.faults == outline.open == outline.inline == []
    assert len(outline.ids) == len(set(outline.ids))
    assert EVIL in outline.text
    assert [link for link in outline.links if not link.startswith(("#", "/"))] == []
    body = json.loads(shlex.split(code(text, "curl"))[-1])
    assert body == {"rows": [{EVIL: 1.5, "kind": EVIL}]}


def test_what_is_not_ready_is_told() -> None:
    empty = View()
    assert "Not ready. served.json was not read yet" in Outline(page.html(empty)).text
    trouble = Trouble(version=2, bundle="b", code="bundle_invalid", message="it is <damaged>")
    broken = View(wanted=frozenset({"m", "n"}), troubles={"m": trouble}, file="")
    text = Outline(page.html(broken)).text
    assert "m: it is <damaged>; n: no version answers yet" in text


def test_a_model_on_a_feature_view_is_asked_by_its_keys() -> None:
    spec = ViewSpec(
        name="spending",
        time="at",
        tables=(TableSpec(name="orders", key=("customer",), time="at"),),
        features=(),
        functions=(FunctionSpec(name="f", inputs=("basket",), returns="float", source=""),),
        order=("f",),
        keys={"orders": ("customer",)},
        key_kinds={"orders": ("int",)},
        request={"basket": "float"},
    )

    class Looked:
        def __init__(self) -> None:
            self.spec = spec

        def __call__(self, rows: Any) -> Any:
            raise AssertionError("the page looks nothing up")

    scorer = Scorer(contract(), Sum(), enrich=Looked())
    text = page.html(view(loaded("m", 1, scorer)))
    assert "It is asked by  customer  (int) and sent with  basket  (float)" in Outline(text).text
    row = {"customer": 1, "basket": 1.0}  # a key of whole numbers is one, as the row can be sent
    assert json.loads(shlex.split(code(text, "curl"))[-1]) == {"rows": [row]}


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(tmp_path: Path) -> None:
    found = page.answer(view(loaded()))
    (policy,) = [value.decode() for name, value in found.headers if name == b"content-security-policy"]
    text = found.body.decode()
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert found.kind == b"text/html; charset=utf-8"


@contextmanager
def running(target: App) -> Iterator[str]:
    """The application over a real socket, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(target, lifespan="off", log_config=None, access_log=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def code(text: str, name: str) -> str:
    (found,) = re.findall(rf"<span>{name}</span>.*?<code>(.*?)</code>", text, re.DOTALL)
    return unescape(found)


def test_the_examples_work_as_they_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.html(view(loaded("m", 1)))
    with running(app(tmp_path)) as url:
        exec(code(text, "Python").replace(examples.HERE, url), {})  # noqa: S102 - the page's own example
    (found,) = eval(capsys.readouterr().out)["predictions"]  # noqa: S307 - what it printed
    assert found["verdict"] in ("ok", "fallback")  # no value of the private column is in the example
    words = shlex.split(code(text, "curl"))
    assert words[:3] == ["curl", "-s", f"{examples.HERE}/predict/m"]
    assert json.loads(words[-1]) == {"rows": [schema.example(contract())]}


def test_in_a_browser_it_predicts_and_asks_nobody_else(tmp_path: Path) -> None:
    with chromium() as browser, running(app(tmp_path, loaded("m", 4), loaded("other", 1))) as url:
        browser.get(f"{url}/docs")
        assert browser.title == "Models served here"
        form = browser.find_element("css selector", "form.try[data-model=m]")
        form.find_element("css selector", "button[value=predict]").click()
        output = form.find_element("tag name", "output")
        shown = waited(browser, output)
        assert shown.startswith("200 OK in ")
        answer = json.loads(shown.partition("\n")[2])
        assert (answer["model"], answer["version"], answer["predictions"][0]["verdict"]) == ("m", 4, "fallback")
        area = form.find_element("tag name", "textarea")
        area.clear()
        area.send_keys('{"rows": [{"age": "forty"}]}')
        browser.execute_script("arguments[0].hidden = true", output)
        form.find_element("css selector", "button[value=predict]").click()
        assert waited(browser, output).startswith("422 ")
        # The examples name the address by which the page was asked.
        assert f"{url}/predict/m" in browser.find_element("css selector", ".code code").text
        asked = {place for place in requests(browser) if not place.startswith("chrome://")}
        assert asked - {f"{url}/favicon.ico"} == {f"{url}/docs", f"{url}/predict/m"}
        refused = [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]
        assert [entry for entry in refused if "favicon" not in entry["message"]] == []
        # On a phone nothing is wider than the screen.
        metrics = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 380


def waited(browser: Any, output: Any) -> str:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(lambda _: output.is_displayed())
    return str(output.text)
