"""The requests that are published to be copied: each is run as it is, against a real server."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from fullcircle.runtimes import protocolshapes, schema
from fullcircle.runtimes.schema import Served
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server import addresses, page
from fullcircle.server.app import App
from fullcircle.server.examples import HERE, examples
from fullcircle.types.contract import Column, Contract
from server.test_page import running
from serving import Coin, Sum, app, classes, contract, loaded, view

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


def texts(name: str = "m", terms: Contract = PUBLIC) -> dict[str, str]:
    return dict(examples(name, terms, schema.example(terms)))


@pytest.fixture
def served(tmp_path: Path) -> App:
    return app(
        tmp_path,
        loaded("m", 1, Scorer(PUBLIC, Sum())),
        loaded("m-2", 2, Scorer(PUBLIC, Sum())),
        loaded("coin", 1, Scorer(classes(), Coin())),
    )


def run(*words: str, url: str) -> Any:
    """What a shell prints: the text stands in a file, with the server's address in place of the published one."""
    name, text = words
    told = text.replace(HERE, url).replace(HERE.removeprefix("http://"), url.removeprefix("http://"))
    program = [sys.executable, "-c", told] if name.startswith("Python") else ["/bin/sh", "-c", told]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    return ast.literal_eval(done.stdout) if name.startswith("Python") else json.loads(done.stdout)


@pytest.mark.parametrize("model", ["m", "m-2"])
def test_all_of_them_work_as_they_are_copied(served: App, model: str) -> None:
    row = schema.example(PUBLIC)
    wanted = row["age"] + row["bmi"]
    with running(served) as url:
        published = texts(model)
        assert list(published) == [
            "curl",
            "Python",
            "curl, Open Inference V2",
            "curl, MLflow and SageMaker",
            "Python, tritonclient",
        ]
        for name in ("curl", "Python"):
            found = run(name, published[name], url=url)
            assert found["model"] == model
            assert [(one["prediction"], one["verdict"]) for one in found["predictions"]] == [(wanted, "ok")]
        by_v2 = run("curl, Open Inference V2", published["curl, Open Inference V2"], url=url)
        outputs = {each["name"]: each["data"] for each in by_v2["outputs"]}
        assert (outputs["prediction"], outputs["verdict"]) == ([wanted], ["ok"])
        by_mlflow = run("curl, MLflow and SageMaker", published["curl, MLflow and SageMaker"], url=url)
        assert by_mlflow == {"predictions": [wanted]}


def test_classes_are_asked_alike(served: App) -> None:
    with running(served) as url:
        found = run("curl", texts("coin", classes())["curl"], url=url)
        assert found["predictions"][0]["prediction"] in ("no", "yes")


class TestTheV2Client:
    """Its text is not run here: its package is not one of ours. What it says is held to what is known to work."""

    def test_it_calls_nothing_that_the_tests_with_the_real_client_do_not(self) -> None:
        known = CLIENTS.read_text(encoding="utf-8")
        tree = ast.parse(texts()["Python, tritonclient"])
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


def test_a_key_that_is_asked_for_is_told_of() -> None:
    told = page.html(view(loaded("m", 1)), keyed=True)
    assert "Authorization: Bearer KEY" in told
    assert "Authorization" not in page.html(view(loaded("m", 1)))


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
            published = texts()
            assert fits("V2Response", run("curl", published["curl, Open Inference V2"], url=url))
            assert fits("MlflowResponse", run("curl", published["curl, MLflow and SageMaker"], url=url))
            refused = run("curl", f"curl -s {HERE}/v2/models/nobody/infer -d '{{}}'", url=url)
            assert fits("V2Error", refused)
            refused = run("curl", f"curl -s {HERE}/invocations/nobody -d '{{}}'", url=url)
            assert fits("MlflowError", refused)
            assert not fits("V2Error", refused)
