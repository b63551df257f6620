"""Seeded pictures of sensors: homes, plants, server rooms, vehicles, weather, energy, machines.

A name belongs to exactly one of the splits by a checksum of its place or device, so that the splits
share no sensor name whatever the seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal
from zlib import crc32

from edgespike.sensing.picture import ChannelView, LimitState, Picture, Trend

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is measured: its names, units, range of values and usual decimals."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: float
    high: float
    decimals: tuple[int, ...]


QUANTITIES = (
    Quantity(
        ("temperature", "temp", "air temperature", "water temperature"),
        ("°C",),
        -25,
        95,
        (1, 1, 2, 0),
    ),
    Quantity(("temperature", "surface temperature"), ("°F",), -10, 210, (1, 0)),
    Quantity(("humidity", "relative humidity"), ("%",), 5, 99, (0, 1, 2)),
    Quantity(("pressure", "line pressure"), ("bar",), 0.2, 16, (1, 2)),
    Quantity(("pressure", "air pressure"), ("hPa",), 960, 1050, (0, 1, 2)),
    Quantity(("pressure", "differential pressure"), ("kPa", "Pa"), 1, 900, (0, 1)),
    Quantity(("power", "active power", "load"), ("W",), 0, 4500, (0, 1, 2)),
    Quantity(("power", "solar power"), ("kW",), 0, 90, (1, 2, 3)),
    Quantity(("energy", "energy today", "total energy"), ("kWh",), 0, 9000, (1, 2, 3)),
    Quantity(("voltage", "supply voltage"), ("V",), 1, 420, (0, 1, 2)),
    Quantity(("battery voltage",), ("mV",), 1800, 4300, (0,)),
    Quantity(("current",), ("A",), 0, 64, (1, 2, 3)),
    Quantity(("battery", "battery level", "charge"), ("%",), 1, 100, (0,)),
    Quantity(("CO2", "co2", "carbon dioxide"), ("ppm",), 390, 2600, (0,)),
    Quantity(("pm25", "PM2.5", "dust"), ("µg/m³",), 0, 180, (0, 1)),
    Quantity(("illuminance", "brightness", "light level"), ("lx",), 0, 40000, (0, 0, 1)),
    Quantity(("flow", "flow rate", "water flow"), ("l/min", "m³/h", "L/min"), 0, 250, (0, 1, 2)),
    Quantity(("level", "fill level", "tank level"), ("%", "cm", "m"), 0, 300, (0, 1)),
    Quantity(("speed", "fan speed", "motor speed"), ("rpm",), 0, 6000, (0,)),
    Quantity(("wind speed", "speed"), ("m/s", "km/h"), 0, 130, (0, 1)),
    Quantity(("vibration",), ("mm/s",), 0, 28, (1, 2)),
    Quantity(("moisture", "soil moisture"), ("%",), 2, 90, (0, 1)),
    Quantity(("noise", "sound level"), ("dB",), 20, 120, (0, 1)),
    Quantity(("rain", "rainfall"), ("mm",), 0, 80, (1,)),
    Quantity(("frequency",), ("Hz",), 49, 61, (1, 2)),
    Quantity(("signal", "rssi"), ("dBm",), -110, -30, (0,)),
    Quantity(("link quality", "linkquality"), ("",), 0, 255, (0,)),
    Quantity(("ph", "pH"), ("",), 3, 11, (1, 2)),
    Quantity(("cpu load", "disk usage", "memory usage"), ("%",), 0, 100, (0, 1)),
    Quantity(("position", "valve position"), ("%",), 0, 100, (0,)),
    Quantity(("distance",), ("mm", "cm", "m"), 0, 4000, (0, 1)),
    Quantity(("torque",), ("Nm",), 0, 400, (0, 1)),
    Quantity(("weight",), ("kg",), 0, 1200, (0, 1, 2)),
    Quantity(("count", "people", "packets"), ("",), 0, 5000, (0,)),
)

STATES = (
    (("door", "gate", "window", "hatch", "contact", "valve", "lid"), ("open", "closed")),
    (("light", "lamp", "relay", "switch", "plug", "fan", "heater", "pump", "siren"), ("on", "off")),
    (("lock", "door lock"), ("locked", "unlocked")),
    (("motion", "presence", "occupancy"), ("motion", "clear")),
    (("leak", "water leak", "smoke"), ("wet", "dry")),
    (("mode", "state"), ("idle", "running", "fault", "auto", "manual", "standby")),
    (("link", "network"), ("online", "offline")),
)

PLACES = """kitchen|living room|bedroom|bathroom|hall|hallway|attic|cellar|basement|garage|
garden|office|study|nursery|pantry|laundry|porch|terrace|balcony|shed|greenhouse|stairs|
guest room|kids room|dining room|master bedroom|workshop|sauna|pool|roof|loft|driveway|
garden shed|utility room|corridor|conference room|lobby|canteen|server room|rack a|rack b|rack c|
cold aisle|hot aisle|data center|ups|warehouse|loading dock|cold store|freezer|fridge|oven|
dishwasher|washing machine|dryer|boiler|heat pump|radiator|floor heating|chimney|water heater|
buffer tank|solar panel|inverter|wallbox|grid meter|house meter|battery bank|main panel|fuse box|
generator|transformer|compressor|pump station|mixing tank|reactor|furnace|kiln|conveyor|press|
lathe|mill|drill|extruder|chiller|cooling tower|condenser|evaporator|pipeline|well|cistern|
reservoir|sewage pit|filter|turbine|engine|gearbox|axle|cabin|trailer|tractor|truck|van|boat|
bilge|mast|barn|stable|silo|field north|field south|orchard|vineyard|beehive|coop|pond|aquarium|
terrarium|weather station|outdoor|indoor|outside|north wall|south wall|east wing|west wing|
first floor|second floor|ground floor|entrance|back door|front door|side gate|main gate|elevator|
lift shaft|tunnel|bridge|lab|clean room|operating room|ward|pharmacy|classroom|library|gym|stage|
archive|vault|küche|wohnzimmer|schlafzimmer|keller|dachboden|cuisine|salon|chambre|cocina|
dormitorio|sala|cucina|soggiorno|kök|sovrum|keuken|zolder|łazienka|kuchnia|garaż|flur|heizung|
werkstatt|stall|jardin|cave|bureau|baño|terraza|pasillo|keittiö"""

DEVICES = """pump|fan|motor|valve|tank|sensor|node|meter|drive|press|robot|unit|line|cell|zone|
rack|plug|boiler|chiller|compressor|truck|agv|turbine|inverter|panel|feeder|mixer|oven|probe|
station|esp|tasmota|shelly|device|module|channel|room|bay|silo|gate"""

_PLACES = tuple(p.strip() for p in PLACES.replace("\n", "").split("|"))
_DEVICES = tuple(d.strip() for d in DEVICES.replace("\n", "").split("|"))
_ONSETS = (
    *("b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p"),
    *("pr", "qu", "r", "s", "sh", "st", "t", "tr", "v", "w", "x", "z", ""),
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "io", "ou", "y", "ö", "é")
_CODAS = ("", "", "", "l", "m", "n", "r", "s", "t", "x", "nd", "rk", "ck")


def split_of(text: str) -> Split:
    """The one split that `text` may appear in: 80 % train, 10 % dev, 10 % test."""
    slot = crc32(text.casefold().encode()) % 10
    return "train" if slot < 8 else "dev" if slot == 8 else "test"


def _syllables(rng: random.Random, count: int) -> str:
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count)
    )


def _any_subject(rng: random.Random) -> str:
    style = rng.random()
    if style < 0.40:
        return rng.choice(_PLACES)
    if style < 0.65:
        separator = rng.choice(("-", "-", " ", "_", ""))
        number = rng.choice(
            (str(rng.randint(1, 12)), f"{rng.randint(1, 99):02d}", str(rng.randint(100, 999)))
        )
        return f"{rng.choice(_DEVICES)}{separator}{number}"
    if style < 0.72:
        return f"0x{rng.randrange(16**6):06x}"
    if style < 0.78:
        return f"{rng.choice(_DEVICES)}_{rng.randrange(16**4):04x}"
    if style < 0.83:
        return f"{rng.choice(_PLACES)} {rng.choice((*'123456', 'left', 'right', 'north', 'upper'))}"
    return _syllables(rng, rng.choice((1, 2, 2, 3)))


def subject(rng: random.Random, split: Split) -> str:
    """A place, device or id that belongs to `split`."""
    while True:
        name = _any_subject(rng)
        if len(name) > 2 and split_of(name) == split:
            return name


def reserved(name: str, split: Split) -> bool:
    """Whether `name` holds a place or device that belongs to another split."""
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    runs = {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    return any(split_of(place) != split for place in _PLACES if place in runs)


def styled(style: str, name: str) -> str:
    """A name as one installation writes its names."""
    if style == "snake":
        return name.replace(" ", "_").lower()
    if style == "title":
        return name.title() if name.islower() else name
    return name


def _value(rng: random.Random, quantity: Quantity) -> tuple[str, float, int]:
    decimals = rng.choice(quantity.decimals)
    number = rng.uniform(quantity.low, quantity.high)
    if rng.random() < 0.3:  # values crowd near the low end in practice
        number = quantity.low + (number - quantity.low) * rng.random()
    text = f"{number:.{decimals}f}"
    if rng.random() < 0.05:
        text = f"{round(number):d}"
    return text, float(text), decimals


def _bound(rng: random.Random, number: float, decimals: int, direction: int) -> str:
    """A limit strictly beyond `number` in `direction`, in a round figure."""
    step = 10.0 ** -min(decimals, 1)
    if abs(number) >= 100 and rng.random() < 0.7:
        step = 10.0
    elif rng.random() < 0.5:
        step = 1.0
    distance = max(1, round(abs(number) * rng.uniform(0.02, 0.5) / step) or 1)
    bound = (round(number / step) + direction * distance) * step
    if (bound - number) * direction <= 0:
        bound += direction * step
    return f"{bound:.1f}" if step < 1 else f"{bound:.0f}"


@dataclass(frozen=True, slots=True)
class Habit:
    """What the installation of one scene has in common."""

    style: str
    trends: float
    limits: float
    alarms: float
    stale: float
    silent: float
    ages: bool
    states: float
    history: float
    alike: float
    kinds: bool


def habit_of(rng: random.Random) -> Habit:
    """Draws the habits of a scene."""
    return Habit(
        style=rng.choices(("plain", "snake", "title"), (84, 8, 8))[0],
        trends=rng.choice((0.0, 0.5, 0.9)),
        limits=rng.choice((0.0, 0.3, 0.6, 0.9)),
        alarms=rng.choice((0.0, 0.1, 0.2, 0.5)),
        stale=rng.choice((0.0, 0.0, 0.05, 0.25)),
        silent=rng.choice((0.0, 0.0, 0.08)),
        ages=rng.random() < 0.93,
        states=rng.choice((0.0, 0.15, 0.3, 0.6)),
        history=rng.choice((0.0, 0.8, 1.0)),
        alike=rng.choice((0.0, 0.1, 0.4)),
        kinds=rng.random() < 0.8,
    )


def _age(rng: random.Random, stale: bool) -> float:
    if stale:
        return rng.choice(
            (rng.uniform(120, 3600), rng.uniform(3600, 86400), rng.uniform(86400, 9e5))
        )
    return rng.choice((rng.uniform(0, 60), rng.uniform(0, 60), rng.uniform(60, 1500)))


def _limits(
    rng: random.Random, habit: Habit, number: float, decimals: int
) -> tuple[LimitState | None, str | None, str | None]:
    """A limit state with limits, lower and upper, that make it true."""
    if rng.random() >= habit.limits:
        return None, None, None
    limit: LimitState = "ok"
    if rng.random() < habit.alarms:
        limit = rng.choice(("high", "high", "low"))
    low = high = None
    sides = rng.choice(("both", "both", "high", "low"))
    if sides != "low" or limit == "high":
        high = _bound(rng, number, decimals, -1 if limit == "high" else 1)
    if sides != "high" or limit == "low":
        low = _bound(rng, number, decimals, 1 if limit == "low" else -1)
    if limit == "high" and low is not None and high is not None:
        low = _bound(rng, float(high), decimals, -1)
    if limit == "low" and high is not None and low is not None:
        high = _bound(rng, float(low), decimals, 1)
    return limit, low, high


def channel(rng: random.Random, habit: Habit, name: str, quantity: Quantity) -> ChannelView:
    """A numeric channel."""
    unit = rng.choice(quantity.units)
    kind = quantity.names[0] if habit.kinds else ""
    if rng.random() < habit.silent:
        return ChannelView(name, None, unit=unit, quantity=kind, stale=True)
    text, number, decimals = _value(rng, quantity)
    limit, low, high = _limits(rng, habit, number, decimals)
    trend: Trend | None = None
    if rng.random() < habit.trends:
        trend = rng.choice(("rising", "falling", "steady"))
    stale = rng.random() < habit.stale
    minimum = maximum = mean = None
    if rng.random() < habit.history:
        spread = abs(number) * rng.uniform(0.01, 0.3) + 10.0**-decimals
        bounds = number - rng.random() * spread, number + rng.random() * spread
        minimum, maximum = (f"{bound:.{decimals}f}" for bound in bounds)
        mean = f"{rng.uniform(*bounds):.{decimals + rng.choice((0, 0, 1))}f}"
    since = None
    if limit is not None and rng.random() < habit.history:
        since = _age(rng, stale=rng.random() < 0.6)
    return ChannelView(
        name, text, number, unit, kind, _age(rng, stale) if habit.ages else None,
        stale, trend, limit, low, high, minimum, maximum, mean, since,
    )  # fmt: skip


def state_channel(
    rng: random.Random, habit: Habit, name: str, values: tuple[str, ...]
) -> ChannelView:
    """A channel that reports words."""
    if rng.random() < habit.silent:
        return ChannelView(name, None, stale=True)
    stale = rng.random() < habit.stale
    since = _age(rng, stale=rng.random() < 0.6) if rng.random() < habit.history else None
    age = _age(rng, stale) if habit.ages else None
    return ChannelView(name, rng.choice(values), age_s=age, stale=stale, since_s=since)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture; of each channel the place and the word for what it measures, and the states that
    it can be in (none for numbers)."""

    picture: Picture
    parts: tuple[tuple[str, str], ...]
    states: tuple[tuple[str, ...], ...]


def scene(rng: random.Random, split: Split, size: int) -> Scene:
    """A scene of up to `size` channels with distinct names.

    Places and quantities recur within a scene, and some places are another's name with a word more
    or another number, so that only the whole name decides.
    """
    habit = habit_of(rng)
    places = [subject(rng, split) for _ in range(max(1, round(size * rng.uniform(0.2, 0.8))))]
    for index in range(1, len(places)):
        if rng.random() < habit.alike:
            places[index] = _alike(rng, rng.choice(places[:index]))
    quantities = rng.sample(
        QUANTITIES, k=min(len(QUANTITIES), max(1, round(size * rng.uniform(0.1, 0.7))))
    )
    states = [  # of few kinds, so that there are several doors
        (rng.sample(names, k=min(len(names), rng.choice((1, 1, 2, 9)))), values)
        for names, values in rng.sample(STATES, k=rng.choice((1, 2, 3)))
    ]
    channels: dict[str, ChannelView] = {}
    parts: list[tuple[str, str]] = []
    known: list[tuple[str, ...]] = []
    for _ in range(4 * size):
        if len(channels) == size:
            break
        place = rng.choice(places)
        quantity = rng.choice(quantities)
        names, values = rng.choice(states)
        worded = rng.random() < habit.states
        what = rng.choice(names if worded else quantity.names)
        name = styled(habit.style, f"{place} {what}")
        if name.casefold() in channels:
            continue
        channels[name.casefold()] = (
            state_channel(rng, habit, name, values)
            if worded
            else channel(rng, habit, name, quantity)
        )
        parts.append((place, what))
        known.append(values if worded else ())
    views = tuple(channels.values())
    return Scene(Picture(1.7e9 + rng.randrange(10**8), views), tuple(parts), tuple(known))


def _alike(rng: random.Random, place: str) -> str:
    """A name close to `place`: another number, or a word more."""
    digits = "".join(c for c in place if c.isdigit())
    if digits and rng.random() < 0.7:
        other = f"{rng.randrange(10 ** len(digits)):0{len(digits)}d}"
        return place.replace(digits, other)
    words = (*"ABC123", "north", "south", "left", "right", "upper", "inlet", "outlet", "old", "new")
    return f"{place} {rng.choice(words)}"


def later(rng: random.Random, scene: Scene) -> Scene:
    """The scene some time after: some values and states are others."""
    seconds = rng.choice((3.0, 20.0, 90.0, 600.0))
    both = zip(scene.picture.channels, scene.states, strict=True)
    channels = tuple(_changed(rng, c, states, seconds) for c, states in both)
    return replace(scene, picture=Picture(scene.picture.taken_at + seconds, channels))


def _changed(
    rng: random.Random, c: ChannelView, states: tuple[str, ...], seconds: float
) -> ChannelView:
    known = c.text is not None and not c.stale
    if known and c.number is not None and rng.random() < 0.6:
        decimals = len((c.text or "").partition(".")[2])
        text = f"{c.number * rng.uniform(0.7, 1.3) + rng.uniform(-1, 1):.{decimals}f}"
        number = float(text)
        limit = c.limit
        if limit is not None:
            limit = "ok"
            if c.high is not None and number > float(c.high):
                limit = "high"
            elif c.low is not None and number < float(c.low):
                limit = "low"
        since = None if c.since_s is None else c.since_s + seconds if limit == c.limit else 1.0
        return replace(
            c,
            text=text,
            number=number,
            limit=limit,
            age_s=None if c.age_s is None else rng.uniform(0, 20),
            minimum=c.minimum and min(c.minimum, text, key=float),
            maximum=c.maximum and max(c.maximum, text, key=float),
            since_s=since,
        )
    if known and states and rng.random() < 0.4:
        age = None if c.age_s is None else 1.0
        return replace(c, text=rng.choice(states), age_s=age, since_s=c.since_s and 1.0)
    return replace(
        c,
        age_s=None if c.age_s is None else c.age_s + seconds,
        since_s=None if c.since_s is None else c.since_s + seconds,
    )
