"""`tsfm doctor` says which path computes each operation on each device, and why."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from tsfm.cli import doctor
from tsfm.cli.app import app
from tsfm.nn import kernels


@pytest.fixture(autouse=True)
def no_override(monkeypatch):
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.delenv("TRITON_F32_DEFAULT", raising=False)


def findings(monkeypatch, cuda: bool, why: str | None) -> dict[str, tuple[str, str]]:
    """State and detail of every line on kernels, by what it is about."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(kernels, "_loaded", lambda op: (None if why else len, why))
    lines = {}
    for state, subject, detail in doctor._kernels():
        assert subject == "kernels"
        about, _, rest = detail.partition(": ")
        lines[about] = (state, rest)
    return lines


def test_without_a_gpu(monkeypatch):
    lines = findings(monkeypatch, cuda=False, why="mamba-ssm is not installed")
    assert {"attention", "companion"} <= lines.keys()
    assert {state for state, _ in lines.values()} == {"ok"}
    for op in kernels.OPS:
        assert lines[f"{op} on cpu, float32"][1].startswith("torch (the tensor is on the cpu")
    why = lines["fused kernels"][1]
    assert why == "not in use here (torch finds no CUDA device; mamba-ssm is not installed)"


def test_with_a_gpu_and_the_kernels(monkeypatch):
    lines = findings(monkeypatch, cuda=True, why=None)
    assert lines["ssd on cuda, bfloat16"][1].startswith("fused (")
    assert lines["ssd on cuda, float32"][1].startswith("torch (Triton rounds fp32")
    assert lines["selective_scan on cuda, float32"][1].startswith("fused (")
    assert lines["ssd on cpu, float32"][1].startswith("torch (")
    assert "fused kernels" not in lines


def test_with_a_gpu_and_no_kernels(monkeypatch):
    lines = findings(monkeypatch, cuda=True, why="mamba-ssm is not installed")
    for op in kernels.OPS:
        assert lines[f"{op} on cuda, bfloat16"] == ("ok", "torch (mamba-ssm is not installed)")


def test_overrides(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "torch")
    lines = findings(monkeypatch, cuda=True, why=None)
    assert "TSFM_KERNELS=torch is set" in lines
    assert lines["ssd on cuda, bfloat16"] == ("ok", "torch (TSFM_KERNELS=torch)")
    monkeypatch.setenv(kernels.VARIABLE, "triton")
    lines = findings(monkeypatch, cuda=True, why=None)
    assert lines["ssd on cuda, float32"] == ("ok", "fused (TSFM_KERNELS=triton)")
    assert lines["ssd on cpu, float32"][0] == "warn"
    lines = findings(monkeypatch, cuda=False, why=None)
    assert lines["ssd on cpu, float32"][0] == "fail"


def test_a_mistyped_override_is_a_finding(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "fast")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "TSFM_KERNELS='fast' is none of 'auto', 'torch' and 'triton'" in result.stdout
