"""LitServe with batching: ``serving_litserve.py PORT`` beside model.pkl."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found, unused-ignore]
import numpy as np


class Api(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """One model, asked for all rows of a batch at once."""

    def setup(self, device: Any) -> None:
        self.model = pickle.loads(Path("model.pkl").read_bytes())  # noqa: S301 - we wrote it

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads annotations its own way
        return np.array(request["x"])

    def batch(self, inputs: Any) -> Any:
        return np.concatenate(inputs)

    def predict(self, x: Any) -> Any:
        return self.model.predict_proba(x)

    def unbatch(self, output: Any) -> Any:
        return [output[place : place + 1] for place in range(len(output))]

    def encode_response(self, output: Any) -> Any:
        return {"p": output.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
