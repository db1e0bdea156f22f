"""Dataclasses to plain values and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tsfm.config import from_dict, to_dict


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    table: dict[str, float] = field(default_factory=dict)


def test_round_trip():
    config = Outer("x", Inner(2.0, (3,)), (Inner(), Inner(0.5)), {"a": 1.0})
    plain = to_dict(config)
    assert plain["many"][1] == {"rate": 0.5, "sizes": [1, 2]}
    assert from_dict(Outer, plain) == config


def test_numbers_yaml_reads_as_text():
    assert from_dict(Inner, {"rate": "1e-3"}).rate == 1e-3
    assert isinstance(from_dict(Inner, {"rate": 2}).rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "size": 1}, "Unknown configuration key 'size'; Outer has name, inner"),
        ({"name": "x", "many": [{}, {"rats": 1}]}, r"'many\[1\]\.rats'"),
        ({}, "'name' is missing"),
        ({"name": "x", "inner": [1]}, "'inner' must be a mapping"),
    ],
)
def test_mistakes_are_named_with_their_path(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Outer, values)
