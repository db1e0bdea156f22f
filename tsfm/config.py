"""Frozen dataclasses to and from plain dictionaries; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeVar

import yaml

C = TypeVar("C")


def read_yaml(
    path: str | Path, what: str, folder: str, *, optional: bool = False
) -> dict[str, Any]:
    """Names and values of a YAML file; errors name the file.

    Parameters
    ----------
    path
        The file.
    what
        What it is, for error messages.
    folder
        Where the repository has files of its kind, for error messages.
    optional
        Whether there are defaults to do without the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, is not YAML, or holds something else than names and values.

    Examples
    --------
    >>> read_yaml("none.yaml", "recipe", "datasets")
    Traceback (most recent call last):
    FileNotFoundError: recipe none.yaml does not exist; look in datasets.
    """
    remedy = f"Correct it, or start from a copy of a file of {folder}."
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        instead = ", or leave it out for the defaults" if optional else ""
        raise FileNotFoundError(
            f"{what} {path} does not exist; look in {folder}{instead}."
        ) from None
    except OSError as error:
        raise ValueError(
            f"{what} {path} cannot be read: {error.strerror}; name a YAML file, such as those of "
            f"{folder}."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{what} {path} is no YAML: {' '.join(str(error).split())}. {remedy}"
        ) from None
    if not isinstance(values, dict):
        raise ValueError(
            f"{what} {path} must hold names and values, got {shortened(values)}. {remedy}"
        )
    return values


def to_dict(config: Any) -> dict[str, Any]:
    """Nested dictionary of a dataclass instance; tuples become lists, as in YAML and JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    plain_config: dict[str, Any] = plain(dataclasses.asdict(config))
    return plain_config


def by_dotted_key(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested dictionary by dotted key.

    Parameters
    ----------
    values
        Such as `to_dict` makes.
    prefix
        Put before every key.

    Examples
    --------
    >>> by_dotted_key({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves |= by_dotted_key(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


def from_dict(cls: type[C], values: dict[str, Any], where: str = "") -> C:
    """Build a (nested) dataclass from a dictionary.

    Parameters
    ----------
    cls
        The dataclass.
    values
        Its fields; nested dataclasses as dictionaries, tuples as lists.
    where
        Path of `values` in the whole configuration, for error messages.

    Raises
    ------
    ValueError
        If a key is unknown or a required one is missing; the message names it.

    Examples
    --------
    >>> from tsfm.models.config import BackboneConfig
    >>> from_dict(BackboneConfig, {"n_layers": 2}).n_layers
    2
    """
    hints = typing.get_type_hints(cls)
    dot = f"{where}." if where else ""
    if not isinstance(values, dict):
        raise ValueError(
            f"Configuration {where or cls.__name__!r} must be a mapping, got {values!r}."
        )
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"Unknown configuration key {dot + unknown[0]!r}; "
            f"{cls.__name__} has {', '.join(hints)}."
        )
    missing = [
        f.name
        for f in dataclasses.fields(typing.cast(Any, cls))
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in values
    ]
    if missing:
        raise ValueError(f"Configuration key {dot + missing[0]!r} is missing.")
    return cls(**{key: _build(hints[key], value, dot + key) for key, value in values.items()})


def _build(hint: Any, value: Any, where: str) -> Any:
    """Convert one plain value to the type a field declares."""
    if isinstance(value, dict):  # a dataclass or None
        parts = [part for part in typing.get_args(hint) if dataclasses.is_dataclass(part)]
        hint = parts[0] if len(parts) == 1 else hint
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else from_dict(hint, value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        item = typing.get_args(hint)[0]
        return tuple(_build(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    choices = _choices(hint)
    if choices and value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"Configuration key {where!r} must be one of {known}; got {value!r}.")
    if hint in (float, float | None) and isinstance(value, (int, str, bool)):
        if isinstance(value, bool):
            raise ValueError(f"Configuration key {where!r} must be a number; got {value!r}.")
        return float(value)  # YAML reads 1e-3 as a string
    return value


def _choices(hint: Any) -> tuple[Any, ...]:
    """All values of a `Literal`, or of one and None; empty for other types."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    found: tuple[Any, ...] = ()
    for part in typing.get_args(hint):
        of_part = (None,) if part is type(None) else _choices(part)
        if not of_part:
            return ()
        found += of_part
    return found
