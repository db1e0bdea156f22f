"""Commands other than `forecast`: what they check before they start, and what they hand on."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tsfm.cli.app import app


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_pretrain_hands_its_options_on(runner, tmp_path, monkeypatch):
    pretrain = pytest.importorskip("tsfm.training.pretrain")
    calls = []

    def run(config, out, **options):
        calls.append((config, out, options))
        return pretrain.RunResult(out, 12, False, 90.0)

    monkeypatch.setattr(pretrain, "run", run)
    config = tmp_path / "run.yaml"
    config.write_text("seed: 1\n")
    arguments = ["--config", str(config), "--out", str(tmp_path / "out"), "--max-minutes", "2"]
    arguments += [
        "--resume",
        "--decay-steps",
        "10",
        "--seed",
        "7",
        "--set",
        "a.b=c",
        "--set",
        "d=1",
    ]
    result = runner.invoke(app, ["pretrain", *arguments])
    assert result.exit_code == 0, result.output
    options = {
        "max_minutes": 2.0,
        "resume": True,
        "decay_steps": 10,
        "initial": None,
        "seed": 7,
        "overrides": {"a.b": "c", "d": 1},
    }
    assert calls == [(config, tmp_path / "out", options)]
    assert "step 12 after 1.5 minutes: to be continued" in result.stderr


def test_pretrain_names_a_missing_configuration(runner, tmp_path):
    result = runner.invoke(app, ["pretrain", "--config", "no.yaml", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "no.yaml does not exist" in result.stderr


def test_pretrain_wants_key_and_value(runner, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("seed: 1\n")
    arguments = ["pretrain", "--config", str(config), "--out", str(tmp_path), "--set", "seed"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.stderr


def test_corpus_preview_saves_a_picture(runner, tmp_path):
    pytest.importorskip("matplotlib")
    from tsfm.datasets.synthetic import all_families

    picture = tmp_path / "new" / "gallery.png"
    name = next(iter(all_families()))
    options = ["--family", name, "--columns", "2", "--length", "64"]
    result = runner.invoke(app, ["corpus", "preview", "--out", str(picture), *options])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5_000


def test_corpus_preview_names_unknown_things(runner, tmp_path):
    picture = str(tmp_path / "g.png")
    result = runner.invoke(app, ["corpus", "preview", "--out", picture, "--family", "nothing"])
    assert result.exit_code == 2
    assert "unknown family 'nothing'" in result.stderr
    result = runner.invoke(app, ["corpus", "preview", "--out", picture, "--recipe", "no.yaml"])
    assert result.exit_code == 2
    assert "no.yaml does not exist" in result.stderr


def test_models_lists_what_the_hub_finds(runner, monkeypatch):
    from tsfm.models import hub

    info = hub.ModelInfo(
        name="demo", path=Path("x/demo"), n_parameters=1_500_000, summary="a demo"
    )
    monkeypatch.setattr(hub, "list_models", lambda: [info])
    result = runner.invoke(app, ["models"])
    assert result.exit_code == 0
    assert "demo" in result.stdout
    assert "1.50 M" in result.stdout
    monkeypatch.setattr(hub, "list_models", list)
    assert runner.invoke(app, ["models"]).exit_code == 2


def test_doctor_has_a_state_for_every_line(runner):
    result = runner.invoke(app, ["doctor"])
    lines = result.stdout.splitlines()
    assert len(lines) >= 8
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}
    subjects = {line.split()[1] for line in lines}
    assert {"tsfm", "packages", "device", "kernels", "forecast"} <= subjects
    assert result.exit_code == int(any(line.startswith("fail") for line in lines))
