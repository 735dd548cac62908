"""Provenance: what a bundle was made of and by what, in the shape of SLSA (https://slsa.dev/spec/v1.0/provenance)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.flows.drafts import Draft
from fullcircle.types.project import Approve

_REVISION = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = re.compile(r"ref: (refs/[A-Za-z0-9._/-]{1,200})")


def provenance(source: LoadedProject, draft: Draft, *, approve: Approve, parent: int | None) -> Mapping[str, Any]:
    """The predicate of a draft's bundle. ``parent`` is the version that it was judged against.

    ``versions_from`` says where the project bounds its packages; ``inferred`` that it does not, so that versions are
    those that were installed. The git revision is left out where the project's code is no longer what was trained.
    """
    same = source.code == draft.code_version
    revision = git_revision(source.folder) if same else None
    made_of = {"snapshot": draft.snapshot, "source": draft.source, "model": draft.model_blob, "test rows": draft.test}
    if draft.view:
        made_of["feature view"] = draft.view
    depends: list[dict[str, Any]] = [{"name": name, "digest": {"sha256": found}} for name, found in made_of.items()]
    if revision:
        depends.append({"name": "git", "digest": {"gitCommit": revision}})
    return {
        "buildDefinition": {
            "buildType": "urn:fullcircle:package:1",
            "externalParameters": {
                "model": draft.model,
                "project_file": draft.project_file,
                "code": draft.code_version,
                "candidate": draft.candidate,
                "params": dict(draft.params),
                "seed": draft.seed,
                "wanted": asdict(draft.wanted),
                "approve": approve,
                "pickle_allowed": draft.pickled,
            },
            "internalParameters": {
                "runtime": draft.runtime,
                "algorithm": draft.algorithm,
                "environment": dict(draft.environment),
                "machine": dict(draft.machine),
                "versions_from": draft.wanted.source,
                "inferred": not draft.wanted.source,
                "judged_against": parent,
            },
            "resolvedDependencies": depends,
        },
        "runDetails": {
            "builder": {"id": "urn:fullcircle", "version": {"fullcircle": metadata.version("fullcircle")}},
            "metadata": {"invocationId": draft.run},
        },
    }


def git_revision(folder: Path) -> str | None:
    """The commit that is checked out where ``folder`` lies; None without git. Nothing is run: files are read.

    Whether the files are those of that commit is not said by it, but by the digest of the source.
    """
    try:
        git = next((path / ".git" for path in (folder, *folder.parents) if (path / ".git").exists()), None)
        if git is None:
            return None
        if git.is_file():  # a worktree or a submodule: the file says where the rest is
            git = (git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        common = git / "commondir"
        shared = (git / common.read_text(encoding="utf-8").strip()).resolve() if common.is_file() else git
        return _resolved(head, git, shared)
    except (OSError, ValueError):
        return None


def _resolved(head: str, git: Path, shared: Path) -> str | None:
    if _REVISION.fullmatch(head):
        return head
    reference = _REFERENCE.fullmatch(head)
    if reference is None or ".." in reference[1]:
        return None
    for home in (git, shared):
        if (home / reference[1]).is_file():
            found = (home / reference[1]).read_text(encoding="utf-8").strip()
            return found if _REVISION.fullmatch(found) else None
    packed = shared / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    named = [line.partition(" ")[0] for line in lines if line.partition(" ")[2] == reference[1]]
    return named[0] if named and _REVISION.fullmatch(named[0]) else None
