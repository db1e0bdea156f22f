"""The house rules of the design: who may import whom, and how long things may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tsfm"
FILES = sorted(PACKAGE.rglob("*.py"))

LEAVES = {"config", ""}  # the plain-value helpers, and the version in __init__
FRONT = {
    "anomalies",
    "arguments",
    "backtests",
    "detector",
    "finetuning",
    "forecaster",
    "inference",
    "loading",
    "persistence",
    "plotting",
    "scoring",
    "shortcuts",
    "streaming",
    "surprise",
    "token_plot",
    "tokenization",
}
MAY_IMPORT = {
    "nn": set(),
    "tokenizers": {"nn"},
    "models": {"nn", "tokenizers"},
    "datasets": set(),
    "frames": set(),
    "corpora": {"frames", "datasets"},
    "training": {"models", "datasets", "tokenizers", "nn"},
    "evaluation": {"models", "datasets", "adapters", "surprise"},
    "adapters": FRONT | {"frames", "models", "evaluation"},
    **{name: FRONT | {"frames", "models"} for name in FRONT},
    "finetuning": FRONT | {"frames", "models", "training"},
    "tokenization": FRONT | {"frames", "models", "tokenizers"},
    "cli": FRONT
    | {"frames", "models", "nn", "training", "evaluation", "datasets", "adapters"}
    | {"corpora"},
}
HEAVY = {  # distributions that only some rooms may import
    "lightning": {"training"},
    "gluonts": {"evaluation", "adapters"},
    "matplotlib": {"anomalies", "plotting", "token_plot", "datasets", "evaluation", "cli"},
    "pandas": {*FRONT, "frames", "corpora", "evaluation", "adapters", "cli"},
    "ray": set(),
    "fastapi": set(),
}
SIGNATURES_OF_OTHERS = {
    ("training", "optimizer_step"),
    ("training", "on_train_batch_end"),
    ("loading", "forecast"),
}
TORCH_FREE = {"frames", "cli", *FRONT, "config", "", "arguments"}


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(node: ast.AST) -> Iterator[str]:
    """Modules imported anywhere but for the type checker alone."""
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        assert node.level == 0, "relative import"
        yield node.module
    for child in ast.iter_child_nodes(node):
        yield from imports(child)


def top_level(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imports(ast.Module([node], []))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    here = room(path)
    for name in imports(parsed(path)):
        parts = name.split(".")
        if parts[0] == "tsfm":
            there = parts[1] if len(parts) > 1 else ""
            if here and there not in LEAVES | {here}:
                assert there in MAY_IMPORT[here], f"{here} imports {name}"
        elif parts[0] in HEAVY:
            assert here in HEAVY[parts[0]], f"{here} imports {name}"


def test_every_room_is_known():
    assert {room(path) for path in FILES} - LEAVES <= MAY_IMPORT.keys()


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in TORCH_FREE], ids=lambda p: p.name)
def test_light_rooms_import_torch_late(path):
    names = {name.split(".")[0] for name in top_level(parsed(path))}
    assert not names & {"torch", "lightning", "matplotlib", "gluonts"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_prints_and_nothing_grows_too_long(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and room(path) != "cli":
            assert node.func.id != "print", f"line {node.lineno} prints"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{node.name} has {lines} lines"


def test_public_functions_swallow_no_keywords():
    swallowed = [
        f"{path.name}: {node.name}"
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
        and node.args.kwarg is not None
        and not node.name.startswith("_")
        # these override methods of others, or describe what models of others may take
        and (room(path), node.name) not in SIGNATURES_OF_OTHERS
    ]
    assert swallowed == []


def test_no_pickle_and_no_machine_paths():
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        assert "import pickle" not in source, path.name
        assert "weights_only=False" not in source, path.name
        for absolute in ("/home/", "/work/", "/tmp/", "/opt/"):
            assert absolute not in source, f"{path.name} names {absolute}"
