"""Processes that hold one model and answer requests, one JSON object a line.

Both models of a comparison run like this, each in its own environment, so that nothing but the
model differs. A worker times its own calls; the series are made before the clock starts.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from common import ROOT, environment, make_series, peak_memory_mb, timed, use_checkout

DECILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
BOLT_TINY = {
    "d_model": 256,
    "d_kv": 64,
    "d_ff": 1024,
    "num_layers": 4,
    "num_decoder_layers": 4,
    "num_heads": 4,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "feed_forward_proj": "relu",
    "initializer_factor": 0.05,
    "is_encoder_decoder": True,
    "use_cache": True,
    "vocab_size": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
"""T5 part of the published Chronos-Bolt-tiny; it has 8,652,672 weights, the published 8.65M."""
BOLT_PATCHES = {
    "context_length": 2048,
    "prediction_length": 64,
    "input_patch_size": 16,
    "input_patch_stride": 16,
    "use_reg_token": True,
    "quantiles": DECILES,
}


class Ours:
    """A `tsfm` model in this environment.

    Parameters
    ----------
    model
        Name or folder.
    """

    packages = ("torch", "numpy", "pandas")

    def __init__(self, model: str) -> None:
        use_checkout()
        import tsfm

        self.model = tsfm.TSFM.from_pretrained(model, device="cpu")
        self.name = self.model.config.name
        self.n_parameters = self.model.n_parameters

    def prepare(self, series: list[list[float]], through: str) -> Any:
        """The input in the form the call takes."""
        import numpy as np

        arrays = [np.array(x) for x in series]
        if through == "arrays":
            return arrays
        import pandas as pd

        times = pd.date_range("2024-01-01", periods=len(arrays[0]), freq="h")
        return pd.DataFrame(
            {
                "item_id": np.repeat([f"series_{i:05d}" for i in range(len(arrays))], len(times)),
                "timestamp": np.tile(times, len(arrays)),
                "target": np.concatenate(arrays),
            }
        )

    def forecast(self, data: Any, horizon: int, mode: str) -> None:
        """One forecast of everything."""
        if isinstance(data, list):
            self.model.forecast(data, horizon, mode=mode)
        else:
            import tsfm

            tsfm.Forecaster(self.model, prediction_length=horizon, mode=mode).fit(data).predict()


class Bolt:
    """The Chronos-Bolt-tiny architecture with random weights, from `chronos-forecasting`."""

    packages = ("torch", "numpy", "transformers", "chronos-forecasting")
    name = "chronos-bolt-tiny, random weights"
    rows_per_pass = 256  # the package's own default for tables

    def __init__(self) -> None:
        import torch
        from chronos.chronos_bolt import ChronosBoltModelForForecasting, ChronosBoltPipeline
        from transformers import T5Config

        torch.manual_seed(0)
        config = T5Config(**BOLT_TINY)
        config.reg_token_id = 1
        config.chronos_config = BOLT_PATCHES
        network = ChronosBoltModelForForecasting(config).eval()
        self.pipeline = ChronosBoltPipeline(network)
        self.n_parameters = sum(p.numel() for p in network.parameters())

    def prepare(self, series: list[list[float]], through: str) -> Any:
        """One float32 matrix, the form that costs the pipeline least."""
        import torch

        if through != "arrays":
            raise ValueError("The comparison is about arrays.")
        return torch.tensor(series, dtype=torch.float32)

    def forecast(self, data: Any, horizon: int, mode: str) -> None:
        """One forecast of everything; all nine quantiles."""
        for rows in data.split(self.rows_per_pass):
            self.pipeline.predict(rows, prediction_length=horizon)


def serve(kind: str, model: str, threads: int) -> None:
    """Answer requests from stdin on stdout until it closes.

    Parameters
    ----------
    kind
        "tsfm" or "chronos".
    model
        Name or folder, for "tsfm".
    threads
        Threads torch may use.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    worker = Ours(model) if kind == "tsfm" else Bolt()
    for line in sys.stdin:
        request = json.loads(line)
        answer = _about(worker) if request["do"] == "about" else _time(worker, **request["with"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _about(worker: Ours | Bolt) -> dict[str, Any]:
    import torch

    versions = {name: metadata.version(name) for name in worker.packages}
    return {
        "name": worker.name,
        "n_parameters": worker.n_parameters,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
        "peak_mb": peak_memory_mb(),
    }


def _time(
    worker: Ours | Bolt,
    n: int,
    context: int,
    horizon: int,
    calls: int,
    warm_up: int,
    mode: str,
    through: str,
) -> dict[str, Any]:
    data = worker.prepare(make_series(n, context), through)
    for _ in range(warm_up):
        worker.forecast(data, horizon, mode)
    seconds = [timed(lambda: worker.forecast(data, horizon, mode)) for _ in range(calls)]
    return {"seconds": seconds, "peak_mb": peak_memory_mb()}


class Client:
    """The other end: starts a worker and asks it.

    Parameters
    ----------
    kind
        "tsfm" or "chronos".
    model
        Name or folder, for "tsfm".
    threads
        Threads torch may use.
    python
        Interpreter of the worker's environment.
    """

    def __init__(
        self, kind: str, model: str, threads: int, python: str | Path = sys.executable
    ) -> None:
        script = ROOT / "benchmarks" / "inference.py"
        command = [str(python), str(script), "--worker", kind, "--threads", str(threads)]
        self.process = subprocess.Popen(
            [*command, "--model", model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        self.about = self._ask({"do": "about"})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The worker ended with status {self.process.wait()}; see above.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def time(
        self,
        horizon: int,
        *,
        n: int = 1,
        context: int = 2048,
        calls: int = 1,
        warm_up: int = 0,
        mode: str = "fast",
        through: str = "arrays",
    ) -> dict[str, Any]:
        """Seconds of each of `calls` forecasts and the worker's peak memory so far."""
        options = {
            "n": n,
            "context": context,
            "horizon": horizon,
            "calls": calls,
            "warm_up": warm_up,
            "mode": mode,
            "through": through,
        }
        return self._ask({"do": "time", "with": options})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=60)
