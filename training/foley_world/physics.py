"""Bodies that fall, bounce, tumble and roll, moved by pymunk.

Every actor has a space of its own: its bodies hit the floor and one another, and two silent walls
keep them in their zone. A blow slower than ``AUDIBLE`` is neither heard nor an event, and the body
does not bounce from it: the next blow comes 2 v / g = 0.12 s after a bounce at that speed, so that
events of one body are as far apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pymunk

from .description import GRAVITY, Actor, Drop, Scene
from .events import Event, Track

STEP = 1e-3  # seconds
RECORD = 4  # steps between two records of where bodies are
AUDIBLE = 0.6  # metres per second at the contact
FULL = 4.6  # metres per second: a blow of strength 1
REFRACTORY = 0.045  # seconds in which a second contact of the same body belongs to the first
ROLLING = 0.12  # metres per second from which rolling is heard
GAP = 0.1  # seconds of stillness within which rolling goes on; when it turns it is still longer
TRACK_PIECES = 96
FLOOR, WALL, BODY = 1, 2, 3


@dataclass(slots=True)
class _Impacts:
    """What collisions of one actor's space have brought so far."""

    actor: Actor
    object: int
    floor_restitution: float
    now: float = 0.0
    events: list[Event] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)

    def touch(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: object) -> None:
        """A contact begins: bounce if it is fast enough, else stop dead and silent."""
        other, shape = arbiter.shapes
        contacts = arbiter.contact_point_set
        points = contacts.points
        if not points:
            return
        place = points[0].point_b
        body, struck = _body_of(shape), _body_of(other)
        relative = body.velocity_at_world_point(place)
        if struck.body_type == pymunk.Body.DYNAMIC:
            relative -= struck.velocity_at_world_point(place)
        speed = abs(float(relative.dot(contacts.normal)))
        if speed < AUDIBLE or other.collision_type == WALL:
            arbiter.restitution = 0.0
            return
        on_floor = other.collision_type == FLOOR
        if on_floor:
            arbiter.restitution = self.actor.sound_class.restitution * self.floor_restitution
        # The step ended a little inside: the contact was that much earlier. And pymunk changes
        # places before speeds, so that a fall runs half a step behind.
        depth = max(0.0, -float(points[0].distance))
        self.add(shape, self.now - min(depth / speed, STEP) - STEP / 2, speed, on_floor=on_floor)

    def press(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: object) -> None:
        """A contact goes on: a body with corners may slap down on another of them."""
        other, shape = arbiter.shapes
        if other.collision_type == WALL:
            return
        speed = float(arbiter.total_impulse.length) / float(_body_of(shape).mass)
        if speed > AUDIBLE:
            self.add(shape, self.now - STEP / 2, speed, on_floor=other.collision_type == FLOOR)

    def add(self, shape: pymunk.Shape, time: float, speed: float, *, on_floor: bool) -> None:
        """Note a blow, unless it belongs to the one just before."""
        body = _body_of(shape)
        if time - self.last.get(id(body), -1.0) < REFRACTORY:
            return
        self.last[id(body)] = time
        turn = (float(body.angle) / math.tau) % 1.0
        self.events.append(
            Event(
                time=max(0.0, time),
                kind=self.actor.kind,
                object=self.object,
                strength=min(1.0, speed / FULL),
                pitch=self.actor.pitch,
                place=turn,
                on_floor=on_floor,
            )
        )


def bounce(scene: Scene, index: int) -> tuple[list[Event], list[Track]]:
    """Let an actor's bodies fall and find out when they hit what."""
    actor = scene.actors[index]
    space = _space()
    _add_edges(space, actor, scene.top)
    impacts = _Impacts(actor=actor, object=index, floor_restitution=scene.ground.restitution)
    round_bodies = is_round(actor)
    for other in (FLOOR, WALL, BODY):
        space.on_collision(
            other, BODY, begin=impacts.touch, post_solve=None if round_bodies else impacts.press
        )
    bodies = [_body(actor, drop) for drop in actor.drops]
    waiting = sorted(zip(actor.drops, bodies, strict=True), key=lambda item: item[0].time)
    steps = _steps(scene.seconds)
    places = np.empty((steps // RECORD + 1, len(bodies), 3))
    for step in range(steps + 1):
        if step % RECORD == 0:
            places[step // RECORD] = [(*body.position, body.angle) for body in bodies]
            _resist(bodies, actor.size)
        while waiting and waiting[0][0].time <= step * STEP:
            drop, body = waiting.pop(0)
            _release(body, drop, late=step * STEP - drop.time)
            space.add(body, *body.shapes)
        impacts.now = (step + 1) * STEP
        space.step(STEP)
    times = np.arange(len(places)) * (RECORD * STEP)
    tracks = [
        Track(
            object=index,
            times=times,
            x=places[:, n, 0],
            y=places[:, n, 1],
            angle=places[:, n, 2],
            released=drop.time,
        )
        for n, drop in enumerate(actor.drops)
    ]
    return [event for event in impacts.events if event.time < scene.seconds], tracks


def roll(scene: Scene, index: int) -> tuple[list[Event], list[Track]]:
    """Let an actor's ball roll to and fro in its trough."""
    actor = scene.actors[index]
    space = _space()
    _add_trough(space, actor)
    radius = actor.size / 2
    body = _ball(radius, friction=1.0)
    cue = actor.cues[0]
    bend, reach, _ = trough(actor)
    # It starts high on one side, just on the track.
    side = -1.0 if actor.style < 0.5 else 1.0
    angle = side * (0.55 + 0.4 * cue.place) * math.asin((reach - radius) / (bend - radius))
    low = trough_height(actor)
    body.position = (
        actor.middle + (bend - radius) * math.sin(angle),
        low + bend - (bend - radius) * math.cos(angle),
    )
    steps = _steps(scene.seconds)
    places = np.empty((steps // RECORD + 1, 3))
    keep = 1 - 0.001 - 0.005 * (1 - cue.strength)  # rolling resistance
    released = False
    for step in range(steps + 1):
        if step % RECORD == 0:
            places[step // RECORD] = (*body.position, body.angle)
            body.velocity, body.angular_velocity = (
                body.velocity * keep,
                body.angular_velocity * keep,
            )
        if not released and cue.time <= step * STEP:
            space.add(body, *body.shapes)
            released = True
        space.step(STEP)
    track = Track(
        object=index,
        times=np.arange(len(places)) * (RECORD * STEP),
        x=places[:, 0],
        y=places[:, 1],
        angle=places[:, 2],
        released=cue.time,
    )
    speed = track_speed(track)
    return _rolling_events(actor, index, track, speed), [track]


def _body_of(shape: pymunk.Shape) -> pymunk.Body:
    assert shape.body is not None
    return shape.body


def is_round(actor: Actor) -> bool:
    """Whether its bodies are balls."""
    return actor.kind.endswith("_ball")


def trough(actor: Actor) -> tuple[float, float, float]:
    """Of the track of a rolling ball: radius of its bend, half its width, its depth, metres."""
    reach = 0.46 * actor.width
    bend = reach * (1.25 + 1.2 * actor.style)
    return bend, reach, bend - math.sqrt(bend**2 - reach**2)


def trough_height(actor: Actor) -> float:
    """Metres of the track's lowest point above the floor."""
    return 0.04 + 0.06 * actor.aspect


def track_speed(track: Track) -> np.ndarray:
    """(N,) metres per second at the records of a track."""
    step = track.times[1] - track.times[0]
    return np.hypot(np.gradient(track.x, step), np.gradient(track.y, step))


def _rolling_events(actor: Actor, index: int, track: Track, speed: np.ndarray) -> list[Event]:
    loud = np.flatnonzero(speed >= ROLLING)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(track.times[loud]) > GAP)
    starts = [loud[0], *loud[breaks + 1]]
    ends = [*loud[breaks], loud[-1]]
    return [
        Event(
            time=_crossing(track.times, speed, start),
            end=float(track.times[end]),
            kind=actor.kind,
            object=index,
            strength=float(min(1.0, speed[start : end + 1].max() / 2.0)),
            pitch=actor.pitch,
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def _crossing(times: np.ndarray, speed: np.ndarray, index: int) -> float:
    """Seconds at which the speed reaches what is heard, between two records."""
    if index == 0 or speed[index - 1] >= ROLLING:
        return float(times[index])
    part = (ROLLING - speed[index - 1]) / (speed[index] - speed[index - 1])
    return float(times[index - 1] + part * (times[index] - times[index - 1]))


def _space() -> pymunk.Space:
    space = pymunk.Space()
    space.gravity = (0.0, -GRAVITY)
    space.collision_slop = 2e-4  # metres; the default is made for pixels
    space.idle_speed_threshold = 0.04
    space.sleep_time_threshold = 0.25
    return space


def _steps(seconds: float) -> int:
    return math.ceil(round(seconds / STEP, 6) / RECORD) * RECORD


def _add_edges(space: pymunk.Space, actor: Actor, top: float) -> None:
    half, high = 0.5, 3 * top
    floor = pymunk.Segment(space.static_body, (-9, -half), (9, -half), half)
    floor.collision_type, floor.friction, floor.elasticity = FLOOR, 0.6, 1.0
    for x, way in ((actor.zone[0], -1), (actor.zone[1], 1)):
        wall = pymunk.Segment(space.static_body, (x + way * half, 0), (x + way * half, high), half)
        wall.collision_type, wall.friction, wall.elasticity = WALL, 0.1, 0.2
        space.add(wall)
    space.add(floor)


def _add_trough(space: pymunk.Space, actor: Actor) -> None:
    bend, reach, _ = trough(actor)
    widest = math.asin(reach / bend)
    thick = 0.02
    angles = np.linspace(-widest, widest, TRACK_PIECES + 1)
    x = actor.middle + (bend + thick) * np.sin(angles)
    y = trough_height(actor) + bend - (bend + thick) * np.cos(angles)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    for first, second in itertools.pairwise(points):
        piece = pymunk.Segment(space.static_body, first, second, thick)
        piece.friction, piece.elasticity = 1.0, 0.0
        space.add(piece)


def _body(actor: Actor, drop: Drop) -> pymunk.Body:
    if is_round(actor):
        body = _ball(actor.size / 2, friction=0.5)
        body.position = (drop.x, drop.height + actor.size / 2)
    else:
        width, height = box_sides(actor)
        mass = 1.0
        body = pymunk.Body(mass, pymunk.moment_for_box(mass, (width, height)))
        shape = pymunk.Poly.create_box(body, (width, height), radius=0.0)
        shape.friction = 0.5
        body.position = (drop.x, drop.height + math.hypot(width, height) / 2)
    body.angle = drop.tilt
    for shape in body.shapes:
        shape.collision_type = BODY
        shape.elasticity = math.sqrt(actor.sound_class.restitution)  # of two of them: the class's
    return body


def _release(body: pymunk.Body, drop: Drop, *, late: float) -> None:
    """Let go, some of a step ago: a fall is known without taking steps."""
    x, y = body.position
    body.position = x + drop.speed * late, y - GRAVITY / 2 * late**2
    body.velocity = drop.speed, -GRAVITY * late
    body.angular_velocity = drop.spin


def _ball(radius: float, *, friction: float) -> pymunk.Body:
    mass = 1.0
    body = pymunk.Body(mass, 0.4 * mass * radius**2)  # a solid ball's moment, not a disc's
    shape = pymunk.Circle(body, radius)
    shape.friction, shape.elasticity = friction, 0.0
    return body


def box_sides(actor: Actor) -> tuple[float, float]:
    """Width and height in metres of a body with corners; the longer one is its size."""
    narrow = 0.78 if actor.kind == "tin_can" else 1.0
    return actor.size * actor.aspect * narrow, actor.size


def _resist(bodies: Sequence[pymunk.Body], size: float) -> None:
    """Rolling resistance: what lies on the floor comes to rest."""
    for body in bodies:
        if body.position.y < 0.51 * size and body.space is not None:
            body.velocity = body.velocity.x * 0.99, body.velocity.y
            body.angular_velocity *= 0.99
