"""Configuration dataclasses from plain dictionaries, in which nothing unknown is passed over."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping

from .errors import ConfigError

ConfigT = typing.TypeVar("ConfigT")


def from_dict(cls: type[ConfigT], data: Mapping[str, object]) -> ConfigT:
    """Build a configuration dataclass, nested ones included, from plain dictionaries.

    Raises:
        ConfigError: A key is unknown (the nearest valid ones are named), a required one is
            missing, or a value has the wrong type or range.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{cls.__name__} needs a mapping of settings, got {data!r}.")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in data.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"{cls.__name__} has no setting {key!r}.{hint} Valid: {', '.join(hints)}."
            )
        values[key] = _convert(f"{cls.__name__}.{key}", hints[key], value)
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} is incomplete: {error}.") from None


def _convert(name: str, expected: object, value: object) -> object:
    """Check a value against an annotation; integers are welcome where a float is expected."""
    if isinstance(expected, types.UnionType):
        if value is None:
            return None
        expected = next(item for item in typing.get_args(expected) if item is not type(None))
    if typing.get_origin(expected) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name} is {value!r}; it must be a list, as in [{value}].")
        kind = typing.get_args(expected)[0]
        return tuple(_convert(f"{name}[{i}]", kind, item) for i, item in enumerate(value))
    assert isinstance(expected, type)
    if dataclasses.is_dataclass(expected):
        return from_dict(expected, value)  # pyright: ignore[reportArgumentType]
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"{name} is {value!r}; it must be {expected.__name__}.")
    return value
