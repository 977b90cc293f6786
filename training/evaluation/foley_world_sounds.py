"""Making the sounds that are judged: features once, many clips in a batch, files that stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path

import torch
from tqdm import tqdm

from wavflow_core.conditions import build_conditions, check_encoders
from wavflow_core.config import SamplerConfig
from wavflow_core.encoding import Encoders
from wavflow_core.features.store import Features, load_features, save_features
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.media.files import atomic_path, is_file, make_folder
from wavflow_core.media.video import open_video
from wavflow_core.model import Conditions
from wavflow_core.model.patchify import to_waveform
from wavflow_core.pipeline import LoadedModel, finish
from wavflow_core.sampler import draw_noise, guide, sample

from ..foley_world.clip import JSON
from ..precision import multiplying
from .foley_world_tasks import Case, Shown, show

VERSION = 1  # of how sounds are made; another one makes them again


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """How sounds are made.

    Attributes:
        checkpoint: SHA-256 of the checkpoint's file.
        clip: SHA-256 of the CLIP encoder's file.
        synchformer: SHA-256 of the Synchformer's file.
        sampler: Solver, steps and guidance.
        seed: Of the first clip's noise; the others count up.
        clips: How the clips are made.
        weights: Which of the checkpoint's weights, ``live`` or an average.
        precision: Type that the network computes in.
        matrices: Type in which it multiplies matrices.
    """

    checkpoint: str
    clip: str
    synchformer: str
    sampler: SamplerConfig
    seed: int
    clips: dict[str, JSON]
    weights: str
    precision: str
    matrices: str

    @property
    def seconds(self) -> float:
        """Of each sound."""
        return float(str(self.clips["seconds"]))

    @property
    def key(self) -> str:
        """A name that no other settings have."""
        return _key(asdict(self))


class Maker:
    """Makes sounds with a model, or finds those that were made before.

    Args:
        model: The network.
        encoders: What turns videos and captions into features.
        making: How; decides about what is made anew.
        folder: Keeps features and sounds.
        batch_size: Clips sampled at once; results depend on it by rounding alone.
    """

    def __init__(
        self,
        model: LoadedModel,
        encoders: Encoders,
        making: Making,
        folder: Path,
        *,
        batch_size: int,
    ) -> None:
        self.model, self.encoders, self.making = model, encoders, making
        self.batch_size = batch_size
        seen = (making.clip, making.synchformer, making.clips, making.precision)
        self._features = folder / "features" / _key(seen)
        self._sounds = folder / "sounds" / making.key
        self._texts: dict[tuple[str, str], Features] = {}

    def make(self, task: str, cases: Sequence[Case]) -> dict[str, Path]:
        """Make the sounds of a task that are not there yet.

        Noise follows from the clip's number alone, so that tasks differ by what is shown.

        Returns:
            Files by the ids of the cases; those that the task does not apply to are left out.

        Raises:
            WavFlowError: A video cannot be read, the features do not fit the model, it gives
                undefined numbers, or a file cannot be written.
        """
        make_folder(self._sounds / task)
        self._describe()
        jobs = [(index, show(task, cases, index)) for index in range(len(cases))]
        wanted = [(index, shown) for index, shown in jobs if shown is not None]
        paths = {
            cases[n].id: self._sounds / task / f"{_name(cases[n], shown)}.wav"
            for n, shown in wanted
        }
        missing = [(n, shown) for n, shown in wanted if not is_file(paths[cases[n].id])]
        with tqdm(
            total=len(wanted), initial=len(wanted) - len(missing), desc=task, unit="sound"
        ) as bar:
            for first in range(0, len(missing), self.batch_size):
                batch = missing[first : first + self.batch_size]
                features = [self.features(shown) for _, shown in batch]
                seeds = [self.making.seed + index for index, _ in batch]
                with multiplying(self.model.device, self.making.matrices):
                    made = synthesize_batch(
                        self.model, features, sampler=self.making.sampler, seeds=seeds
                    )
                for (index, _), clip in zip(batch, made, strict=True):
                    # Whole 32-bit samples: at the model's own level they may pass full scale.
                    path = paths[cases[index].id]
                    write_audio(finish(clip, loudness=None), path, subtype="32f")
                    bar.update()
        return paths

    def features(self, shown: Shown) -> Features:
        """Features of what is shown; those of videos are kept in files, of captions in memory."""
        seen = None if shown.video is None else self._seen(shown.video)
        words = (shown.prompt, shown.negative_prompt)
        if not any(words):
            assert seen is not None
            return seen
        if words not in self._texts:
            self._texts[words] = self.encoders.extract(
                None,
                duration=self.making.seconds,
                prompt=shown.prompt,
                negative_prompt=shown.negative_prompt,
            )
        told = self._texts[words]
        if seen is None:
            return told
        return replace(seen, text=told.text, negative_text=told.negative_text)

    def _seen(self, case: Case) -> Features:
        path = self._features / f"{case.id}.safetensors"
        if is_file(path):
            return load_features(path)
        make_folder(self._features)
        found = self.encoders.extract(open_video(case.video), duration=self.making.seconds)
        save_features(found, path)
        return found

    def _describe(self) -> None:
        with atomic_path(self._sounds / "settings.json") as path:
            path.write_text(json.dumps(asdict(self.making), indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def synthesize_batch(
    model: LoadedModel,
    features: Sequence[Features],
    *,
    sampler: SamplerConfig,
    seeds: Sequence[int],
) -> list[AudioClip]:
    """Sample one sound for each of several clips, at the model's own level.

    Args:
        model: The network.
        features: Of clips of one duration.
        sampler: Solver, steps and guidance.
        seeds: Of the noise of each.

    Raises:
        FeatureError: The features are of other encoders, widths or durations.
        WavFlowError: The network gave undefined numbers.
    """
    config = model.config
    lengths = config.lengths(features[0].duration)
    pairs: list[tuple[Conditions, Conditions]] = []
    for item in features:
        check_encoders(item, config)
        pairs.append(
            build_conditions(model.model, item, lengths, device=model.device, dtype=model.dtype)
        )
    conditional = reduce(Conditions.join, [first for first, _ in pairs])
    unconditional = reduce(Conditions.join, [second for _, second in pairs])
    tokens = sample(
        guide(
            model.model,
            conditional,
            unconditional,
            flow=config.flow,
            sampler=sampler,
            dtype=model.dtype,
        ),
        draw_noise(seeds, lengths.tokens, config.model.patch_size).to(model.device),
        flow=config.flow,
        sampler=sampler,
    )
    waveforms = to_waveform(tokens.cpu(), config.audio, samples=lengths.samples)
    rate = config.audio.sample_rate
    return [AudioClip(waveform=row[None], sample_rate=rate) for row in waveforms]


def _name(case: Case, shown: Shown) -> str:
    """Of a case's sound: which other clip's video or caption is shown depends on their number."""
    if shown.video in (None, case) and shown.prompt in ("", case.caption):
        return case.id
    return f"{case.id}-{_key([shown.video and shown.video.id, shown.prompt])}"


def _key(content: object) -> str:
    text = json.dumps([VERSION, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
