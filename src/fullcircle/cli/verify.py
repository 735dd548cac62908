"""The command for whoever is handed a bundle. Nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fullcircle.cli.door import Json, door, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fullcircle.types.attestation import Beside, Verified


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle: the file bundle.zip.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="Public key that has to have signed what lies beside it.")
    ] = None,
    digest: Annotated[str | None, typer.Option("--digest", help="The digest that it should have.")] = None,
    as_json: Json = False,
) -> None:
    """Open and audit a bundle in hand, and check the attestations beside it."""
    with door(as_json):
        from fullcircle.flows.verify import verify as flow

        found = flow(file, key=key, digest=digest)
        show(found, as_json, _text)
        if not found.passed:
            raise typer.Exit(1)


def _text(found: Verified) -> RenderableType:
    from rich.text import Text

    lines = [f"{found.file}: {found.bytes / 1e6:.1f} MB", f"digest {found.digest}"]
    if found.model:
        code = "; loading it RUNS CODE that the file chooses (pickle)" if found.pickled else ""
        lines += [
            f"{found.model}: runtime {found.runtime}, form {found.form}, Python {found.python}{code}",
            f"{found.golden_rows} golden rows, {len(found.packages)} packages locked",
            *(f"  {sha256[:12]}  {size:>10,}  {name}" for name, size, sha256 in found.files),
            "packages: " + ", ".join(f"{name} {version}" for name, version in found.packages),
        ]
    lines += [_beside(each) for each in found.attestations]
    lines += ["nothing lies beside it that says where it comes from"] if not found.attestations else []
    lines += [f"WRONG: {problem}" for problem in found.problems]
    return Text("\n".join([*lines, _judgement(found)]))


def _judgement(found: Verified) -> str:
    if not found.passed:
        return "do not use this bundle"
    if found.key:
        return f"the bundle is whole, and what lies beside it was signed by the key {found.key[:16]}"
    return "the bundle is whole; who made it is not shown: name the maker's public key with --key, or the --digest"


def _beside(found: Beside) -> str:
    """An attestation in a line. Whether the key is the right one, only its owner can say."""
    if not found.signed_by:
        return f"{found.file}: {found.kind}, about this bundle, NOT SIGNED: anybody may have written it"
    checked = {True: "verified", False: "NOT its signature", None: "no key here to verify it"}[found.verified]
    return f"{found.file}: {found.kind}, about this bundle, signed by key {found.signed_by[:16]} ({checked})"
