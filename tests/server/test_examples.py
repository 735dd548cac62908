"""The requests that are published to be copied: each is run as it is, against a real server."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import urllib.request
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from access_samples import guarded, token_of
from fullcircle.runtimes import protocolshapes, schema
from fullcircle.runtimes.schema import Served
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import addresses, page
from fullcircle.server.app import App
from fullcircle.server.examples import HERE, examples
from fullcircle.types.contract import Column, Contract
from server.test_page import running
from serving import Coin, Sum, app, call, classes, contract, loaded, view

CLIENTS = Path(__file__).parents[2] / "benchmarks" / "peers" / "protocol_clients.py"
PUBLIC = contract(
    columns=(
        Column(name="age", kind="integer", low=18, high=100, missing="reject", outside="reject"),
        Column(name="bmi", kind="number", low=10, high=60, fill=26.0, missing="impute"),
        Column(name="sex", kind="category", categories=("f", "it's m"), label="der Sitz"),
        Column(name="new", kind="boolean", missing="impute", fill=True),
        Column(name="seen", kind="time", missing="impute", fill="2020-01-01T00:00:00"),
        Column(name="note", kind="text", nullable=True),
    )
)


NAMES = ["curl", "Python", "curl, Open Inference V2", "curl, MLflow and SageMaker", "Python, tritonclient"]


def texts(name: str = "m", terms: Contract = PUBLIC, **more: Any) -> dict[str, str]:
    return dict(examples(name, terms, schema.example(terms), **more))


@pytest.fixture
def served(tmp_path: Path) -> App:
    return app(
        tmp_path,
        loaded("m", 1, Scorer(PUBLIC, Sum())),
        loaded("m-2", 2, Scorer(PUBLIC, Sum())),
        loaded("coin", 1, Scorer(classes(), Coin())),
    )


def run(name: str, text: str, **variables: str) -> Any:
    """What a shell prints."""
    program = [sys.executable, "-c", text] if name.startswith("Python") else ["/bin/sh", "-c", text]
    surroundings = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True, env=surroundings)
    return ast.literal_eval(done.stdout) if name.startswith("Python") else json.loads(done.stdout)


def page_of(url: str, *headers: tuple[str, str]) -> dict[str, str]:
    """The examples on the page that a server gives, by name; of several models those of the last."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/docs", headers=dict(headers))) as answer:  # noqa: S310
        text = answer.read().decode()
    found = re.findall(r"<span>([^<]*)</span>.*?<code>(.*?)</code>", text, re.DOTALL)
    return {name: unescape(code) for name, code in found if name in NAMES}


def answered(published: dict[str, str], model: str, **variables: str) -> None:
    """Each example, copied as it is, has its answer."""
    row = schema.example(PUBLIC)
    wanted = row["age"] + row["bmi"]
    assert list(published) == NAMES
    for name in ("curl", "Python"):
        found = run(name, published[name], **variables)
        assert found["model"] == model
        assert [(one["prediction"], one["verdict"]) for one in found["predictions"]] == [(wanted, "ok")]
    by_v2 = run("curl, Open Inference V2", published["curl, Open Inference V2"], **variables)
    outputs = {each["name"]: each["data"] for each in by_v2["outputs"]}
    assert (outputs["prediction"], outputs["verdict"]) == ([wanted], ["ok"])
    by_mlflow = run("curl, MLflow and SageMaker", published["curl, MLflow and SageMaker"], **variables)
    assert by_mlflow == {"predictions": [wanted]}


@pytest.mark.parametrize("model", ["m", "m-2"])
def test_all_of_them_work_as_they_are_copied_from_the_page(tmp_path: Path, model: str) -> None:
    """Whatever port the server has: nobody edits an example before it works."""
    with running(app(tmp_path, loaded(model, 1, Scorer(PUBLIC, Sum())))) as url:
        answered(page_of(url), model)


def test_they_work_where_a_key_is_asked_for(tmp_path: Path) -> None:
    target = guarded(tmp_path, loaded("m", 1, Scorer(PUBLIC, Sum())))
    with running(target) as url:
        published = page_of(url, ("Authorization", f"Bearer {token_of('viewer')}"))
        answered(published, "m", KEY=token_of("scorer"))
        refused = run("curl", published["curl"], KEY="")
        assert refused["error"]["code"] == "unauthorized"
    assert not [name for name, text in published.items() if "fc_" in text], "whose key asked for the page is in none"


def test_classes_are_asked_alike(served: App) -> None:
    with running(served) as url:
        found = run("curl", texts("coin", classes(), at=url)["curl"])
        assert found["predictions"][0]["prediction"] in ("no", "yes")


class TestTheV2Client:
    """Its text is not run here: its package is not one of ours. What it says is held to what is known to work."""

    @pytest.mark.parametrize("keyed", [False, True])
    def test_it_calls_nothing_that_the_tests_with_the_real_client_do_not(self, *, keyed: bool) -> None:
        known = CLIENTS.read_text(encoding="utf-8")
        tree = ast.parse(texts(keyed=keyed)["Python, tritonclient"])
        called = {
            node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        }
        assert called == {
            "InferInput",
            "InferenceServerClient",
            "set_data_from_numpy",
            "infer",
            "as_numpy",
            "array",
            "append",
        }
        for each in called - {"array", "append"}:
            assert f"{each}(" in known

    def test_its_tensors_are_those_of_the_request_that_is_run(self) -> None:
        names: dict[str, Any] = {"np": np}
        tree = ast.parse(texts()["Python, tritonclient"])
        for node in tree.body:
            if isinstance(node, ast.Assign) and node.targets[0].id in ("columns", "types"):  # type: ignore[attr-defined]
                exec(compile(ast.Module([node], []), "example", "exec"), names)  # noqa: S102 - our own example
        wanted = protocolshapes.tensors(PUBLIC, schema.example(PUBLIC))["inputs"]
        assert names["columns"] == [(each["name"], each["datatype"], each["data"]) for each in wanted]
        for _, kind, data in names["columns"]:
            made = np.array(data, dtype=names["types"][kind])
            assert made.shape == (1,)
            assert made.dtype == {"INT64": np.int64, "FP64": np.float64, "BOOL": bool, "BYTES": object}[kind]


def test_a_key_that_is_asked_for_is_told_of_and_no_form_is_there_that_could_send_none() -> None:
    told, plain = page.html(view(loaded("m", 1)), keyed=True), page.html(view(loaded("m", 1)))
    assert "Authorization: Bearer KEY" in told
    assert "Authorization" not in plain
    assert ("<form" in told, "<form" in plain) == (False, True)


@pytest.mark.parametrize(("host", "at"), [(b"localhost:81", "http://localhost:81"), (b"[::1]", "http://[::1]")])
def test_the_page_is_written_for_the_address_by_which_it_was_asked(tmp_path: Path, host: bytes, at: str) -> None:
    text = call(app(tmp_path), "GET", "/docs", headers=[(b"host", host)]).body.decode()
    assert f"curl -s {at}/predict/m" in text
    assert HERE not in text
    assert f"curl -s {HERE}/predict/m" in call(app(tmp_path), "GET", "/docs", headers=[]).body.decode()


def test_a_server_that_speaks_tls_is_asked_so() -> None:
    published = texts(at="https://models.example.org:8443", keyed=True)
    assert all("http://" not in text for text in published.values())
    assert 'InferenceServerClient("models.example.org:8443", ssl=True)' in published["Python, tritonclient"]
    assert published["curl"].startswith("curl -s https://models.example.org:8443/predict/m ")


def test_the_page_has_the_addresses_of_all_protocols() -> None:
    told = page.html(view(loaded("m", 1)))
    for path in ("/v2/models/NAME/infer", "/invocations/NAME", "/ping", "/version"):
        assert path in told


class TestTheDocument:
    MODELS = (Served(name="m", version=1, contract=PUBLIC), Served(name="coin", version=3, contract=classes()))

    def test_it_has_every_address_of_the_table_and_no_other(self) -> None:
        paths = schema.openapi(self.MODELS)["paths"]
        documented = {(path, method.upper()) for path, item in paths.items() for method in item}
        for address in addresses.ADDRESSES:
            names = [address.template, address.template.replace("{model}", "m")]
            assert any((name, address.method) in documented for name in names), address.template
        for path, method in documented:
            found = addresses.find(path)
            assert found is not None, path
            assert found[0].method == method, path

    def test_it_is_valid_with_and_without_models(self) -> None:
        OpenAPIV31SpecValidator(schema.openapi(self.MODELS)).validate()
        OpenAPIV31SpecValidator(schema.openapi([])).validate()

    def test_operations_have_names_of_their_own(self) -> None:
        paths = schema.openapi(self.MODELS)["paths"]
        found = [one["operationId"] for item in paths.values() for one in item.values() if "operationId" in one]
        assert len(found) == len(set(found))
        assert {"infer_m", "invoke_m", "infer_coin", "invoke_coin"} <= set(found)

    def test_what_it_says_of_answers_holds(self, served: App) -> None:
        from jsonschema import Draft202012Validator

        document = schema.openapi(self.MODELS)

        def fits(name: str, answer: Any) -> bool:
            whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            return bool(Draft202012Validator(whole).is_valid(answer))

        with running(served) as url:
            published = texts(at=url)
            assert fits("V2Response", run("curl", published["curl, Open Inference V2"]))
            assert fits("MlflowResponse", run("curl", published["curl, MLflow and SageMaker"]))
            refused = run("curl", f"curl -s {url}/v2/models/nobody/infer -d '{{}}'")
            assert fits("V2Error", refused)
            refused = run("curl", f"curl -s {url}/invocations/nobody -d '{{}}'")
            assert fits("MlflowError", refused)
            assert not fits("V2Error", refused)
