"""The allocator hint is taken on glibc and refused politely elsewhere."""

from __future__ import annotations

import platform
import sys

import pytest

from tsfm.training.memory import keep_freed_memory


def test_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_on_glibc():
    assert keep_freed_memory() is True
