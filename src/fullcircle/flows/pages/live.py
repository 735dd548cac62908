"""The script that makes the charts of a page interactive: Vega-Lite and our few lines, in one text with its hash.

It comes out of vl-convert-python, which brings Vega, Vega-Lite and Vega-Embed along, so nothing is fetched when a
page is made, or opened. Expressions of charts are interpreted (Vega's ``ast`` option), not compiled: the policy of a
page allows this one script by its hash, and no ``eval``.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fullcircle.errors import MissingExtra


@dataclass(frozen=True)
class Script:
    """A script that can stand inline in a page, and ``sha256-...`` as a content security policy names it."""

    code: str
    digest: str


def script(kept: Path | None = None) -> Script:
    """The script of every page with interactive charts, about 0.9 MB.

    Putting it together takes 1.5 s: it is done once in a process, and once for all processes that name a folder
    ``kept`` for it. Raises MissingExtra where vl-convert-python is not installed.
    """
    try:
        import vl_convert  # noqa: F401 - asked for before anything is made
    except ImportError as error:
        raise MissingExtra(
            "charts cannot be made interactive, because vl-convert-python is not installed",
            next_step='pip install "fullcircle[lab]"',
        ) from error
    ours = files("fullcircle.flows.pages").joinpath("templates/live.js").read_text(encoding="utf-8")
    if kept is None:
        return _made(ours)
    named = hashlib.sha256(f"{version('vl-convert-python')}\n{ours}".encode()).hexdigest()[:16]
    path = kept / f"charts-{named}.js"
    if path.is_file():
        return inline(path.read_text(encoding="utf-8"))
    made = _made(ours)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(made.code, encoding="utf-8")
    beside.replace(path)
    return made


@cache
def _made(ours: str) -> Script:
    import vl_convert

    return inline(str(vl_convert.javascript_bundle(ours)))


def inline(code: str) -> Script:
    """The code as HTML can hold it, hashed as a browser will: it ends at no tag in a text of the code."""
    code = code.replace("\r\n", "\n").replace("\r", "\n")  # as an HTML parser does, before it hashes
    code = re.sub("</(?=script)", r"<\\/", code, flags=re.IGNORECASE).replace("<!--", r"<\!--")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return Script(code=code, digest=f"sha256-{digest}")
