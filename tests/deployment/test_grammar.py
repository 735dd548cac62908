"""What may stand in a generated file: I8 and I9 of the attack list."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.deployment import grammar
from fullcircle.errors import TargetRefused

HASH = f"--hash=sha256:{'a' * 64}"


@pytest.mark.parametrize(
    "name",
    [
        "python:3.12-slim",
        "python",
        "registry.example.org:5000/team/python:3.11-slim",
        f"python@sha256:{'0' * 64}",
        f"registry.example.org/a/b_c/d-e:1.0@sha256:{'f' * 64}",
        "localhost/python:dev",
    ],
)
def test_names_of_images(name: str) -> None:
    assert grammar.image(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "python:3.12\nRUN rm -rf /", "python;rm", "python --platform=x", "--platform=linux/arm64 python",
        "python:3.12 AS build", "$(id)", "python:${TAG}", "python:3.12\\", 'python"', "python#", "-python",
        "https://example.org/python", "python@sha256:short", "python:", "a" * 500, "PYTHON:3",
        "python\u2028x", "py thon",
        "python:3.12-slim\n", "python\x00", "../python", "python:3.12-slim\r",
    ],
)  # fmt: skip
def test_what_is_no_name_of_an_image_is_refused(name: str) -> None:
    with pytest.raises(TargetRefused, match="base image"):
        grammar.image(name)


@given(st.text(max_size=60))
def test_no_image_that_passes_holds_anything_that_means_something_to_a_builder(name: str) -> None:
    try:
        grammar.image(name)
    except TargetRefused:
        return
    assert re.fullmatch(r"[A-Za-z0-9._/:@-]+", name)
    assert not name.startswith("-")


def test_a_lock_of_pins_and_wheels_passes() -> None:
    text = (
        f"numpy==2.4.6 \\\n    {HASH} \\\n    {HASH}\nscikit-learn==1.8.0 {HASH}\n"
        f"./wheels/fullcircle-0.1.0-py3-none-any.whl \\\n    {HASH}\n"
    )
    assert grammar.lock(text) == text


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil.example.org/simple", "--extra-index-url=x", "-r other.txt", "numpy==1.0",
        f"numpy>=1 {HASH}", f"numpy @ https://example.org/numpy.whl {HASH}", f"../wheels/x.whl {HASH}",
        f"./wheels/../x.whl {HASH}", f"./wheels/a/b.whl {HASH}", f"numpy==1; rm -rf / {HASH}",
        f"numpy==$(id) {HASH}",
        f"numpy==1 {HASH} --global-option=x", "# a comment", f"-e . {HASH}",
        f"numpy==1 \\\n    {HASH} \\\n    -r x", "",
    ],
)  # fmt: skip
def test_a_lock_with_any_other_line_is_refused(line: str) -> None:
    with pytest.raises(TargetRefused, match="line of the lock"):
        grammar.lock(f"msgspec==1 {HASH}\n{line}\nrich==1 {HASH}\n")


@pytest.mark.parametrize("path", ["/srv/x", "/with space/100%/$HOME", "/ünïcode", '/quo"te'])
def test_paths_that_can_be_written_in_one_line(path: str) -> None:
    assert grammar.path("a folder", path) == path


@pytest.mark.parametrize("path", ["relative", "", "/new\nline", "/tab\t", "/nul\0", "/end ", " /x", "/line\u2028"])
def test_paths_that_cannot(path: str) -> None:
    with pytest.raises(TargetRefused, match="cannot stand in a unit"):
        grammar.path("a folder", path)


@pytest.mark.parametrize(
    ("model", "name"), [("m", "m"), ("bike-demand", "bike-demand"), ("a_b", "a-b"), ("a__-_", "a"), ("9-", "9")]
)
def test_an_image_is_called_as_its_model_where_that_can_be(model: str, name: str) -> None:
    assert grammar.image_name(model) == name
    assert grammar.image(name) == name


@given(st.from_regex(grammar.MODEL, fullmatch=True))
def test_every_model_has_an_image_of_some_name(model: str) -> None:
    assert grammar.image(grammar.image_name(model))
