"""Shipped and own profiles, and the topic patterns in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.cli import main
from edgespike.config import load_config
from edgespike.errors import ConfigError
from edgespike.profiles import Decoder, ProfileLibrary, ValueFacts, shipped_directory
from edgespike.sensing.decoders import new_decoder
from edgespike.topics import (
    compile_pattern,
    filter_matches,
    filter_problem,
    minimal_filters,
    pattern_problem,
    topic_problem,
)

LIBRARY = ProfileLibrary()
SENSORS = LIBRARY.names("sensors")
BOARDS = LIBRARY.names("boards")


def test_the_promised_firmwares_and_boards_are_shipped() -> None:
    wanted = {"zigbee2mqtt", "tasmota", "esphome", "shelly", "senml", "plain-json", "plain-number"}
    assert wanted <= set(SENSORS)
    promised = {"generic-one-core", "generic-two-cores", "generic-any-cpu"}
    promised |= {"intel-n100", "intel-n97", "intel-atom-x7000e", "amd-r1606g", "amd-v1605b"}
    promised |= {"amd-ryzen-5800x", "raspberry-pi-5"}
    assert promised <= set(BOARDS)


def test_every_decoder_that_a_profile_may_name_exists() -> None:
    for name in get_args(Decoder):
        assert callable(new_decoder(name))


@pytest.mark.parametrize("name", SENSORS)
def test_a_shipped_sensor_profile_is_whole(name: str) -> None:
    profile = LIBRARY.sensor(name)
    assert (profile.name, bool(profile.description), bool(profile.topics)) == (name, True, True)
    for source in profile.sources:
        assert source.startswith("https://")


@pytest.mark.parametrize("name", BOARDS)
def test_a_shipped_board_profile_is_whole(name: str) -> None:
    board = LIBRARY.board(name)
    assert (board.name, bool(board.description)) == (name, True)
    assert board.sources or name.startswith("generic-")
    assert board.isa == "generic" or not name.startswith("raspberry")


def test_facts_of_a_quantity_serve_every_firmware() -> None:
    quantity = LIBRARY.quantities["temperature"]
    for name in ("zigbee2mqtt", "tasmota", "esphome"):
        assert LIBRARY.sensor(name).values["temperature"].unit == quantity.unit == "°C"


def test_a_plain_number_has_no_unit_that_nobody_declared() -> None:
    profile = LIBRARY.sensor("plain-number")
    assert profile.values["temperature"].unit is None
    assert profile.values["temperature"].noise == LIBRARY.quantities["temperature"].noise


def test_own_facts_go_over_those_of_the_quantity() -> None:
    profile = LIBRARY.sensor("plain-number").extended(
        {"t": ValueFacts(quantity="co2", unit="%"), "humidity": ValueFacts(noise=9)}
    )
    assert (profile.values["t"].unit, profile.values["t"].noise) == ("%", 25)
    assert profile.values["t"].name is None
    assert (profile.values["humidity"].noise, profile.values["humidity"].max) == (9, 100)


def test_an_own_profile_wins_over_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "own" / "sensors").mkdir(parents=True)
    (tmp_path / "own" / "sensors" / "tasmota.yaml").write_text("decoder: plain\nbase: mine\n")
    (tmp_path / "c.yaml").write_text("profile_dirs: [own]\nsensors: [{profile: tasmota}]\n")
    profile = load_config(tmp_path / "c.yaml").sensors[0].profile
    assert (profile.name, profile.decoder, profile.base) == ("tasmota", "plain", "mine")


def test_errors_in_an_own_profile_name_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "sensors").mkdir()
    profile = tmp_path / "sensors" / "mine.yaml"
    profile.write_text("decoder: jsno\ntopics:\n  - {topic: 'a/#/b'}\nvalus: {}\n")
    (tmp_path / "c.yaml").write_text("profile_dirs: ['.']\nsensors: [{profile: mine}]\nx: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml")
    first, *rest = str(caught.value).split("\n")
    assert first.startswith(f"{tmp_path}/c.yaml:3: x: unknown key; known: node, ")
    assert rest == [
        f"{profile}:4: valus: unknown key; did you mean values?",
        f"{profile}:1: decoder: unknown choice 'jsno'; did you mean json?",
        f"{profile}:3: topics[0].topic: # must be the last level",
    ]


def test_a_profile_that_claims_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.yaml").write_text("name: other\n")
    with pytest.raises(ConfigError, match="name: must be mine, like the file"):
        ProfileLibrary([tmp_path]).board("mine")


def test_the_command_lists_and_prints_profiles(capsys: Any) -> None:
    assert main(["profiles"]) == 0
    assert "zigbee2mqtt" in capsys.readouterr().out
    assert main(["profiles", "raspberry-pi-5"]) == 0
    path = shipped_directory("firmware_profiles") / "boards" / "raspberry-pi-5.yaml"
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")
    assert main(["profiles", "zx81"]) == 64


@pytest.mark.parametrize(
    ("pattern", "base", "filter", "topic", "match"),
    [
        ("{base}/{device...}", "z2m", "z2m/#", "z2m/cellar/freezer", ("cellar/freezer", "")),
        ("{base}/{device...}/availability", "z", "z/#", "z/a/b/availability", ("a/b", "")),
        ("{base}/{device...}/{key}", "sensors", "sensors/#", "sensors/a/b/c", ("a/b", "c")),
        ("tele/{base}/{device}/SENSOR", "", "tele/+/SENSOR", "tele/plug/SENSOR", ("plug", "")),
        ("tele/{base}/{device}/SENSOR", "up", "tele/up/+/SENSOR", "tele/up/x/SENSOR", ("x", "")),
        ("plant/+/temperature", "", "plant/+/temperature", "plant/p-07/temperature", ("p-07", "")),
        ("home/#", "", "home/#", "home/a/b", ("a/b", "")),
        ("home/#", "", "home/#", "home", ("", "")),
        ("#", "", "#", "a/b", ("a/b", "")),
        ("a.b/{device}", "", "a.b/+", "a.b/c", ("c", "")),
        ("x/{any}/{device}", "", "x/+/+", "x/1/2", ("2", "")),
    ],
)
def test_a_pattern_subscribes_and_takes_topics_apart(
    pattern: str, base: str, filter: str, topic: str, match: tuple[str, str]
) -> None:
    assert pattern_problem(pattern) is None
    compiled = compile_pattern(pattern, base)
    assert compiled.filter == filter
    assert compiled.match(topic) == match
    assert filter_matches(filter, topic)


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("plant/+/temperature", "plant/a/b/temperature"),
        ("plant/+/temperature", "plant/a/humidity"),
        ("{base}/{device...}", "base"),
        ("a.b/{device}", "axb/c"),
        ("#", "$SYS/broker/uptime"),
        ("{device}/x", "$SYS/x"),
    ],
)
def test_a_pattern_leaves_other_topics_alone(pattern: str, topic: str) -> None:
    assert compile_pattern(pattern, "base").match(topic) is None


@pytest.mark.parametrize(
    "pattern", ["", "a/#/b", "a+", "a/b#", "{dev}/x", "x{device}", "{device", "a\x00b", "a/" * 600]
)
def test_a_pattern_against_the_rules_is_refused(pattern: str) -> None:
    assert pattern_problem(pattern)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\x00", "a\x1f", "a\ud800", "x" * 1025])
def test_a_topic_against_the_rules_is_refused(topic: str) -> None:
    assert topic_problem(topic)


def test_a_filter_that_another_covers_isnt_subscribed_twice() -> None:
    given_filters = ["a/b", "a/#", "+/b", "a/+/c", "x/+", "x/y", "$SYS/#", "x/+"]
    assert minimal_filters(given_filters) == ("a/#", "+/b", "x/+", "$SYS/#")
    assert minimal_filters(["#", "$SYS/x", "a"]) == ("#", "$SYS/x")
    assert minimal_filters(["a/+", "a/#", "+/+/+", "+/+/#"]) == ("a/#", "+/+/#")


LEVELS = st.lists(st.sampled_from(["a", "b", "", "$c"]), min_size=1, max_size=4)
FILTERS = st.lists(st.sampled_from(["a", "b", "+", "$c", "#"]), min_size=1, max_size=4)


@given(LEVELS.map("/".join), st.lists(FILTERS.map("/".join), max_size=5))
def test_minimal_filters_hear_the_same_topics(topic: str, filters: list[str]) -> None:
    valid = [text for text in filters if filter_problem(text) is None]
    heard = any(filter_matches(text, topic) for text in valid)
    assert heard == any(filter_matches(text, topic) for text in minimal_filters(valid))


@given(LEVELS.map("/".join), FILTERS.map("/".join))
def test_a_filter_as_pattern_matches_what_the_filter_matches(topic: str, text: str) -> None:
    if filter_problem(text) is None:
        matched = compile_pattern(text).match(topic) is not None
        assert matched == filter_matches(text, topic)
