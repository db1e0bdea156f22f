"""The example of `docs/corpora.md` runs, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

PAGE = Path(__file__).resolve().parents[2] / "docs/corpora.md"


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert names["corpus"].column("item_id").tolist() == ["noise", "daily"]
    assert names["clean"].column("item_id").tolist() == ["noise"]
    assert names["windows"].config.stratified
