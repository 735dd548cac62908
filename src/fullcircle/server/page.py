"""The page ``/docs``: what is served here, what its rows look like, and a form to try it. It needs no network.

Everything is inside the page, and its Content-Security-Policy allows nothing else: its own style and script by their
hashes, and requests to this server. Names and texts of a contract are escaped; of private columns no value is shown.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

from fullcircle.server import tabular
from fullcircle.server.examples import HERE, examples
from fullcircle.server.follower import Loaded, View
from fullcircle.server.http import Answer
from fullcircle.server.page_parts import SCRIPT, STYLE
from fullcircle.types.contract import Column, Contract, Value
from fullcircle.types.definitions import ViewSpec

_KIND = b"text/html; charset=utf-8"
_CATEGORIES = 12
_POLICIES = (("missing", "missing"), ("unseen", "unseen"), ("outside", "outside"), ("wrong_type", "wrong type"))
_KEY = (
    '<p class="note">This server asks for a key. Send it with every request below, as the header '
    "<code>Authorization: Bearer KEY</code> or <code>X-API-Key: KEY</code>. The examples take it from the variable "
    "<code>KEY</code> of the environment (<code>export KEY=fc_...</code>).</p>"
)
_ADDRESSES = (
    ("POST", "/predict/NAME", "a prediction and a verdict for each row"),
    ("POST", "/explain/NAME", "how much each column moved the prediction of each row"),
    ("POST", "/outcomes", "labels that came later, by prediction id"),
    ("GET", "/models", "what is served, and why something is not"),
    ("GET", "/health/live", "the process answers"),
    ("GET", "/health/ready", "every wanted model answers"),
    ("GET", "/metrics", "figures for Prometheus"),
    ("GET", "/openapi.json", "this interface as an OpenAPI document"),
    ("POST", "/v2/models/NAME/infer", "predictions by Open Inference V2, as JSON or binary tensors"),
    ("GET", "/v2", "the server by Open Inference V2; /v2/models/NAME has inputs and outputs"),
    ("POST", "/invocations/NAME", "predictions by the protocol of MLflow and SageMaker"),
    ("GET", "/ping", "whether it is ready, for MLflow and SageMaker"),
    ("GET", "/version", "the version of fullcircle"),
)


def answer(view: View, *, at: str = HERE, keyed: bool = False) -> Answer:
    """The page for what is served now, with the headers that keep it to itself; see ``html``."""
    text = html(view, at=at, keyed=keyed)
    return Answer(200, text.encode("utf-8", errors="replace"), headers(), kind=_KIND)


def html(view: View, *, at: str = HERE, keyed: bool = False) -> str:
    """The page as text. ``at`` is where the server was asked, and ``keyed`` says that a key has to be sent.

    Where it has, there is no form: a browser cannot send one.
    """
    models = [view.loaded[name] for name in sorted(view.loaded)]
    names = "".join(f'<li><a href="#{_id(one)}">{escape(one.model)}</a></li>' for one in models)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>Models served here</title><style>{STYLE}</style></head><body data-at="{escape(at)}"><main>',
        '<header><p class="eyebrow">fullcircle server</p><h1>Models served here</h1>',
        f"{_state(view)}{_KEY if keyed else ''}<nav aria-label='Models'><ul>{names}</ul></nav></header>",
        *(_model(one, at, keyed=keyed) for one in models),
        _addresses(),
        f"</main><script>{SCRIPT}</script></body></html>",
    ]
    return "".join(parts)


def _hash(text: str) -> str:
    """https://www.w3.org/TR/CSP3/#external-hash: the source expression of an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def headers() -> tuple[tuple[bytes, bytes], ...]:
    """The headers that keep the page to itself."""
    policy = (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-security-policy", policy.encode("ascii")),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )


def _state(view: View) -> str:
    if view.ready:
        count = len(view.loaded)
        return f'<p class="lead">{"One model answers" if count == 1 else f"{count} models answer"}.</p>'
    told = [f"{name}: {trouble.message}" for name, trouble in sorted(view.troubles.items())]
    told += [f"{name}: no version answers yet" for name in view.missing if name not in view.troubles]
    why = "; ".join(told) or view.file or "served.json names no model"
    return f'<p class="lead bad" role="status">Not ready. {escape(why)}</p>'


def _model(one: Loaded, at: str, *, keyed: bool) -> str:
    contract = one.scorer.contract
    spec = getattr(one.scorer.enrich, "spec", None)
    row = tabular.example(one)
    unit = f" ({escape(contract.label_unit)})" if contract.label_unit else ""
    task = f"predicts <b>{escape(contract.label_name or contract.label)}</b>{unit}"
    if contract.task == "classification":
        task += f": one of {escape(', '.join(str(label) for label in contract.classes))}"
    return "".join(
        [
            f'<section id="{_id(one)}"><h2>{escape(one.model)}</h2>',
            f'<p class="soft">Version {one.version}, {task}. ',
            f'Bundle <code title="{escape(one.bundle)}">{escape(one.bundle[:12])}</code>, ',
            f"asked as <code>{escape(one.scorer.form.name)}</code>.</p>",
            _keys(spec) if spec is not None else "",
            _columns(contract),
            _rules(contract),
            "<h3>Ask it</h3>",
            _hidden(contract) if spec is None else "",
            *(_code(name, text) for name, text in examples(one.model, contract, row, at=at, keyed=keyed)),
            "" if keyed else _form(one, row),
            "</section>",
        ]
    )


def _keys(spec: ViewSpec) -> str:
    keys = ", ".join(f"<code>{escape(name)}</code> ({escape(kind)})" for name, kind in spec.kinds_of_keys.items())
    sent = ", ".join(f"<code>{escape(name)}</code> ({escape(kind)})" for name, kind in spec.request.items())
    besides = f" and sent with {sent}" if sent else ""
    return (
        f'<p class="note">It is asked by {keys}{besides}; the columns below are looked up in the feature view '
        f"{escape(spec.name)}. A column that a row brings itself is used as it is.</p>"
    )


def _columns(contract: Contract) -> str:
    names = ("Column", "Type", "Unit", "Values", "If it does not fit")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(map(_row, contract.columns))
    return f'<table class="columns"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(column: Column) -> str:
    label = f'<span class="soft">{escape(column.label)}</span>' if column.label not in ("", column.name) else ""
    private = '<span class="tag">private</span>' if column.private else ""
    may = " or missing" if column.nullable else ""
    return (
        f'<tr><th scope="row"><code>{escape(column.name)}</code> {label}{private}</th>'
        f'<td data-is="Type">{column.kind}{may}</td><td data-is="Unit">{escape(column.unit)}</td>'
        f'<td data-is="Values">{_values(column)}</td><td data-is="If it does not fit">{_policies(column)}</td></tr>'
    )


def _values(column: Column) -> str:
    if column.private:
        return '<span class="soft">not shown</span>'
    if column.kind == "category":
        shown = [f"<code>{escape(name)}</code>" for name in column.categories[:_CATEGORIES]]
        more = len(column.categories) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    shown_as = _moment if column.kind == "time" else "{:g}".format
    found = _range(column.low, column.high, shown_as)
    usual = _range(column.usual_low, column.usual_high, shown_as)
    return found + (f'<span class="soft">usually {usual}</span>' if usual else "")


def _range(low: float | None, high: float | None, shown_as: Callable[[float], str]) -> str:
    if low is None or high is None:
        bound, word = (high, "at most") if low is None else (low, "at least")
        return "" if bound is None else f"{word} {shown_as(bound)}"
    return f"{shown_as(low)} to {shown_as(high)}"


def _moment(seconds: float) -> str:
    """Bounds of times are seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")


def _policies(column: Column) -> str:
    """What happens, by what is done; a misfit that this kind of column cannot have is left out."""
    cannot = {"outside"} if column.kind in ("category", "boolean", "text") else set()
    cannot |= {"unseen"} if column.kind != "category" else set()
    cannot |= {"missing"} if column.nullable else set()
    by_action: dict[str, list[str]] = {}
    for name, words in _POLICIES:
        if name not in cannot:
            by_action.setdefault(getattr(column, name), []).append(words)
    done = {action: action for action in by_action}
    if column.fill is not None and not column.private:
        done["impute"] = f"impute {_short(column.fill)}"
    return "<br>".join(
        f"{escape(', '.join(words))}: <b>{escape(done[action])}</b>" for action, words in by_action.items()
    )


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]


def _rules(contract: Contract) -> str:
    parts = [f"A column that is not listed: <b>{contract.unknown}</b>."]
    if contract.context:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in contract.context)
        parts.append(f"A row may bring {names} for the log; the model does not see it.")
    if contract.prior is not None:
        parts.append(f"The fallback's last answer is <b>{escape(_short(contract.prior))}</b>.")
    return f'<p class="soft">{" ".join(parts)}</p>'


def _hidden(contract: Contract) -> str:
    names = ", ".join(f"<code>{escape(column.name)}</code>" for column in contract.columns if column.private)
    told = f"No value of {names} is shown, as it is private: put one of your own into the examples."
    return f'<p class="note">{told}</p>' if names else ""


def _code(name: str, text: str) -> str:
    return (
        f'<div class="code"><div><span>{name}</span><button type="button" class="copy">Copy</button></div>'
        f'<pre tabindex="0"><code>{escape(text)}</code></pre></div>'
    )


def _form(one: Loaded, row: Mapping[str, Value]) -> str:
    text = json.dumps({"rows": [row]}, ensure_ascii=False, indent=2)
    name, own = quote(one.model, safe=""), f"rows-{_id(one)}"
    return (
        f'<form class="try" data-model="{escape(name)}"><label for="{own}">Try it</label>'
        f'<textarea id="{own}" spellcheck="false" autocomplete="off" rows="{min(16, text.count(chr(10)) + 1)}">'
        f"{escape(text)}</textarea>"
        '<div class="buttons"><button type="submit" value="predict">Predict</button>'
        '<button type="submit" value="explain" class="second">Explain</button>'
        '<span class="soft">A prediction is written to the log like any other.</span></div>'
        '<output hidden><p class="status"></p><pre tabindex="0"></pre></output></form>'
    )


def _addresses() -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{method} {_link(method, path)}</code></th><td>{told}</td></tr>'
        for method, path, told in _ADDRESSES
    )
    return f'<section id="addresses"><h2>Addresses</h2><table class="plain"><tbody>{rows}</tbody></table></section>'


def _link(method: str, path: str) -> str:
    return f'<a href="{path}">{path}</a>' if method == "GET" else path


def _id(one: Loaded) -> Any:
    return escape("model-" + quote(one.model, safe=""))
