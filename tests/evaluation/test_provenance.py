"""Provenance: facts that make a number repeatable, and no trace left behind."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from tsfm.evaluation import provenance


def test_description_is_json_ready() -> None:
    facts = provenance.describe_run("cpu", ("gluonts",))
    assert set(facts) == {"command", "commit", "date", "device", "machine", "versions"}
    assert facts["versions"]["torch"] == torch.__version__
    json.dumps(facts)


def test_command_leaves_out_the_folder_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/bin/tsfm", "evaluate", "--data", "a b"])
    assert provenance.command_line() == "tsfm evaluate --data 'a b'"
    monkeypatch.setattr(sys, "argv", ["/some/where/tsfm/__main__.py", "evaluate"])
    assert provenance.command_line() == "python -m tsfm evaluate"


def test_missing_package_has_no_version() -> None:
    assert provenance.versions(("no-such-package",))["no-such-package"] is None


def test_seeded_repeats_and_restores() -> None:
    before = torch.random.get_rng_state()
    with provenance.seeded(3):
        first = torch.rand(4)
    with provenance.seeded(3):
        second = torch.rand(4)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())
