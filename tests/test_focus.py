"""What code finds for a question by its words, and the lines that it says about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.prompting import BUNDLED, PromptTemplate, render, turn
from edgespike.prompting.focus import focus_lines
from edgespike.prompting.relevance import Relevance, relevance
from edgespike.prompting.words import alike, cut, shortened
from edgespike.sensing.picture import ChannelView, Picture


class Characters:
    """A tokenizer with a token per character; control pieces lie above all characters."""

    bos_id = 1

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def control(self, name: str) -> int:
        return 0x110000 + sum(map(ord, name))


NAMES = (
    *(
        "kitchen temperature",
        "kitchen humidity",
        "cellar temperature",
        "kitchen freezer temperature",
    ),
    *("living room sensor temperature", "pump-07 pressure", "pump-08 pressure", "front door"),
    *("garage door", "rack a temperature", "rack b temperature", "attic CO2", "hall motion"),
)
CHANNELS = tuple(ChannelView(name, "1", 1.0, quantity=name.split()[-1]) for name in NAMES)


def names(indices: tuple[int, ...]) -> list[str]:
    return [NAMES[i] for i in indices]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("What is the kitchen temperature?", ["kitchen temperature"]),
        ("KITCHEN TEMP??", ["kitchen temperature"]),
        ("how warm is it in the kitchen", ["kitchen temperature"]),
        ("kichen temprature", ["kitchen temperature"]),
        ("the kitchen freezer temp", ["kitchen freezer temperature"]),
        ("livingroom temperature", ["living room sensor temperature"]),
        ("pump 7 pressure", ["pump-07 pressure"]),
        ("pump08's pressure", ["pump-08 pressure"]),
        ("rack B temp", ["rack b temperature"]),
        ("is the front door open", ["front door"]),
        ("how much co2 is there", ["attic CO2"]),
        ("any motion in the hall?", ["hall motion"]),
        ("is the kitchen temperature dwindling?", ["kitchen temperature"]),
        ("kitchen and cellar temperature", ["kitchen temperature", "cellar temperature"]),
        (
            "the cellar or the kitchen, which is warmer?",
            ["cellar temperature", "kitchen temperature"],
        ),
    ],
)
def test_a_question_names_channels_in_many_ways(question: str, found: list[str]) -> None:
    got = relevance(CHANNELS, question)
    assert sorted(names(got.match)) == sorted(found)
    assert got.unknown == ()


@pytest.mark.parametrize(
    ("question", "unknown"),
    [
        ("What is the garage temperature?", "garage temperature"),
        ("temperature in the garage", "garage temperature"),
        ("how warm is the sauna?", "sauna temperature"),
        ("pump-09 pressure", "pump-09 pressure"),
        ("kitchen radiator temperature", "kitchen radiator temperature"),
        ("attic humidity", "attic humidity"),
        ("rack c temperature", "rack c temperature"),
    ],
)
def test_what_no_channel_is_called_is_unknown(question: str, unknown: str) -> None:
    got = relevance(CHANNELS, question)
    assert (got.match, got.maybe, got.unknown) == ((), (), (unknown,))


def test_what_several_channels_fit_is_asked_of_all() -> None:
    doors = relevance(CHANNELS, "which doors are open?")
    assert names(doors.maybe) == ["front door", "garage door"]
    kitchen = relevance(CHANNELS, "how is the kitchen?")
    assert len(kitchen.maybe) == 3


def test_a_question_about_nothing_in_particular_finds_nothing() -> None:
    for question in ("any alarms?", "is everything ok", "what can you do", "", "?!"):
        assert relevance(CHANNELS, question) == Relevance()


def test_a_question_may_lean_on_the_one_before() -> None:
    kitchen = ("What is the kitchen temperature?",)
    assert names(relevance(CHANNELS, "since when?", kitchen).before) == ["kitchen temperature"]
    assert names(relevance(CHANNELS, "and the humidity?", kitchen).match) == ["kitchen humidity"]
    assert names(relevance(CHANNELS, "the doors?", ("front door",)).before) == ["front door"]
    assert relevance(CHANNELS, "and in the sauna?", kitchen).unknown == ("sauna",)
    lowest = relevance(CHANNELS, "and the lowest?", ("which pressure is highest?",))
    assert names(lowest.maybe) == ["pump-07 pressure", "pump-08 pressure"]


def test_a_long_chain_of_leaning_questions_is_followed_only_so_far() -> None:
    chain = ["kitchen temperature?", *["since when?"] * 5000]
    assert relevance(CHANNELS, "since when?", chain) == Relevance()
    assert names(relevance(CHANNELS, "since when?", chain[:3]).before) == ["kitchen temperature"]


def test_a_part_of_two_that_does_not_exist_is_said_beside_the_other() -> None:
    got = relevance(CHANNELS, "kitchen temperature and sauna temperature")
    assert (names(got.match), got.unknown) == (["kitchen temperature"], ("sauna temperature",))


@pytest.mark.parametrize(
    ("names_", "question", "right"),
    [
        (["Organ loft humidity"], "is the organ drying out?", [0]),
        (["Mirror temperature", "Rain"], "is the mirror still cooling down?", [0]),
        (["Chiller A core", "Chiller B core"], "chillers A and B, which is colder", [0, 1]),
        (["Sea water", "Cabin temperature"], "is the sea colder than the cabin", [0, 1]),
        (["Reefer A2 supply", "Reefer A2 return"], "A2 supply against A2 return", [0, 1]),
        (["Sky temperature"], "is the sky clear, sky temperature ok?", [0]),
        (["Quarantine tank"], "are the fish in quarantine ok?", [0]),
        (["Wind at the quay"], "wind at the quay? the skipper wants to lift the block", [0]),
        (["Wind at the quay"], "wind at the quay, we have a concrete block hanging", [0]),
        (["Store humidity", "Pond"], "store humid enough for champagne corks", [0]),
        (["Compressor 1", "Compressor 1 hours"], "how many hours has compressor 1 run", [1]),
        (["Flow T_in", "Flow T_out"], "how cold is the flow T outside", [1]),
        (["Solar yield"], "is solar doing much while the clouds drift by", [0]),
        (["Hose flow", "Pond"], "how much is it squirting? the hose flow please", [0]),
    ],
)
def test_words_beside_a_name_make_no_other_of_it(
    names_: list[str], question: str, right: list[int]
) -> None:
    found = relevance([ChannelView(n, "5", 5.0, "°C", "temperature") for n in names_], question)
    assert (sorted(found.match or found.maybe), found.unknown) == (right, ())


@pytest.mark.parametrize(
    ("names_", "question", "right"),
    [
        (["Bay pH", "Bay soil pH"], "does the bay soil pH outdo the bay pH", [1, 0]),
        (["Rack load", "Rack peak load"], "is the rack load above the rack peak load", [0, 1]),
        (["X1 power", "X1 solar power"], "lack of the X1 pwer to the solar power in X1?", [0, 1]),
        (["Bay dust", "Bay PM2.5"], "delta bay dust bay PM2.5", [0, 1]),
        (["L4 moisture", "L4 soil moisture", "L4 fan"], "L4 soil moisture and the L4 fan", [1, 2]),
        (["Tank flow", "Tank flow rate"], "what is the tank flow rate", [1]),
        (["Deep freezer", "Deep freezer temp"], "deep freezer temperature", [1]),
        (["Kitchen", "Kitchen left"], "temperature of the kitchen left", [1]),
        (["Oven", "Oven left", "Oven right"], "is oven left warmer than oven right", [1, 2]),
    ],
)  # fmt: skip
def test_names_within_each_other_are_found_where_each_is_said(
    names_: list[str], question: str, right: list[int]
) -> None:
    quantities = {"fan": "fan", "power": "power", "pressure": "pressure"}
    channels = [
        ChannelView(n, "5", 5.0, "%", quantities.get(n.split()[-1], "temperature")) for n in names_
    ]
    assert list(relevance(channels, question).match) == right


@pytest.mark.parametrize(
    ("question", "fits"),
    [
        ("gimme every temp u got", "temperature"),
        ("need temps all of em", "temperature"),
        ("wat r the co2s", "CO2"),
        ("kitchen temp n kitchen humidity", "kitchen"),
    ],
)
def test_texted_words_name_nothing(question: str, fits: str) -> None:
    found = relevance(CHANNELS, question)
    assert not found.unknown
    assert {fits in name for name in names(found.match or found.maybe)} == {True}


def test_the_most_of_a_sort_is_asked_of_all() -> None:
    cases = [ChannelView(f"{n} temp", "5", 5.0, "°C", "temperature") for n in ("Fish", "Meat")]
    for question in ("what's the coldest cabinet?", "warmest counter right now"):
        found = relevance(cases, question)
        assert (found.maybe, found.unknown) == ((0, 1), ()), question
    assert relevance(cases, "what is the highest sauna temperature?").unknown
    assert relevance(cases, "highest sauna now").unknown
    assert relevance(cases, "is the sauna coldest?").unknown


def test_a_letter_of_a_name_is_no_texted_word() -> None:
    phases = [ChannelView(f"winding {p}", "5", 5.0, "A", "current") for p in ("V", "W")]
    assert relevance(phases, "current of winding u").unknown == ("winding u current",)
    assert relevance([*phases, ChannelView("winding U", "6")], "winding u?").match == (2,)


@pytest.mark.parametrize("thing", ["arena", "valve", "stage", "printer", "shower"])
def test_a_real_word_is_no_typing_error_for_an_ordinary_one(thing: str) -> None:
    found = relevance(CHANNELS, f"what's the temperature of the {thing}?")
    assert (found.match, found.maybe) == ((), ())
    assert any(thing in unknown for unknown in found.unknown)
    assert not relevance(CHANNELS, "kitchen temperature rihgt now, curently").unknown


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("kitchen", "kichen", True),
        ("kitchen", "ktichen", True),
        ("temperature", "temprature", True),
        ("hall", "wall", True),
        ("cellar", "attic", False),
        ("pump7", "pump8", False),
        ("co2", "co3", False),
    ],
)
def test_typing_errors_are_small_and_never_in_numbers(one: str, two: str, same: bool) -> None:
    assert alike(one, two) is alike(two, one) is same


def test_of_a_short_name_only_a_letter_left_out_is_a_typing_error() -> None:
    assert alike("dor", "door")
    assert alike("lnk", "link")
    assert not any(alike(*pair) for pair in (("fox", "flow"), ("oor", "door"), ("dor", "doors")))
    assert names(relevance(CHANNELS, "front dor?").match) == ["front door"]


def test_words_are_cut_where_letters_meet_digits() -> None:
    assert [w for w, _, _ in cut("Pump07 rack-3, CO2 0x00158d")] == [
        "pump", "7", "rack", "3", "co2", "0x00158d",
    ]  # fmt: skip


HOUSE = (
    ChannelView("hall temperature", "31.5", 31.5, "°C", "temperature", 4, False, "rising", "high",
                "18", "28", "20.1", "31.5", "24.2", 700.0),
    ChannelView("cellar temperature", "12", 12.0, "°C", "temperature", 60),
    ChannelView("sauna temperature", "80.25", 80.25, "°C", "temperature", 60),
    ChannelView("front door", "open", age_s=3, since_s=70),
    ChannelView("garage door", "closed"),
    ChannelView("well level", None, unit="cm", quantity="level", stale=True),
)  # fmt: skip


def said(question: str, *previous: str) -> str:
    template = PromptTemplate(marks=True, focus=9999, frame=0)
    block = turn(
        Picture(0.0, HOUSE),
        question,
        tokenizer=Characters(),
        template=template,
        budget=9999,
        previous=previous,
    )
    return block.text.split("<|endofsystem|>")[0].removeprefix("<|system|>")


def test_a_named_channel_is_told_in_detail() -> None:
    assert said("hall temperature?") == (
        "<|match|>hall temperature<|value|>31.5 °C<|high|>above its limit of 28 °C<|trend|>rising"
        "<|age|>4 s<|since|>11 min<|min|>20.1<|max|>31.5<|mean|>24.2<|unit|>°C"
    )
    assert said("well level") == "<|match|>well level<|none|>"


def test_a_quantity_is_told_as_a_group_over_all_its_channels() -> None:
    assert said("which temperature is highest?").startswith(
        "<|group|>temperature<|count|>3<|max|>sauna temperature<|value|>80.25 °C"
        "<|min|>cellar temperature<|value|>12 °C<|mean|>41.25 °C<|maybe|>hall temperature"
    )
    assert said("which doors are open?").startswith(
        "<|group|>door<|count|>2<|state|>1 open: front door<|state|>1 closed: garage door"
    )
    assert said("hall or cellar temperature?").endswith(
        "<|group|>temperature<|count|>2<|max|>hall temperature<|value|>31.5 °C"
        "<|min|>cellar temperature<|value|>12 °C<|diff|>19.5 °C"
    )


def test_without_a_name_the_whole_picture_is_told() -> None:
    assert said("is everything ok?") == (
        "<|all|>6 sensors<|alarms|>1 alarm<|silent|>1 stale"
        "<|kinds|>3 temperature, 2 door, 1 level"
        "<|alarm|>hall temperature<|value|>31.5 °C<|high|>above its limit of 28 °C<|since|>11 min"
        "<|stale|>well level<|none|>"
    )


def test_numbers_beyond_reason_take_no_part_in_sums() -> None:
    huge = tuple(ChannelView(f"room {i} power", "1e999999", quantity="power") for i in (1, 2))
    lines = [line for lines in focus_lines(huge, relevance(huge, "power?")) for line in lines]
    assert max(len(text) for line in lines for _, text in line) < 200


@given(st.lists(st.sampled_from([*NAMES, "and", "pump", "7", "warm", "?", ",", "xyz"]), max_size=9))
def test_relevance_is_total_and_its_parts_are_disjoint(words: list[str]) -> None:
    got = relevance(CHANNELS, " ".join(words), ["kitchen", "pump"])
    assert not set(got.match) & set(got.maybe)
    assert all(0 <= i < len(NAMES) for part in (got.match, got.maybe, got.near) for i in part)


@pytest.mark.parametrize("budget", [60, 100, 200, 400])
def test_a_focus_keeps_within_its_budget(budget: int) -> None:
    picture = Picture(0.0, HOUSE)
    block = render(picture, "temp?", tokenizer=Characters(), template=BUNDLED, budget=budget)
    assert len(block.ids) <= budget
    assert set(block.used) | set(block.left_out) == {c.name for c in HOUSE}


def test_a_template_without_marks_shows_only_what_is_named_and_little_of_it() -> None:
    template = PromptTemplate(focus=80)
    block = turn(
        Picture(0.0, HOUSE),
        "is the front door open?",
        tokenizer=Characters(),
        template=template,
        budget=400,
    )
    assert block.text.startswith("<|system|>\n- front door: open, 3 s ago<|endofsystem|><|user|>")
    assert block.used == ("front door",)


def test_a_number_before_a_plural_says_how_many_there_are() -> None:
    freezers = [
        ChannelView(f"freezer_{n}_temp", text=str(-18 - n), number=-18.0 - n, unit="°C")
        for n in (1, 2, 3)
    ]
    for question in ("temps of all 3 freezers?", "the 3 freezers", "3 freezers, how cold?"):
        found = relevance(freezers, question)
        assert (found.match, sorted(found.maybe), found.unknown) == ((), [0, 1, 2], ()), question
    assert relevance(freezers, "how cold is freezer 3?").match == (2,)
    assert relevance(freezers, "freezer 3 temps").match == (2,)


@pytest.mark.parametrize(
    ("word", "name", "short"),
    [
        ("hydraulic", "hyd", True),
        ("valve", "vlv", True),
        ("heater", "htr", True),
        ("return", "rtn", True),
        ("pump", "pmp", True),
        ("hydraulic", "hy", False),
        ("pumps", "pump", False),
        ("valve", "vl", False),
        ("heater", "htb", False),
        ("water", "wtb", False),
        ("tank", "knk", False),
        ("room", "rm2", False),
    ],
)
def test_a_word_of_a_name_may_be_short_for_one(word: str, name: str, short: bool) -> None:
    assert shortened(word, name) is short


def test_what_is_short_for_a_word_is_found_by_it_but_no_word_that_people_say() -> None:
    oil = [ChannelView("IM-04 hyd oil temp", text="53.7", number=53.7, unit="°C")]
    assert relevance(oil, "is the hydraulic oil getting warmer?").match == (0,)
    assert relevance([ChannelView("car door", text="open")], "is the carport door open?").unknown


def test_who_asks_whether_a_door_is_locked_means_its_lock() -> None:
    doors = [
        ChannelView("Front door", text="closed"),
        ChannelView("front_door_lock", text="locked"),
    ]
    assert relevance(doors, "is the front door locked?").match == (1,)
    assert relevance(doors, "is the front door open?").match == (0,)
    assert relevance(doors, "front door?").match == (0,)
    windows = [doors[0], ChannelView("front door window", text="open")]
    assert relevance(windows, "is the front door open?").match == (0,)


def test_what_is_asked_of_one_is_meant_of_another_beside_it() -> None:
    mills = [
        ChannelView("DMG spindle load", text="83", number=83.0, unit="%"),
        ChannelView("DMG coolant level", text="18", number=18.0, unit="%"),
        ChannelView("Haas VF2 spindle load", text="12", number=12.0, unit="%"),
        ChannelView("Haas coolant level", text="64", number=64.0, unit="%"),
    ]
    assert relevance(mills, "average spindle load of the DMG and the Haas").match == (0, 2)
    assert relevance(mills, "teh dmg spindle load adn teh haas").match == (0, 2)


def test_who_asks_for_rooms_asks_for_no_boiler() -> None:
    names = ("Bathroom", "Attic", "Boiler flow", "Outdoor")
    house = [
        ChannelView(n, text="20", number=20.0, unit="°C", quantity="temperature") for n in names
    ]
    assert relevance(house, "which room is the warmest?").maybe == (0, 1)
    assert relevance(house, "what is the warmest?").maybe == (0, 1, 2, 3)
    halls = [*house, replace(house[0], name="boiler room"), replace(house[0], name="control room")]
    assert relevance(halls, "which room is the warmest?").maybe == (0, 1, 4, 5)


def test_a_word_before_an_id_says_what_it_is() -> None:
    plant = [
        ChannelView("K3 status", text="standby"),
        ChannelView("K2 status", text="running"),
        ChannelView("hall temperature", text="19", number=19.0, unit="°C"),
    ]
    assert relevance(plant, "what's compressor K3 doing?").match == (0,)
    assert relevance(plant, "what's compressor K4 doing?").unknown


def test_outdoors_is_where_a_name_says_it() -> None:
    house = [
        ChannelView(name, text="4", number=4.0, unit="°C", quantity="temperature")
        for name in ("Wohnzimmer", "Außentemperatur", "Bad")
    ]
    assert relevance(house, "How cold is it outside?").maybe == (1,)
    assert relevance(house[:1], "How cold is it outside?").unknown


def test_a_compound_is_what_it_ends_with() -> None:
    barn = [
        ChannelView("Mosterijtank inhoud", text="4820", number=4820.0, unit="L"),
        ChannelView("Zuidhoeksilo", text="2.9", number=2.9, unit="t"),
    ]
    assert relevance(barn, "how many litres have we got in the tank").match == (0,)
    assert relevance(barn, "what's left in the silo?").match == (1,)
    assert relevance(barn, "is the ilo full?").unknown
    assert relevance([ChannelView("skylight", text="open")], "is the sky clear?").match == ()


def test_where_all_is_is_no_name() -> None:
    van = [ChannelView("Fridge", text="5.4", number=5.4, unit="°C")]
    assert not relevance(van, "what can you see in this camper?").unknown
    assert relevance(van, "is the camper warm?").unknown


def test_number_two_is_the_second() -> None:
    freezers = [ChannelView(f"freezer_{n}", text="-18", number=-18.0, unit="°C") for n in (1, 2)]
    assert relevance(freezers, "Is freezer number two still cold enough?").match == (1,)


def test_today_is_not_yesterday() -> None:
    rain = [
        ChannelView(f"Rain {day}", text="1", number=1.0, unit="mm")
        for day in ("today", "yesterday")
    ]
    for question, day in (("How much rain have we had today?", 0), ("rain yesterday", 1)):
        found = relevance(rain, question)
        assert (found.match or found.maybe) == (day,), question
    assert relevance(rain[1:], "is it raining today").match == ()
