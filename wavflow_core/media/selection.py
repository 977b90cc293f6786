"""Which input frame each output frame shows when the frame rate changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

FrameT = TypeVar("FrameT")


@dataclass(frozen=True, slots=True)
class TimedFrame(Generic[FrameT]):
    """A frame shown from ``time`` for ``duration`` seconds, both exact."""

    time: Fraction
    duration: Fraction
    frame: FrameT


def round_half_up(value: Fraction) -> int:
    """floor(value + 1/2) in integers."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def exact(seconds: float | Fraction) -> Fraction:
    """The decimal number that a float stands for: 2.1 s is 21/10 s, to a microsecond."""
    return Fraction(seconds).limit_denominator(1_000_000)


def select_frames(
    frames: Iterable[TimedFrame[FrameT]],
    rates: Sequence[tuple[int, int | None]],
    *,
    end: Fraction | None = None,
) -> Iterator[tuple[int, int, FrameT]]:
    """Choose frames for several constant rates in one pass over the input.

    Output n of a rate is the last input frame with floor(time * rate + 1/2) <= n, and there are
    floor(end * rate + 1/2) of them: what ffmpeg's ``fps`` filter does with its default rounding.
    Frames before time zero count as n <= 0, so that the last of them is output 0; a first frame
    that comes late is output 0 all the same. Memory: one input frame.

    Args:
        frames: Input frames in the order of their times; of two that round to the same output
            the later one is taken. Reading stops as soon as every rate has what it needs.
        rates: For each request the outputs per second and how many are wanted. With a number,
            exactly as many come, the last frame being held when the input ends early; None takes
            what the input has, at least one.
        end: Time at which to end the input; None reads to the end of its last frame.

    Yields:
        Index of the request, output number n from 0, and the frame. Each request's n ascend by
        one; equal frames follow one another.
    """
    done = [0] * len(rates)
    pending: TimedFrame[FrameT] | None = None

    def emit(index: int, until: int, frame: FrameT) -> Iterator[tuple[int, int, FrameT]]:
        limit = rates[index][1]
        until = until if limit is None else min(until, limit)
        while done[index] < until:
            done[index] += 1
            yield index, done[index] - 1, frame

    for item in frames:
        if end is not None and item.time >= end and pending is not None:
            break
        if pending is not None:
            for index, (rate, _) in enumerate(rates):
                yield from emit(index, round_half_up(item.time * rate), pending.frame)
            if all(
                limit is not None and n >= limit for n, (_, limit) in zip(done, rates, strict=True)
            ):
                return
        pending = item
    if pending is None:
        return
    last = pending.time + pending.duration
    last = last if end is None else min(last, end)
    _warn_if_held(last, rates)
    for index, (rate, limit) in enumerate(rates):
        count = max(1, round_half_up(last * rate)) if limit is None else limit
        yield from emit(index, count, pending.frame)


def _warn_if_held(last: Fraction, rates: Sequence[tuple[int, int | None]]) -> None:
    """Say how long the last frame stands still, when that is more than one output frame."""
    held = [
        Fraction(limit, rate) - last
        for rate, limit in rates
        if limit is not None and limit - round_half_up(last * rate) > 1
    ]
    if held:
        logger.warning(
            "The picture ends at %.2f s; its last frame is held for %.2f s more.",
            float(last),
            float(max(held)),
        )
