"""`tsfm doctor`: is everything here that a forecast needs, and which way will it be computed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import typer

from tsfm import __version__

EPILOG = """\
[bold]Example[/bold]

  tsfm doctor

Paste its output into a bug report. The exit code is 0 unless a line says fail.
The environment variable TSFM_KERNELS decides which kernels compute the state-space backbones:
auto (fused ones on a GPU where they can be had), torch (never), triton (always, or an error).
"""

CORE = ("torch", "numpy", "pandas", "scikit-learn", "safetensors", "typer")
EXTRAS = {
    "plot": ("matplotlib",),
    "parquet": ("pyarrow",),
    "train": ("lightning", "gluonts", "pyarrow"),
}
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """One line of the report: `state` is ok, warn or fail."""

    state: str
    subject: str
    detail: str


def doctor() -> None:
    """Check the installation: versions, device, models, a forecast and a detection."""
    failed = False
    for check in CHECKS:
        for finding in _careful(check):
            failed |= finding.state == "fail"
            state = typer.style(f"{finding.state:<4}", fg=COLOURS[finding.state])
            typer.echo(f"{state}  {finding.subject:<10} {finding.detail}")
    raise typer.Exit(1 if failed else 0)


def _careful(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one check; an exception becomes a finding too."""
    try:
        yield from check()
    except Exception as error:
        text = " ".join(str(error).split())
        yield Finding("fail", check.__name__.lstrip("_"), f"{type(error).__name__}: {text}")


def _python() -> Iterator[Finding]:
    yield Finding(
        "ok",
        "tsfm",
        f"{__version__} on Python {sys.version.split()[0]} ({sys.platform})",
    )


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [], []
    for name in CORE:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Finding("ok", "packages", ", ".join(found))
    if missing:
        remedy = f"pip install {' '.join(missing)}"
        yield Finding("fail", "packages", f"missing: {', '.join(missing)}; {remedy}")


def _extras() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for extra, names in EXTRAS.items():
        try:
            detail = ", ".join(f"{name} {version(name)}" for name in names)
            yield Finding("ok", extra, detail)
        except PackageNotFoundError as error:
            detail = f"{error.name} is not installed; if needed: pip install {' '.join(names)}"
            yield Finding("warn", extra, detail)


def _device() -> Iterator[Finding]:
    import torch

    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        free, total = torch.cuda.mem_get_info(0)
        memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        yield Finding("ok", "device", f"cuda: {name}, {memory}; {threads}")
    else:
        yield Finding("ok", "device", f"cpu, {threads}")
    if torch.get_num_threads() < (os.cpu_count() or 1) / 2:
        yield Finding("warn", "threads", "torch uses few of the cores; see OMP_NUM_THREADS")


def _kernels() -> Iterator[Finding]:
    """What computes each operation on each device, and why."""
    import torch

    from tsfm.nn.kernels import OPS, VARIABLE, missing, mode, plan

    yield Finding("ok", "kernels", "attention: torch's scaled dot product, on every device")
    yield Finding("ok", "kernels", "companion: torch's FFT and matrix products, on every device")
    if mode() != "auto":
        yield Finding("ok", "kernels", f"{VARIABLE}={mode()} is set")
    cuda = torch.cuda.is_available()
    places = [("cpu", torch.float32)]
    if cuda:
        places += [("cuda", torch.float32), ("cuda", torch.bfloat16)]
    for op in OPS:
        for device, dtype in places:
            chosen = plan(op, torch.device(device), dtype)
            state = "ok"
            if chosen.path == "impossible":  # nobody needs the CPU where there is a GPU
                state = "warn" if cuda and device == "cpu" else "fail"
            where = f"{device}, {str(dtype).removeprefix('torch.')}"
            yield Finding(state, "kernels", f"{op} on {where}: {chosen.path} ({chosen.why})")
    if not cuda:
        reasons = dict.fromkeys(filter(None, map(missing, OPS)))
        why = "; ".join(["torch finds no CUDA device", *reasons])
        yield Finding("ok", "kernels", f"fused kernels: not in use here ({why})")


def _models() -> Iterator[Finding]:
    from tsfm.models.hub import list_models

    found = list_models()
    if not found:
        yield Finding(
            "fail", "models", "none found; reinstall, or pass --model DIR to tsfm forecast"
        )
    for info in found:
        size = f"{info.n_parameters / 1e6:.2f} M parameters"
        yield Finding("ok", "model", f"{info.name}, {size}, {info.path}")


def _forecast() -> Iterator[Finding]:
    """Forecast a daily wave one period ahead with the default model and check the answer."""
    import numpy as np
    import torch

    from tsfm import TSFM
    from tsfm.models.hub import DEFAULT_MODEL

    started = time.perf_counter()
    model = TSFM.from_pretrained(DEFAULT_MODEL)
    loaded = time.perf_counter()
    steps = np.arange(24 * 15, dtype=float)
    wave = 10.0 + np.sin(2 * np.pi * steps / 24)
    with torch.inference_mode():
        answer = model.forecast([wave[:-24]], 24, (0.1, 0.5, 0.9))
    done = time.perf_counter()
    quantiles = answer.quantiles[0]  # [24, 3]
    times = f"load {loaded - started:.1f} s, forecast {done - loaded:.2f} s"
    if not np.isfinite(quantiles).all() or (np.diff(quantiles, axis=1) < 0).any():
        yield Finding("fail", "forecast", f"quantiles are not finite and ordered ({times})")
        return
    error = float(np.abs(quantiles[:, 1] - wave[-24:]).mean())
    flat = float(np.abs(wave[-25] - wave[-24:]).mean())
    state = "ok" if error < 0.5 * flat else "warn"
    detail = f"a wave of 24 steps, error {error:.3f} (last value: {flat:.2f}); {times}"
    yield Finding(state, "forecast", detail)


def _detection() -> Iterator[Finding]:
    """Look for one outlier in a daily wave with the default detector."""
    import numpy as np

    from tsfm import AnomalyDetector
    from tsfm.anomalies.loading import load_detector
    from tsfm.models.hub import DEFAULT_DETECTOR

    started = time.perf_counter()
    load_detector(DEFAULT_DETECTOR)
    loaded = time.perf_counter()
    steps = np.arange(24 * 15, dtype=float)
    wave = 10.0 + np.sin(2 * np.pi * steps / 24) + 0.05 * np.sin(steps**2)
    wave[200] += 10.0
    found = AnomalyDetector().segments(wave)["start"].tolist()
    done = time.perf_counter()
    times = f"load {loaded - started:.1f} s, detection {done - loaded:.2f} s"
    state = "ok" if found == [200] else "warn"
    yield Finding(state, "detection", f"an outlier at step 200, found at {found}; {times}")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _extras,
    _device,
    _kernels,
    _models,
    _forecast,
    _detection,
)
