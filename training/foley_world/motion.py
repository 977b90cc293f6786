"""From a scene to all that happens in it."""

from __future__ import annotations

from dataclasses import replace

from .choreography import planned_events
from .description import Scene
from .events import Event, Motion, Track
from .modal import object_modes, strongest
from .physics import bounce, roll


def simulate(scene: Scene) -> Motion:
    """Move everything, and find out when what sounds.

    Contacts of bodies come from pymunk, exact to a millisecond; the rest follows its cues. What
    cannot be heard is no event: see :mod:`.physics`.
    """
    events: list[Event] = []
    tracks: list[Track] = []
    for index, actor in enumerate(scene.actors):
        action = actor.sound_class.action
        if action in ("bounce", "roll"):
            found, moved = (bounce if action == "bounce" else roll)(scene, index)
            tracks += moved
        else:
            found = planned_events(scene, index)
        if actor.sound_class.modes != "none":
            modes = object_modes(scene, index)
            found = [replace(event, pitch=strongest(modes, scene, event)) for event in found]
        events += [event for event in found if event.time < scene.seconds]
    return Motion(events=sorted(events, key=lambda event: event.time), tracks=tracks)
