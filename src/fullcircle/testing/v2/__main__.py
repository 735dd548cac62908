"""The command: what comes of each case, and 1 where one fails."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fullcircle.errors import SettingInvalid
from fullcircle.testing.v2.peer import TIMEOUT, Peer
from fullcircle.testing.v2.running import conform


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what comes of each case; 1 where one fails. What cannot be begun with ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m fullcircle.testing.v2", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("url", help="where the server answers, such as http://127.0.0.1:8710")
    parser.add_argument("--model", required=True, help="the name of a model that it serves")
    parser.add_argument("--request", type=Path, help="a file with an inference request of one row")
    parser.add_argument(
        "--header", action="append", default=[], metavar="NAME: VALUE", help="goes with every request"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"how long a request may take, {TIMEOUT:g} where nothing is said; what takes longer fails its case",
    )
    parser.add_argument("--manage", action="store_true", help="also unload and load the model")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if not options.url.startswith(("http://", "https://")):
        parser.error("the URL begins with http:// or https://")
    headers = {name: value for name, _, value in (line.partition(": ") for line in options.header)}
    if not all(headers.values()):
        parser.error('a header is written as "NAME: VALUE"')
    request = None
    try:
        if options.request:
            request = json.loads(options.request.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"the file with the request cannot be read: {error}")
    try:
        peer = Peer(
            url=options.url,
            model=options.model,
            request=request,
            headers=headers,
            manage=options.manage,
            timeout=options.timeout,
        )
        found = conform(peer)
    except SettingInvalid as error:
        parser.error(str(error))
    if options.json:
        lines = [json.dumps([vars(one) for one in found], indent=1)]
    else:
        lines = [f"{one.outcome:>13}  {one.name}: {one.why or one.promise}" for one in found]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(one.outcome == "failed" for one in found))


if __name__ == "__main__":
    sys.exit(main())
