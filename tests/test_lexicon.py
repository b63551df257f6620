"""What people call things finds its sensor, and not that sensor's counterpart."""

from __future__ import annotations

import pytest

from edgespike.prompting.lexicon import lexicon, read
from edgespike.prompting.relevance import relevance
from edgespike.sensing.picture import ChannelView


def test_terms_stand_for_each_other_and_words_hint() -> None:
    found = read(
        ["# people", "", "= lounge, living room, parlours", "~ salinity: salty salts", "= up, on"]
    )
    assert found.same == {
        ("lounge",): {("living", "room"), ("parlour",)},
        ("living", "room"): {("lounge",), ("parlour",)},
        ("parlour",): {("lounge",), ("living", "room")},
    }
    assert found.hinted("salty") == {"salinity"}
    assert found.hinted("salt") == {"salinity"}
    assert found.hinted("sweet") == frozenset()
    with pytest.raises(ValueError, match="no line of a lexicon: what"):
        read(["what is this"])


def test_the_lexicon_that_ships_is_whole() -> None:
    assert len(lexicon().same) > 3000
    assert len(lexicon().hints) > 3000
    assert all(0 < len(term) <= 3 and all(term) for term in lexicon().same)


def named(*names: str) -> list[ChannelView]:
    """Channels of one kind each, after the slash; a state where it has no kind."""
    found = []
    for name in names:
        name, _, kind = name.partition("/")
        number = None if not kind or kind.startswith("=") else 1.0
        text = kind.removeprefix("=") if number is None else "1"
        found.append(ChannelView(name, text or "on", number, "", "" if number is None else kind))
    return found


BOAT = named("Stbd engine temp/temperature", "Port engine temp/temperature", "Tyre left/pressure")
BARNS = named("Barn 1 temperature/temperature", "Barn 2 temperature/temperature")
REEF = named("Reef salinity/salinity", "Reef tank/temperature", "Living room/temperature")
BILGE = named("Bilge pump/=off", "Bilge float switch/=dry", "Bilge depth/depth")


@pytest.mark.parametrize(
    ("channels", "question", "right"),
    [
        (BOAT, "how warm is the starboard engine?", [0]),
        (BOAT, "left tire?", [2]),
        (BARNS, "how warm is the second barn?", [1]),
        (BARNS, "barn two?", [1]),
        (BARNS, "barn one and two", [0, 1]),
        (REEF, "how salty is the reef?", [0]),
        (REEF, "how warm is the lounge?", [2]),
        (BILGE, "is the bilge wet?", [1]),
        (BILGE, "is the bilge off?", [0]),
        (named("FV1 pressure/bar", "FV2 pressure/bar"), "pressure in fermenter 2", [1]),
        (named("T205 level/level", "R101 level/level"), "is tank 205 full?", [0]),
        (named("P-04/flow", "P-05/flow"), "pump 4?", [0]),
        ([ChannelView("bx17 batt", "12", 12.0, "V", "battery"), *REEF], "bx17 volts too low?", [0]),
        (named("Carne/temperature", "Freezer/temperature"), "is the meat safe, the carne?", [0]),
        (named("P-04/flow", "P-05/flow"), "P-05", [1]),
        (named("Ofen 1/speed", "Ofen 2/speed"), "is oven two doing well?", [1]),
        (named("Cooler/=idle", "Mirror/temperature"), "is the mirror still cooling down?", [1]),
        (named("M12 spindle/speed", "M11 spindle/speed"), "spindle of machine twelve", [0]),
        (named("WT01 power/power", "WT03 power/power"), "power of turbine 3", [1]),
        (named("Fermenter/temperature", "Tilt gravity/gravity"), "what gravity is my beer at", [1]),
    ],
)
def test_what_is_said_otherwise_is_found(
    channels: list[ChannelView], question: str, right: list[int]
) -> None:
    found = relevance(channels, question)
    assert sorted(found.match or found.maybe) == right
    assert not found.unknown


@pytest.mark.parametrize(
    ("channels", "question"),
    [
        (BOAT[1:], "how warm is the starboard engine?"),
        (BOAT, "pressure of the right tyre?"),
        (BARNS[:1], "how warm is the second barn?"),
        (BARNS[:1], "barn two?"),
        (BARNS[:1], "humidity in barn 1"),
        (named("Lower reservoir/level"), "is the upper reservoir full?"),
        (named("Tube B/pressure"), "how many bar in tube A?"),
        (named("Storeroom temperature/temperature"), "how hot is it outside today"),
        (named("pump-07/=running"), "pump-07 pressure?"),
        (named("Room 2 humidity/humidity"), "is the dryer 2 ok?"),
        (named("Well level/level"), "how is the spring water doing"),
    ],
)
def test_a_sensor_does_not_stand_in_for_its_counterpart(
    channels: list[ChannelView], question: str
) -> None:
    found = relevance(channels, question)
    assert (found.match, found.maybe) == ((), ())
    assert found.unknown


def test_a_bound_in_a_question_is_no_name() -> None:
    found = relevance(REEF, "was the reef tank ever above 27?")
    assert (found.match, found.unknown) == ((1,), ())
