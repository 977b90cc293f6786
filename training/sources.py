"""Where the clips of a training come from: manifests and stores, and the encoders behind them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wavflow_core.batch import Failure
from wavflow_core.config import EncoderConfig
from wavflow_core.errors import ConfigError, FeatureError, WavFlowError
from wavflow_core.media.files import is_file

from .config import DataConfig, TrainConfig
from .failures import Failures
from .feature_store import FeatureReader
from .manifest import Row, read_manifest

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.csv"
# So many clips with pictures, and with captions, tell which encoders made the features.
LOOKED_AT = 16


def read_rows(
    sources: Sequence[str], *, max_failures: float, setting: str = "data.train"
) -> tuple[list[Row], Failures]:
    """Clips of manifests, or of folders that the extraction made, which have sound and features.

    Args:
        sources: Manifests or folders.
        max_failures: Share of the clips that may be unusable.
        setting: What named them, for messages.

    Raises:
        WavFlowError: A manifest cannot be read, too many of its clips cannot be used, or none can.
    """
    rows: list[Row] = []
    failed: list[Failure] = []
    seen: set[str] = set()
    files: dict[Path, bool] = {}
    for source in sources:
        found, broken = _read(source, setting)
        failed += broken
        for row in found:
            reason = _fault(row, seen, files)
            seen.add(row.id)
            if reason is None:
                rows.append(row)
            else:
                failed.append(Failure(name=row.id, reason=reason))
    failures = Failures(len(rows) + len(failed), share=max_failures)
    for failure in failed:
        failures.add(failure)
    if not rows:
        raise ConfigError(
            f"{setting} is {list(sources)!r}, in which no clip can be used; give manifests, or "
            "folders that `python -m training.extract_features` made."
        )
    return rows, failures


def read_training_rows(config: DataConfig) -> tuple[list[Row], Failures]:
    """The clips of ``data.train``, and behind them those of ``data.repeat`` once more.

    Raises:
        WavFlowError: See :func:`read_rows`, or a clip to repeat is not among those trained on.
    """
    rows, failures = read_rows(config.train, max_failures=config.max_failures)
    known = {row.id: row for row in rows}
    left_out = {failure.name for failure in failures.found}
    again: list[Row] = []
    for source in config.repeat:
        for row in _read(source, "data.repeat")[0]:
            if row.id not in known and row.id not in left_out:
                raise ConfigError(
                    f"data.repeat names {row.id!r} in {source!r}, which is not a clip of "
                    "data.train; give a manifest with some of its lines."
                )
            again += [known[row.id]] if row.id in known else []
    return rows + again, failures


def _read(source: str, setting: str) -> tuple[list[Row], list[Failure]]:
    """The rows of a manifest, or of that in a folder, and those that cannot be read."""
    path = Path(source)
    if path.is_dir():
        path /= MANIFEST_NAME
        if not is_file(path):
            raise ConfigError(
                f"{setting} names the folder {source!r}, which has no {MANIFEST_NAME}; give "
                "one that `python -m training.extract_features` made."
            )
    return read_manifest(path)


def _fault(row: Row, seen: set[str], files: dict[Path, bool]) -> str | None:
    """Why a clip cannot be trained on, as far as can be told without opening its files."""
    if row.id in seen:
        return "another manifest has a clip of the same id."
    if row.features is None:
        return "there are no features of it; extract them first."
    if row.features not in files:
        files[row.features] = is_file(row.features)
    if not files[row.features]:
        return f"its features {str(row.features)!r} do not exist; extract them again."
    if row.audio is None and row.video is None:
        return "there is no sound of it."
    return None


def adopt_encoders(config: TrainConfig, rows: Sequence[Row]) -> TrainConfig:
    """Follow the features: their encoders, weights and all, and their widths.

    Raises:
        FeatureError: No clip can be read.
    """
    reader = FeatureReader(duration=config.audio.window)
    reason = ""
    widths: dict[str, int] = {}
    encoders: dict[str, EncoderConfig] = {}
    seen = [row for row in rows if row.has_video][:LOOKED_AT]
    told = [row for row in rows if row.has_text][:LOOKED_AT]
    for row in {row.id: row for row in (*seen, *told)}.values():
        try:
            assert row.features is not None  # as read_rows has seen to
            features = reader.read(row.features, row.id)
        except (WavFlowError, OSError) as error:
            reason = f"{row.id}: {error}"
            continue
        for name, found in (("clip", features.clip), ("sync", features.sync)):
            if found is not None:
                widths.setdefault(f"{name}_dim", found.shape[1])
        if features.text is not None:
            widths.setdefault("text_tokens", features.text.shape[0])
            widths.setdefault("text_dim", features.text.shape[1])
        for name in ("clip", "sync"):
            encoder = getattr(features, f"{name}_encoder")
            if encoder is not None:
                encoders.setdefault(name, encoder)
    if not widths:
        raise FeatureError(f"The features of the first clips cannot be used. {reason}")
    adopted = replace(config, model=replace(config.model, **widths), **encoders)
    if adopted.model != config.model:
        logger.info(
            "The model's widths follow the features of %s and %s: %s.",
            *(adopted.clip, adopted.sync, ", ".join(f"{k} {v}" for k, v in widths.items())),
        )
    return adopted


def digest(rows: Sequence[Row]) -> str:
    """Which clips these are and in which order, in a few letters."""
    return hashlib.sha256("\n".join(row.id for row in rows).encode()).hexdigest()[:16]
