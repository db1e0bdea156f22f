"""What a newcomer relies on: samples, the pinned set, assets without code, a light import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_constraints_pin_every_requirement():
    text = (ROOT / "constraints.txt").read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", text, flags=re.MULTILINE))
    assert pins["torch"] == "2.13.0"
    assert int(pins["pandas"].split(".")[0]) < 3
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["plot"], *extras["train"], *extras["dev"]]
    for requirement in wanted:
        name = re.split(r"[\[><=;~ ]", requirement)[0].lower()
        assert name in pins or name == "tsfm-zeroshot", requirement
        assert ">=" in requirement or name == "tsfm-zeroshot", f"{requirement}: no lower bound"


@pytest.mark.parametrize("folder", ["models", "tokenizers", "datasets", "configs"])
def test_asset_folders_hold_no_code(folder):
    assert (ROOT / folder / "README.md").is_file()
    assert not list((ROOT / folder).rglob("*.py"))


def test_sample_series():
    air = pd.read_csv(ROOT / "datasets/air_passengers.csv", parse_dates=["month"])
    assert air["passengers"].sum() == 40363
    assert air["month"].dt.to_period("M").diff().dropna().map(lambda step: step.n).eq(1).all()
    power = pd.read_csv(ROOT / "datasets/building_power.csv")
    assert power["time"].str.endswith(("+01:00", "+02:00")).all()
    assert power.duplicated(["meter", "time"]).sum() == 3
    assert power["kilowatt"].isna().any()


def test_import_is_light():
    code = (
        "import sys, tsfm;"
        "print(*(m for m in ('torch', 'pandas', 'sklearn', 'lightning') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_readme_commands_are_what_the_check_runs():
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^python3 -m venv .*$", readme, flags=re.MULTILINE)
    assert len(commands) == 2
    install = 'pip install -c constraints.txt -e ".[dev]"'
    assert commands[1].endswith(f"{install} && pytest")
    check = (ROOT / ".ci/run").read_text()
    assert install.replace("install", "install --quiet") in check
    assert re.search(r"^step tests pytest$", check, flags=re.MULTILINE)
    # the commands stand on the first screen
    assert readme.index(commands[1]) < 1600
