"""Every setting that a checkpoint, a sampler or a training run can have."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .errors import ConfigError
from .strict import from_dict

CLIP_FPS = 8
SYNC_FPS = 25
SEGMENT_FRAMES = 16
SEGMENT_HOP = 8
SEGMENT_TOKENS = 8
MAX_DURATION = 600.0
SHIFTS = (0.01, 100.0)  # beyond, times near 0 or 1 fall together and a step has no length

NORMALIZATIONS: dict[str, tuple[float, float]] = {
    # name: (target RMS, amplitude lift); both give unit variance beside unit noise.
    "reference": (0.33, 3.0),
    "unclipped": (0.1, 10.0),
}
PREDICTIONS = ("x", "v")
LOSSES = ("x", "v")
SOLVERS = ("euler", "heun", "midpoint", "ab2", "dpmpp_2m", "adaptive")


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}; allowed: {allowed}.")


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(math.isfinite(value) and value > 0, name, value, "a number above 0")


def _within(config: object, name: str, low: float, high: float) -> None:
    value = getattr(config, name)
    _require(low <= value <= high, name, value, f"{low:g} to {high:g}")


def _one_of(config: object, name: str, allowed: Collection[str]) -> None:
    value = getattr(config, name)
    _require(value in allowed, name, value, ", ".join(allowed))


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioConfig:
    """How a waveform becomes tokens.

    Attributes:
        sample_rate: Hz of the waveform that the model makes.
        window: Seconds of the clips trained on, and the default duration.
        normalization: ``reference`` (RMS 0.33, clipped at 1, lift 3; WavFlow Eq. 4) or
            ``unclipped`` (RMS 0.1, lift 10), which keeps the crest of percussive sounds.
    """

    sample_rate: int = 16000
    window: float = 8.0
    normalization: str = "reference"

    def __post_init__(self) -> None:
        _positive(self, "sample_rate", "window")
        _one_of(self, "normalization", NORMALIZATIONS)

    @property
    def target_rms(self) -> float:
        """RMS of the normalised waveform before the lift."""
        return NORMALIZATIONS[self.normalization][0]

    @property
    def amplitude_scale(self) -> float:
        """Factor from the normalised waveform to token values."""
        return NORMALIZATIONS[self.normalization][1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Widths and depths of the transformer; token counts follow from the duration instead.

    Attributes:
        patch_size: Waveform samples per token (P).
        clip_dim: Width of a CLIP image embedding.
        sync_dim: Width of a Synchformer token.
        text_dim: Width of a CLIP text token.
        hidden_dim: Width D of every stream.
        depth: Joint and fused blocks together.
        fused_depth: Blocks at the end that see audio alone.
        num_heads: Attention heads H; D / H must be even for the rotary embedding.
        mlp_ratio: Inner width of the gated MLPs, before the 2/3 rule.
        text_tokens: Text tokens L, the shape of the stored empty caption.
        token_rate: Audio tokens per second, by which each takes the Synchformer token of its own
            moment. None: these are stretched evenly over the sound, as in the published system,
            which moves what they tell by up to 0.3 s.
        sync_parts: Parts of a Synchformer token's 80 ms that audio tokens can tell apart, by an
            embedding for each. 1: none, as in the published system. More needs ``token_rate``.
        filter_windows: Samples, at least two patches, of the windows in which Wiener filters, one
            after another, refine the clean estimate, which the prediction must be. None in the
            published system.
    """

    patch_size: int = 200
    clip_dim: int = 1024
    sync_dim: int = 768
    text_dim: int = 1024
    hidden_dim: int = 896
    depth: int = 12
    fused_depth: int = 8
    num_heads: int = 14
    mlp_ratio: float = 4.0
    text_tokens: int = 77
    token_rate: float | None = None
    sync_parts: int = 1
    filter_windows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        optional = {"fused_depth", "filter_windows"}
        if self.token_rate is None:
            optional.add("token_rate")
        names = [item.name for item in dataclasses.fields(self) if item.name not in optional]
        _positive(self, *names)
        _require(
            0 <= self.fused_depth < self.depth,
            "fused_depth",
            self.fused_depth,
            f"0 to depth - 1 = {self.depth - 1} (at least one joint block reads the conditions)",
        )
        _require(
            self.hidden_dim % (2 * self.num_heads) == 0,
            "num_heads",
            self.num_heads,
            f"a number whose double divides hidden_dim = {self.hidden_dim}",
        )
        fits = self.sync_parts == 1 or self.token_rate is not None
        _require(fits, "sync_parts", self.sync_parts, "1, unless token_rate is given")
        windows, least = self.filter_windows, 2 * self.patch_size
        fits = all(window >= least for window in windows)
        _require(fits, "filter_windows", windows, f"each at least two patches ({least})")

    @property
    def joint_depth(self) -> int:
        """Blocks in which audio, picture and text attend to one another."""
        return self.depth - self.fused_depth

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        """Inner width of the gated MLPs: two thirds of the ratio, rounded up to 256."""
        return 256 * math.ceil(int(2 * self.mlp_ratio * self.hidden_dim / 3) / 256)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig:
    """The path between noise (t = 0) and data (t = 1), and how it is trained.

    Attributes:
        prediction: What the network's output is: clean data ``x`` or velocity ``v``.
        loss: The space of the squared error, ``x`` or ``v``.
        min_sigma: Noise left at t = 1.
        noise_scale: Standard deviation of the noise.
        noise_shift: Time shift k; above 1 spends more of t near the noise.
        time_mean: Mean of logit(t) in training.
        time_scale: Standard deviation of logit(t) in training.
        loss_clamp: Smallest 1 - t by which a velocity loss divides.
        cfg_end: Time from which on samples of these weights are best not guided.
    """

    prediction: str = "x"
    loss: str = "v"
    min_sigma: float = 0.0
    noise_scale: float = 1.0
    noise_shift: float = 1.0
    time_mean: float = 0.0
    time_scale: float = 1.0
    loss_clamp: float = 0.05
    cfg_end: float = 1.0

    def __post_init__(self) -> None:
        _one_of(self, "prediction", PREDICTIONS)
        _one_of(self, "loss", LOSSES)
        _require(0 <= self.min_sigma < 1, "min_sigma", self.min_sigma, "0 to below 1")
        _require(math.isfinite(self.time_mean), "time_mean", self.time_mean, "a finite number")
        _positive(self, "noise_scale", "time_scale", "loss_clamp")
        _within(self, "noise_shift", *SHIFTS)
        _within(self, "cfg_end", 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """Which encoder made, or must make, the features.

    Attributes:
        architecture: Name of the encoder's architecture.
        fingerprint: Hash of its weights, equal for fp32 and fp16 copies in any file format; None
            when any weights of that architecture are accepted.
    """

    architecture: str
    fingerprint: str | None = None

    def accepts(self, other: EncoderConfig) -> bool:
        """Whether features of ``other`` may be given where this encoder is expected."""
        known = self.fingerprint is not None and other.fingerprint is not None
        same_weights = not known or self.fingerprint == other.fingerprint
        return self.architecture == other.architecture and same_weights

    def __str__(self) -> str:
        return self.architecture + (f" ({self.fingerprint})" if self.fingerprint else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceLengths:
    """How many samples, tokens and frames a duration needs.

    Attributes:
        samples: Waveform samples.
        tokens: Audio tokens N = ceil(samples / P).
        clip_frames: CLIP frames T_c at 8 per second.
        sync_frames: Video frames read at 25 per second.
        sync_tokens: Synchformer tokens T_s, 8 for each segment of 16 frames with hop 8.
    """

    samples: int
    tokens: int
    clip_frames: int
    sync_frames: int
    sync_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WavFlowConfig:
    """Everything a checkpoint must say about itself so that it can be used."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    clip: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(architecture="ViT-H-14-378-quickgelu")
    )
    sync: EncoderConfig = field(default_factory=lambda: EncoderConfig(architecture="synchformer"))

    def __post_init__(self) -> None:
        rate = self.audio.sample_rate / self.model.patch_size
        given = self.model.token_rate
        fits = given is None or math.isclose(given, rate)
        _require(fits, "token_rate", given, f"{rate:g} (sample_rate / patch_size), or none")
        clean = not self.model.filter_windows or self.flow.prediction == "x"
        _require(clean, "prediction", self.flow.prediction, "x, where filter_windows are given")

    def lengths(self, duration: float) -> SequenceLengths:
        """Sequence lengths for a duration in seconds.

        Clips shorter than one Synchformer segment (0.64 s) are read as one whole segment.

        Raises:
            ConfigError: The duration is not a number above 0 and at most 600 s, or is shorter
                than one sample.
        """
        samples = num_samples(duration, self.audio.sample_rate)
        clip_frames, sync_frames = frame_counts(duration)
        return SequenceLengths(
            samples=samples,
            tokens=math.ceil(samples / self.model.patch_size),
            clip_frames=clip_frames,
            sync_frames=sync_frames,
            sync_tokens=SEGMENT_TOKENS * num_segments(sync_frames),
        )

    def to_dict(self) -> dict[str, object]:
        """Plain nested dictionaries, the inverse of :meth:`from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> WavFlowConfig:
        """Read a configuration strictly.

        Raises:
            ConfigError: A key is unknown or a value is of the wrong type or out of range.
        """
        return from_dict(cls, data)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How the flow is integrated.

    Attributes:
        solver: One of ``euler``, ``heun``, ``midpoint``, ``ab2``, ``dpmpp_2m``, ``adaptive``.
        steps: Intervals between t = 0 and t = 1; ``heun`` and ``midpoint`` evaluate the network
            twice in each, ``adaptive`` chooses its own.
        cfg: Guidance strength; at 1 or below the unconditional pass is left out.
        cfg_end: Time from which on it is left out, too (arXiv 2404.07724); None: the checkpoint's.
        noise_shift: Time shift of the steps; None takes the one trained with.
        rtol: Relative tolerance of ``adaptive``.
        atol: Absolute tolerance of ``adaptive``.
    """

    solver: str = "euler"
    steps: int = 50
    cfg: float = 4.5
    cfg_end: float | None = None
    noise_shift: float | None = None
    rtol: float = 1e-3
    atol: float = 1e-4

    def __post_init__(self) -> None:
        _one_of(self, "solver", SOLVERS)
        _within(self, "steps", 1, 10000)
        _within(self, "cfg", 0, 100)
        for name, bounds in (("cfg_end", (0, 1)), ("noise_shift", SHIFTS)):
            if getattr(self, name) is not None:
                _within(self, name, *bounds)
        _positive(self, "rtol", "atol")


def num_samples(duration: float, sample_rate: int) -> int:
    """Waveform samples of a duration in seconds, to the nearest sample.

    Raises:
        ConfigError: The duration is not a number above 0 and at most 600 s, or is shorter than
            one sample.
    """
    fits = math.isfinite(duration) and 0 < duration <= MAX_DURATION
    _require(fits, "duration", duration, f"seconds above 0, at most {MAX_DURATION:g}")
    samples = round(sample_rate * duration)
    _require(samples > 0, "duration", duration, f"at least one sample at {sample_rate} Hz")
    return samples


def num_segments(frames: int) -> int:
    """Whole segments of 16 frames with hop 8 in a number of frames."""
    return (frames - SEGMENT_FRAMES) // SEGMENT_HOP + 1


def frame_counts(duration: float) -> tuple[int, int]:
    """Frames at 8 and at 25 per second that a duration in seconds needs, at least one segment."""
    slack = 1e-6  # 0.29 s * 100 is 28.999... in binary
    return (
        max(1, math.floor(CLIP_FPS * duration + slack)),
        max(SEGMENT_FRAMES, math.floor(SYNC_FPS * duration + slack)),
    )
