"""The benchmark scripts start, measure something, and say where it was measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    "inference",
    "generation",
    "training",
    "frames",
    "kernels",
    "streaming",
    "longterm",
    "patch_encoder",
    "tokenization",
    "detection",
    "calibration",
    "finetuning",
    "recipe",
    "strata",
]


def run(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def common():
    spec = importlib.util.spec_from_file_location("common", ROOT / "benchmarks" / "common.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script):
    text = run(script, "--help")
    assert f"python benchmarks/{script}.py" in text
    assert "--threads" in text
    assert f"{script}.py" in (ROOT / "benchmarks" / "README.md").read_text()


@pytest.mark.parametrize("script", [file.stem for file in (ROOT / "benchmarks").glob("*.py")])
def test_no_script_hides_a_package_of_its_name(script):
    # scripts see their own folder first: benchmarks/tokenizers.py would break transformers
    elsewhere = [p for p in sys.path if p and not Path(p).resolve().is_relative_to(ROOT)]
    assert PathFinder.find_spec(script, elsewhere) is None
    assert script not in {"tokenizers", "datasets", "models", "evaluate"}


def test_generation_measures_and_records(tmp_path):
    out = tmp_path / "generation.json"
    words = ["--families", "waves", "--n", "8", "--mixture-n", "8", "--length", "256"]
    words += ["--ring", "32"]
    text = run("generation", *words, "--repeats", "1", "--chunks", "0", "--out", str(out))
    assert "| waves | shapes |" in text
    record = json.loads(out.read_text())
    assert record["results"]["families"][0]["series_per_second"] > 0
    mixtures = {row["what"]: row for row in record["results"]["mixtures"]}
    assert mixtures["mixture"]["goal"] == 2000
    assert mixtures["ring, augmented"]["reuse"] == 6
    assert record["benchmark"] == "generation"
    assert record["command"].startswith("python benchmarks/generation.py --families waves")
    assert str(tmp_path) not in record["command"]
    assert {"cpu", "cores"} <= set(record["machine"])
    assert {"python", "torch", "tsfm"} <= set(record["versions"])
    assert record["date"].endswith("+00:00")
    assert record["threads"] == 2
    assert "load_average_at_start" in record
    assert "commit" in record


def test_each_arm_of_the_recipe_changes_one_thing():
    code = (
        "import json, sys; sys.path.insert(0, 'benchmarks')\n"
        "from recipe_arms import arms, config_of\n"
        "from tsfm.config import by_dotted_key\n"
        "leaves = {arm: by_dotted_key(config_of(arm, 1000).to_dict()) for arm in arms()}\n"
        "keys = {key for values in leaves.values() for key in values}\n"
        "print(json.dumps({arm: sorted({[*k.split('.')[1:], k][0] for k in keys "
        "if values.get(k) != leaves['adamw'].get(k)}) for arm, values in leaves.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    changes = json.loads(done.stdout)
    assert changes.pop("adamw") == []
    assert changes.pop("last-k") == ["last_k"]
    assert changes.pop("curriculum") == ["curriculum"]
    assert changes.pop("muon-0.007") == ["matrix_learning_rate", "name"]
    assert changes["normuon-0.02"] == ["name"]  # at the rate that is the default
    assert changes["horizon-0.3"] == ["horizon_share"]
    assert changes["horizon-0.3:shorter"] == ["horizon_share", "windows"]
    assert changes["families"] == ["directed", "families"]
    assert changes["short"] == ["short"]
    assert changes["augmented"] == ["augment"]
    assert changes["broad"] == ["augment", "directed", "families", "short"]
    left_out = {arm: keys for arm, keys in changes.items() if arm.startswith("without-")}
    assert len(left_out) >= 9
    assert all(keys == ["families"] for keys in left_out.values())


def test_summary(common):
    seconds = [0.1 * i for i in range(1, 12)]
    assert common.summary(seconds) == pytest.approx(
        {"n": 11, "median": 0.6, "p90": 1.0, "min": 0.1, "max": 1.1}
    )
    assert common.summary([2.0])["p90"] == 2.0


def test_series_are_the_same_everywhere(common):
    series = common.make_series(2, 50)
    assert series == common.make_series(2, 50)
    assert series[0] != series[1]
    assert [len(x) for x in series] == [50, 50]


def test_table(common):
    text = common.table(["job", "s"], [["one", 0.01234], ["many", 12345.6], ["none", None]])
    assert text.splitlines() == [
        "| job | s |",
        "| --- | ---: |",
        "| one | 0.0123 |",
        "| many | 12,346 |",
        "| none | - |",
    ]


@pytest.mark.slow
def test_inference_measures_every_part(tmp_path):
    out = tmp_path / "inference.json"
    words = ["--model", "tests/assets/tiny", "--rounds", "1", "--calls", "1", "--series", "2"]
    words += ["--many-repeats", "1", "--cold-repeats", "1", "--start-repeats", "1"]
    run("inference", *words, "--threads", "1", "--out", str(out))
    jobs = {job["job"]: job for job in json.loads(out.read_text())["results"]["jobs"]}
    assert jobs["tsfm: 1 series, context 2048, horizon 96"]["median"] > 0
    assert jobs["tsfm: 2 series, context 512, horizon 48, as arrays"]["peak_mb"] > 50
    assert "tsfm forecast --help" in jobs


@pytest.mark.slow
def test_kernels_measure_and_record(tmp_path):
    out, figure = tmp_path / "kernels.json", tmp_path / "kernels.png"
    words = ["--only", "scans", "attention", "--longest", "125", "--rounds", "1", "--threads", "1"]
    text = run("kernels", *words, "--out", str(out), "--figure", str(figure))
    assert "| SSD | chunks of 32 | cpu | 125 |" in text
    results = json.loads(out.read_text())["results"]
    paths = {row["path"] for row in results["rows"] if row["op"] == "selective scan"}
    assert paths == {"chunked", "chunked, recomputed", "sequential"}
    for row in results["rows"]:
        assert row["floor"] > 0
        assert row["forward"]["median"] > 0
        assert row["forward + backward"]["n"] == 1


@pytest.mark.slow
def test_streaming_measures_and_records(tmp_path):
    out, figure = tmp_path / "streaming.json", tmp_path / "streaming.png"
    words = ["--random", "mamba2", "--updates", "40", "--rows", "3", "--history", "64"]
    words += ["--scratch", "2", "--per-family", "1", "--contexts", "256", "--threads", "1"]
    text = run("streaming", *words, "--out", str(out), "--figure", str(figure))
    assert "| update with one point | 40 |" in text
    results = json.loads(out.read_text())["results"]
    assert results["deviations"][0]["all"]["mean"] > 0
    assert len(results["one_by_one"]["scratch_seconds"]) == 2
    assert figure.stat().st_size > 1000


@pytest.mark.slow
def test_patch_encoder_measures_and_records(tmp_path):
    out, figure = tmp_path / "patch_encoder.json", tmp_path / "patch_encoder.png"
    words = ["--longest", "1024", "--rounds", "1", "--threads", "1", "--clock", "cpu"]
    text = run("patch_encoder", *words, "--out", str(out), "--figure", str(figure))
    assert "| by patch (ours) | 1024 |" in text
    rows = json.loads(out.read_text())["results"]["rows"]
    assert len(rows) == 6
    assert all(row["largest_difference"] < 1e-5 for row in rows)
    assert figure.stat().st_size > 1000


def test_tokenization_measures_and_records(tmp_path):
    out = tmp_path / "tokenization.json"
    text = run(
        "tokenization", "--series", "4", "--length", "256", "--repeats", "1", "--out", str(out)
    )
    assert "| tsfm-entropy, equal_share 16 |" in text
    rows = json.loads(out.read_text())["results"]["tokenizers"]
    assert rows[0]["tokens_per_series"] == 8
    assert all(row["whole"]["median"] > 0 for row in rows)
