"""Reading the settings of a run: a preset of the core, then a YAML file, then the command line.

A file names a ``preset`` and changes what it wants of it (``audio``, ``model``, ``flow``, ``clip``,
``sync``); the other sections are those of :class:`~.config.TrainConfig`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from wavflow_core.errors import ConfigError
from wavflow_core.media.files import atomic_path
from wavflow_core.presets import get_preset
from wavflow_core.strict import from_dict

from .config import TrainConfig


class _Loader(yaml.SafeLoader):
    """Plain YAML in which 1e-4 is a number, as in YAML 1.2 and JSON."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Let a program take ``config`` and ``overrides``, for :func:`load_config`."""
    parser.add_argument("config", type=Path, help="settings, see training/configs/")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.name=value", help="settings that change the file's"
    )


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file and change it by ``section.name=value`` from the command line.

    Raises:
        ConfigError: The file is missing or no YAML, or a setting is unknown or out of range; the
            nearest valid name is given.
    """
    try:
        settings = _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}.") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{str(path)!r} holds no settings; it needs sections such as 'data:'.")
    for override in overrides:
        _apply(settings, override)
    return build_config(settings)


def build_config(settings: Mapping[str, object]) -> TrainConfig:
    """A configuration from plain settings, on top of the preset that they name.

    Raises:
        ConfigError: See :func:`load_config`.
    """
    given = dict(settings)
    preset = given.pop("preset", "medium_16k")
    if not isinstance(preset, str):
        raise ConfigError(f"preset is {preset!r}; it must be the name of one.")
    return from_dict(TrainConfig, _merge(get_preset(preset).to_dict(), given))


def dump_config(config: TrainConfig) -> str:
    """The configuration as YAML, with every setting."""

    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return yaml.safe_dump(plain(config.to_dict()), sort_keys=False)


def _apply(settings: dict[str, object], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, key = name.split(".")
    if not equals or not key:
        raise ConfigError(
            f"{override!r} is no setting; write section.name=value, for example optim.lr=2e-4."
        )
    place = settings
    for section in sections:
        inner = place.get(section)
        place[section] = place = dict(inner) if isinstance(inner, Mapping) else {}
    place[key] = _parse(text, override)


def _parse(text: str, name: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain values alone
    except yaml.YAMLError as error:
        raise ConfigError(f"{name!r} is no YAML: {' '.join(str(error).split())}.") from error


def _merge(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = _merge(inner, value)
        merged[key] = value
    return merged


def write_config(config: TrainConfig, path: Path) -> None:
    """Write all settings to a file, whole or not at all.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(dump_config(config), encoding="utf-8")
