"""Models are loaded once per process, and again when their folder changes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tsfm import loading


class Network:
    """Stands in for a TSFM and counts how often it is read."""

    loaded: list[tuple[str, str]] = []

    @classmethod
    def from_pretrained(cls, folder: Path, *, device: str = "auto") -> Network:
        cls.loaded.append((Path(folder).name, device))
        return cls()

    def forecast(self) -> None: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tsfm.models.TSFM", Network, raising=False)
    monkeypatch.setattr(Network, "loaded", [])
    loading.forget_models()
    for i in range(loading.MAX_LOADED + 1):
        (tmp_path / f"m{i}").mkdir()
        (tmp_path / f"m{i}" / "config.json").write_text("{}")
    yield tmp_path
    loading.forget_models()


def test_a_model_is_read_once_per_device(folder: Path) -> None:
    first = loading.load_model(folder / "m0")
    assert loading.load_model(str(folder / "m0")) is first
    assert loading.load_model(folder / "m0", "cpu") is not first
    assert Network.loaded == [("m0", "auto"), ("m0", "cpu")]


def test_an_overwritten_checkpoint_is_read_again(folder: Path) -> None:
    first = loading.load_model(folder / "m0")
    os.utime(folder / "m0" / "config.json", ns=(1, 4 * 10**18))
    assert loading.load_model(folder / "m0") is not first


def test_the_least_recently_used_model_goes_first(folder: Path) -> None:
    first = loading.load_model(folder / "m0")
    second = loading.load_model(folder / "m1")
    for i in range(2, loading.MAX_LOADED):
        loading.load_model(folder / f"m{i}")
    loading.load_model(folder / "m0")
    loading.load_model(folder / f"m{loading.MAX_LOADED}")
    assert loading.load_model(folder / "m0") is first
    assert loading.load_model(folder / "m1") is not second


def test_threads_share_one_model(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: loading.load_model(folder / "m0"), range(16)))
    assert len(set(map(id, models))) == 1
    assert len(Network.loaded) == 1
