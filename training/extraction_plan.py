"""Which clip goes into which shard, decided once, and what the shards of a store have to say.

A store is a folder of ``plan.json``, ``shard-00000.safetensors`` and so on, ``manifest.csv`` with
all clips of the shards that are there, and ``failures.csv``. The plan only grows, and a shard is
there whole or not at all; so any run can go on where any other was stopped. While a run works, it
holds ``.lock``, and every rank notes what fails in ``.failures-00000.jsonl`` and so on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wavflow_core.batch import Failure
from wavflow_core.config import EncoderConfig
from wavflow_core.errors import FeatureError, WavFlowError
from wavflow_core.media.files import is_file, left_over
from wavflow_core.strict import from_dict

from .empty_text import NAME as EMPTY_TEXT
from .failures import read_notes, write_failures
from .feature_store import Settings, ShardInfo, read_shard_info
from .lock import only_run_in
from .manifest import Row, write_changed, write_manifest

logger = logging.getLogger(__name__)

FORMAT = "wavflow.extraction_plan"
VERSION = 1
PLAN, MANIFEST, FAILURES = "plan.json", "manifest.csv", "failures.csv"
# What a run writes to a store, and what it notes there while it works.
NAMES = (PLAN, MANIFEST, FAILURES, EMPTY_TEXT)
WRITTEN = re.compile("|".join((r"shard-\d{5,}\.safetensors", *map(re.escape, NAMES))))
NOTES = re.compile(r"\.failures-\d{5,}\.jsonl")
# A row whose values of these names changed would get other features.
DECISIVE = ("caption", "start", "duration", "has_video", "has_text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a store shall hold.

    Attributes:
        settings: What all its features have in common.
        shards: Ids of the clips of each shard, in order.
    """

    settings: Settings
    shards: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What the finished shards of a store hold.

    Attributes:
        rows: The clips, with ``features`` naming their shard.
        failures: The clips that could not be encoded, by id.
        finished: Numbers of the shards that are there.
        changed: Clips whose row in the manifest would give other features now.
    """

    rows: Mapping[str, Row]
    failures: Mapping[str, Failure]
    finished: frozenset[int]
    changed: tuple[str, ...] = ()


@contextlib.contextmanager
def hold(store: Path) -> Iterator[None]:
    """Make the folder, and hold it so that no other run writes its index.

    Raises:
        WavFlowError: It cannot be written, or another run holds it, which is named.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WavFlowError(f"Cannot write to {str(store)!r}: {error.strerror}.") from error
    with only_run_in(store):
        yield


def shard_path(store: Path, number: int) -> Path:
    """The file of a shard."""
    return store / f"shard-{number:05d}.safetensors"


def notes_path(store: Path, rank: int) -> Path:
    """The file in which a rank notes what fails."""
    return store / f".failures-{rank:05d}.jsonl"


def noted_failures(store: Path) -> list[Failure]:
    """What all ranks have noted so far."""
    return [item for path in _notes(store) for item in read_notes(path)]


def remove_notes(store: Path) -> None:
    """Delete the notes, when what they say stands in the table."""
    for path in _notes(store):
        with contextlib.suppress(OSError):  # a rank that still writes; the next run deletes it
            path.unlink()


def _notes(store: Path) -> list[Path]:
    return sorted(store.glob(".failures-*.jsonl"))


def read_plan(store: Path) -> Plan | None:
    """The plan of a store, or None where there is none yet.

    Raises:
        FeatureError: It cannot be read, or there are shards without a plan.
    """
    path = store / PLAN
    if not is_file(path):
        if store.is_dir() and any(store.glob("shard-*.safetensors")):
            raise FeatureError(
                f"{str(store)!r} holds shards without their {PLAN}; put it back, or give another "
                "folder."
            )
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"] if content["format"] == FORMAT else "unknown"
        if version == VERSION:
            return Plan(
                settings=from_dict(Settings, content["settings"]),
                shards=tuple(tuple(map(str, ids)) for ids in content["shards"]),
            )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise FeatureError(
            f"{str(path)!r} cannot be read as a plan ({error!r}); give another folder."
        ) from error
    raise FeatureError(
        f"{str(path)!r} has version {version!r} and this WavFlow reads {VERSION}; extract into "
        "another folder or update WavFlow."
    )


def write_plan(plan: Plan, store: Path) -> None:
    """Write a plan, whole or not at all, unless it is written already.

    Raises:
        MediaError: The store cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "settings": dataclasses.asdict(plan.settings),
        "shards": plan.shards,
    }
    write_changed(store / PLAN, json.dumps(content))


def extend(
    plan: Plan, rows: Sequence[Row], index: Index, *, shard_size: int, retry_failed: bool = False
) -> Plan:
    """Append shards for the clips that have no place yet; the shards that there are stay.

    Args:
        plan: The plan so far.
        rows: The manifest.
        index: What the store holds.
        shard_size: Clips of a new shard.
        retry_failed: Give clips that failed another place, unless they wait in one already.

    Raises:
        FeatureError: The size is not above 0.
    """
    if shard_size < 1:
        raise FeatureError(f"--shard-size is {shard_size}; give 1 or more.")
    shards = enumerate(plan.shards)
    planned = {id for number, ids in shards if number not in index.finished for id in ids}
    planned |= index.rows.keys()
    if not retry_failed:
        planned |= index.failures.keys()
    new = [row.id for row in rows if row.id not in planned]
    shards = [tuple(new[first : first + shard_size]) for first in range(0, len(new), shard_size)]
    return replace(plan, shards=(*plan.shards, *shards))


def unfinished(plan: Plan, rows: Sequence[Row], index: Index) -> list[int]:
    """Numbers of the shards to make: not there, and at least one clip is in the manifest."""
    known = {row.id for row in rows}
    return [
        number
        for number, ids in enumerate(plan.shards)
        if number not in index.finished and not known.isdisjoint(ids)
    ]


def merge_settings(stored: Settings, given: Settings, store: Path) -> Settings:
    """The settings of a store, with the encoders it did not need before.

    Raises:
        FeatureError: They contradict those given.
    """
    for item in dataclasses.fields(Settings):
        old, new = getattr(stored, item.name), getattr(given, item.name)
        if old is not None and new is not None and old != new:
            raise FeatureError(
                f"{str(store)!r} was made with {item.name} {old}, and this run has {new}; give "
                "the same, or another folder."
            )
    return replace(
        stored,
        clip_encoder=stored.clip_encoder or given.clip_encoder,
        sync_encoder=stored.sync_encoder or given.sync_encoder,
    )


def with_encoders(
    plan: Plan, store: Path, *, clip: EncoderConfig | None, sync: EncoderConfig | None
) -> Plan:
    """The plan with the encoders named.

    Raises:
        FeatureError: The store was made with others.
    """
    given = replace(plan.settings, clip_encoder=clip, sync_encoder=sync)
    return replace(plan, settings=merge_settings(plan.settings, given, store))


def read_index(store: Path, plan: Plan, rows: Iterable[Row] = ()) -> Index:
    """What the finished shards hold; of a clip in several the last counts.

    Args:
        store: The folder.
        plan: Its plan.
        rows: The manifest; where it has a clip, it says where the files of the clip are now.

    Raises:
        FeatureError: A shard is damaged.
    """
    now = {row.id: row for row in rows}
    found: dict[str, Row] = {}
    failures: dict[str, Failure] = {}
    finished: set[int] = set()
    changed: list[str] = []
    for number in range(len(plan.shards)):
        path = shard_path(store, number)
        if not is_file(path):
            continue
        finished.add(number)
        info = read_shard_info(path)
        for row in info.rows:
            current = now.get(row.id, row)
            if any(getattr(row, name) != getattr(current, name) for name in DECISIVE):
                changed.append(row.id)
            failures.pop(row.id, None)
            found[row.id] = _indexed(row, current, info, path)
        failures.update({item.name: item for item in info.failures if item.name not in found})
    return Index(
        rows=found, failures=failures, finished=frozenset(finished), changed=tuple(changed)
    )


def with_failures(index: Index, failures: Iterable[Failure]) -> Index:
    """The index with failures of shards that are not finished."""
    more = {item.name: item for item in failures if item.name not in index.rows}
    return replace(index, failures={**index.failures, **more})


def _indexed(row: Row, current: Row, info: ShardInfo, path: Path) -> Row:
    return replace(
        row,
        video=current.video,
        audio=current.audio,
        features=path,
        has_video=has_picture(row),
        has_text=has_caption(row),
    )


def has_picture(row: Row) -> bool:
    """Whether pictures of the clip are to be encoded."""
    return row.has_video and row.video is not None


def has_caption(row: Row) -> bool:
    """Whether a caption of the clip is to be encoded."""
    return row.has_text and bool(row.caption.strip())


def warn_of_changes(index: Index) -> None:
    """Say which clips the manifest describes otherwise than when they were encoded."""
    if index.changed:
        logger.warning(
            "%d clips are not what they were when they were encoded, and keep their features: "
            "%s ... Extract into another folder to encode them again.",
            *(len(index.changed), ", ".join(index.changed[:3])),
        )


def write_index(index: Index, store: Path) -> None:
    """Write the table of all clips that have features, and that of the failures, where changed.

    Raises:
        MediaError: The store cannot be written.
    """
    write_manifest(index.rows.values(), store / MANIFEST)
    write_failures(index.failures.values(), store / FAILURES)


def conclude(store: Path, plan: Plan, rows: Sequence[Row]) -> Index:
    """Write what the store holds now, with failures of shards that were not finished; say it.

    Raises:
        WavFlowError: A shard is damaged, or the store cannot be written.
    """
    index = read_index(store, plan, rows)
    index = with_failures(index, noted_failures(store))
    write_index(index, store)
    remove_notes(store)
    held = index.rows.values()
    seen, told = sum(row.has_video for row in held), sum(row.has_text for row in held)
    logger.info(
        "%s holds %d clips in %d shards: %d with video, %d with a caption; %d failed%s.",
        *(store, len(held), len(index.finished), seen, told, len(index.failures)),
        f", see {store / FAILURES}" if index.failures else "",
    )
    return index


def remove_stale(store: Path) -> None:
    """Delete what runs that were killed left half written; nothing else may run on the store."""
    notes = [path for path in store.iterdir() if NOTES.fullmatch(path.name)]
    for path in (*left_over(store, WRITTEN), *notes):
        path.unlink(missing_ok=True)
