"""The window: what it remembers of the sensors, and in how much memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.config import ChannelSettings, Config, ContextSettings, SensorSource
from edgespike.profiles import ProfileLibrary
from edgespike.sensing import Sensing
from edgespike.sensing.picture import ChannelView
from edgespike.sensing.statistics import BUCKETS, History

LIBRARY = ProfileLibrary()
T0 = 1_700_000_000.0
TOPIC = "sensors/hall/temperature"


def sensing(*profiles: str, max_channels: int = 100, **source: Any) -> Sensing:
    sources = tuple(SensorSource(LIBRARY.sensor(name), **source) for name in profiles)
    return Sensing(Config(sensors=sources, context=ContextSettings(max_channels=max_channels)))


def plain(**channels: ChannelSettings) -> Sensing:
    named = {name.replace("_", " "): settings for name, settings in channels.items()}
    return sensing("plain-number", channels=named)


def only(ear: Sensing, now: float) -> ChannelView:
    (view,) = ear.picture(now).channels
    return view


def test_a_view_says_what_was_last_heard_and_when() -> None:
    ear = sensing("zigbee2mqtt")
    assert ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21.0, "humidity": 40}', T0) == 2
    assert ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21.50}', T0 + 60) == 1
    humidity, temperature = ear.picture(T0 + 90).channels
    assert temperature == ChannelView(
        name="hall temperature",
        text="21.50",
        number=21.5,
        unit="°C",
        quantity="temperature",
        age_s=30.0,
        stale=False,
        trend="rising",
        minimum="21.0",
        maximum="21.50",
        mean="21.25",
    )
    assert (humidity.age_s, humidity.trend) == (90.0, None)


def test_a_state_has_no_number_trend_or_extremes() -> None:
    ear = sensing("zigbee2mqtt")
    for second, sent in enumerate((b"true", b"false", b"true")):
        ear.ingest("zigbee2mqtt/door", b'{"contact": ' + sent + b"}", T0 + second)
    view = only(ear, T0 + 3)
    assert (view.text, view.number, view.unit) == ("closed", None, "")
    assert (view.trend, view.limit, view.minimum, view.maximum) == (None, None, None, None)
    assert view.mean is None


def test_channels_come_in_the_order_of_their_names() -> None:
    ear = sensing("plain-number")
    for device in ("b", "C", "a"):
        ear.ingest(f"sensors/{device}/x", b"1", T0)
    assert [view.name for view in ear.picture(T0).channels] == ["a x", "b x", "C x"]


def test_limits_end_only_well_inside() -> None:
    ear = plain(hall_temperature=ChannelSettings(low="18", high="25.0", hysteresis="1"))
    seen = []
    for value in ("20", "25", "25.1", "24.5", "24.0", "17.9", "18.5", "19", "26", "17"):
        ear.ingest(TOPIC, value.encode(), T0)
        seen.append(only(ear, T0).limit)
    assert seen == ["ok", "ok", "high", "high", "ok", "low", "low", "ok", "high", "low"]
    assert (only(ear, T0).low, only(ear, T0).high) == ("18", "25.0")


def test_without_limits_there_is_no_limit_state() -> None:
    ear = plain()
    ear.ingest(TOPIC, b"21", T0)
    assert only(ear, T0).limit is None


def test_a_value_grows_stale() -> None:
    ear = plain(hall_temperature=ChannelSettings(stale_after=60.0))
    ear.ingest(TOPIC, b"21", T0)
    assert not only(ear, T0 + 60).stale
    assert only(ear, T0 + 61).stale
    ear.ingest(TOPIC, b"21", T0 + 70)
    assert not only(ear, T0 + 71).stale


def test_a_device_that_goes_offline_makes_its_channels_stale() -> None:
    ear = sensing("zigbee2mqtt", "tasmota")
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21}', T0)
    ear.ingest("zigbee2mqtt/attic", b'{"temperature": 21}', T0)
    ear.ingest("tele/plug/STATE", b'{"POWER": "ON"}', T0)

    def stale() -> list[str]:
        return [view.name.split()[0] for view in ear.picture(T0).channels if view.stale]

    ear.ingest("zigbee2mqtt/hall/availability", b'{"state":"offline"}', T0)
    ear.ingest("tele/plug/LWT", b"Offline", T0)
    assert stale() == ["hall", "plug"]
    ear.ingest("zigbee2mqtt/hall/availability", b"online", T0)
    ear.ingest("tele/plug/LWT", b"Online", T0)
    assert stale() == []
    ear.ingest("zigbee2mqtt/bridge/state", b'{"state":"offline"}', T0)
    assert stale() == ["attic", "hall"], "the bridge speaks for all its devices, and only for them"


def test_offline_counts_also_when_it_is_heard_before_the_first_value() -> None:
    """Retained messages come in any order when a subscription starts."""
    ear = sensing("zigbee2mqtt")
    ear.ingest("zigbee2mqtt/hall/availability", b"offline", T0)
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21}', T0)
    assert only(ear, T0).stale


def test_a_value_that_is_said_to_be_gone_is_stale_until_it_comes_back() -> None:
    ear = sensing("statestream")
    topic = "homeassistant/sensor/hall_temperature/state"
    ear.ingest(topic, b"unavailable", T0)
    ear.ingest(topic, b"21", T0)
    seen, _ = ear.changes_since(0, T0 + 1)
    ear.ingest(topic, b"unknown", T0 + 2)
    assert not only(ear, T0 + 3).stale
    ear.ingest(topic, b"unavailable", T0 + 10)
    ear.ingest(topic, b"unavailable", T0 + 20)
    view = only(ear, T0 + 30)
    assert (view.text, view.stale, view.offline_s) == ("21", True, 20)
    seen, changed = ear.changes_since(seen, T0 + 30)
    assert changed == (view.name,)
    ear.ingest(topic, b"21", T0 + 40)
    assert (only(ear, T0 + 41).stale, only(ear, T0 + 41).offline_s) == (False, None)
    assert ear.changes_since(seen, T0 + 41)[1] == (view.name,)


def test_the_age_of_a_retained_value_is_unknown() -> None:
    ear = plain(hall_temperature=ChannelSettings(stale_after=60.0))
    ear.ingest(TOPIC, b"21", T0, retained=True)
    view = only(ear, T0 + 30)
    assert (view.text, view.age_s, view.stale) == ("21", None, False)
    assert only(ear, T0 + 61).stale
    ear.ingest(TOPIC, b"21", T0 + 62)
    assert only(ear, T0 + 63).age_s == 1


@pytest.mark.parametrize(
    "told", ['"2023-11-14T22:11:20Z"', '"2023-11-14T23:11:20+01:00"', "1699999880000", "1699999880"]
)
def test_a_retained_message_that_tells_the_time_has_an_age(told: str) -> None:
    ear = sensing("zigbee2mqtt")
    body = f'{{"temperature": 21, "last_seen": {told}}}'.encode()
    ear.ingest("zigbee2mqtt/hall", body, T0, retained=True)
    assert only(ear, T0 + 5).age_s == T0 + 5 - 1_699_999_880
    ear.ingest("zigbee2mqtt/hall", body, T0 + 10)
    assert only(ear, T0 + 15).age_s == 5, "clocks may differ: what comes now is of now"


@pytest.mark.parametrize("told", ['"2023-11-14T22:11:20"', "12", '"soon"', "1e400", "null", "[]"])
def test_a_retained_message_with_no_sane_time_has_no_age(told: str) -> None:
    ear = sensing("zigbee2mqtt")
    body = f'{{"temperature": 21, "last_seen": {told}}}'.encode()
    ear.ingest("zigbee2mqtt/hall", body, T0, retained=True)
    assert only(ear, T0 + 5).age_s is None


def test_a_state_is_known_since_it_began_and_its_changes_are_counted() -> None:
    ear = sensing("zigbee2mqtt")

    def say(contact: bytes, at: float) -> tuple[str | None, float | None, int | None]:
        ear.ingest("zigbee2mqtt/door", b'{"contact": %s}' % contact, at)
        view = only(ear, at + 10)
        return view.text, view.since_s, view.changes

    assert say(b"false", T0) == ("open", 10, 0)
    assert say(b"false", T0 + 60) == ("open", 70, 0)
    assert say(b"true", T0 + 100) == ("closed", 10, 1)
    assert say(b"false", T0 + 200) == ("open", 10, 2)
    assert only(ear, T0 + 1000).since_s == 800
    assert only(ear, T0 + 7200).changes == 0, "in the last hour"


def test_since_when_a_kept_state_holds_is_unknown_until_it_changes() -> None:
    ear = sensing("zigbee2mqtt")
    ear.ingest("zigbee2mqtt/door", b'{"contact": true}', T0, retained=True)
    assert only(ear, T0).since_s is None
    ear.ingest("zigbee2mqtt/door", b'{"contact": true}', T0 + 10)
    assert only(ear, T0 + 20).since_s is None
    ear.ingest("zigbee2mqtt/door", b'{"contact": false}', T0 + 30)
    assert only(ear, T0 + 35).since_s == 5


def test_a_limit_state_is_known_since_it_began() -> None:
    ear = plain(hall_temperature=ChannelSettings(high="25.0", hysteresis="1"))
    seen = []
    for minute, value in enumerate((b"24", b"26", b"25.5", b"24.5", b"23", b"22")):
        ear.ingest(TOPIC, value, T0 + 60 * minute)
        view = only(ear, T0 + 60 * minute)
        seen.append((view.limit, view.since_s))
    assert seen == [("ok", 0), ("high", 0), ("high", 60), ("high", 120), ("ok", 0), ("ok", 60)]
    ear = plain()
    ear.ingest(TOPIC, b"24", T0)
    assert only(ear, T0 + 1).since_s is None, "a number without limits has no state"


def test_an_offline_device_is_known_since_when() -> None:
    ear = sensing("zigbee2mqtt")
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21}', T0)
    assert only(ear, T0).offline_s is None
    ear.ingest("zigbee2mqtt/hall/availability", b"offline", T0 + 10)
    ear.ingest("zigbee2mqtt/hall/availability", b"offline", T0 + 20)
    assert (only(ear, T0 + 40).offline_s, only(ear, T0 + 40).stale) == (30, True)
    ear.ingest("zigbee2mqtt/hall/availability", b"online", T0 + 50)
    ear.ingest("zigbee2mqtt/bridge/state", b"offline", T0 + 60)
    assert only(ear, T0 + 65).offline_s == 5


def test_only_changes_that_matter_are_told() -> None:
    ear = sensing(
        "zigbee2mqtt", channels={"hall temperature": ChannelSettings(high="23", stale_after=600.0)}
    )
    revision = 0

    def told(topic: str, payload: bytes, at: float) -> tuple[str, ...]:
        nonlocal revision
        ear.ingest(f"zigbee2mqtt/{topic}", payload, at)
        revision, names = ear.changes_since(revision, at)
        assert revision == ear.revision
        return names

    assert told("hall", b'{"temperature": 21.0}', T0) == ("hall temperature",)
    assert told("hall", b'{"temperature": 21.2}', T0 + 1) == (), "within the noise of 0.2 °C"
    assert told("hall", b'{"temperature": 21.4}', T0 + 2) == ("hall temperature",)
    assert told("hall", b'{"temperature": 22.9}', T0 + 3) == ("hall temperature",)
    assert told("hall", b'{"temperature": 23.1}', T0 + 4) == ("hall temperature",), "above a limit"
    assert told("door", b'{"contact": true}', T0 + 5) == ("door contact",)
    assert told("door", b'{"contact": true}', T0 + 6) == ()
    assert told("door", b'{"contact": false}', T0 + 7) == ("door contact",)
    assert told("door/availability", b"offline", T0 + 8) == ("door contact",)
    assert told("door/availability", b"online", T0 + 9) == ("door contact",)
    assert told("other", b"{}", T0 + 605) == ("hall temperature",), "gone stale"
    assert told("other", b"{}", T0 + 700) == ()
    assert told("hall", b'{"temperature": 23.1}', T0 + 701) == ("hall temperature",), "back"
    assert ear.changes_since(0, T0 + 701)[1] == ("door contact", "hall temperature")


def test_a_picture_can_be_of_some_channels_only() -> None:
    ear = sensing("plain-number")
    for device in "abc":
        ear.ingest(f"sensors/{device}/x", b"1", T0)
    some = ear.picture(T0, ["c x", "A x", "nothing"])
    assert [view.name for view in some.channels] == ["a x", "c x"]


def test_own_names_and_units_replace_the_firmwares() -> None:
    ear = plain(hall_temperature=ChannelSettings(rename="Lounge", unit="°F"))
    ear.ingest(TOPIC, b"70", T0)
    assert (only(ear, T0).name, only(ear, T0).unit) == ("Lounge", "°F")


def test_a_channel_can_be_hidden_and_a_diagnostic_one_shown() -> None:
    channels = {
        "* humidity": ChannelSettings(show=False),
        "a link quality": ChannelSettings(show=True),
    }
    ear = sensing("zigbee2mqtt", channels=channels)
    for device in ("a", "b"):
        ear.ingest(f"zigbee2mqtt/{device}", b'{"humidity": 1, "linkquality": 9}', T0)
    assert [view.name for view in ear.picture(T0).channels] == ["a link quality"]


def test_a_configured_channel_is_known_before_it_reports() -> None:
    ear = plain(hall_temperature=ChannelSettings(high="25"))
    view = only(ear, T0)
    assert (view.name, view.text, view.age_s, view.stale) == ("hall temperature", None, None, True)
    ear.ingest(TOPIC, b"21", T0)
    assert (only(ear, T0).text, only(ear, T0).limit) == ("21", "ok")


def test_two_values_of_one_name_stay_apart() -> None:
    ear = sensing("plain-number")
    ear.ingest("sensors/pump_07/x", b"1", T0)
    ear.ingest("sensors/pump 07/x", b"2", T0)
    ear.ingest("sensors/pump_07/x", b"3", T0)
    texts = {view.name: view.text for view in ear.picture(T0).channels}
    assert texts == {"pump 07 x": "3", "pump 07 x 2": "2"}


def test_channels_beyond_the_limit_are_refused_and_reported() -> None:
    ear = sensing("plain-number", max_channels=3)
    for number in range(10):
        ear.ingest(f"sensors/d{number}/x", b"1", T0)
    assert len(ear.picture(T0).channels) == 3
    assert ear.counts()["refused"] == 7
    assert ear.take_problems()[0] == "refused: d3 x: too many channels (context.max_channels)"
    assert ear.take_problems() == ()
    assert ear.ingest("sensors/d0/x", b"2", T0) == 1, "those that are known go on"


def test_a_flood_of_topics_and_keys_stays_bounded() -> None:
    ear = sensing("zigbee2mqtt", "plain-number", max_channels=5)
    for number in range(6000):
        ear.ingest(f"zigbee2mqtt/d{number}", b'{"k%d": 1}' % number, T0)
        ear.ingest(f"zigbee2mqtt/d{number}/availability", b"offline", T0)
    assert len(ear._routes) <= 4096
    assert len(ear._slots) <= 20
    assert len(ear._devices) <= 20


def test_endless_names_are_not_remembered() -> None:
    ear = sensing("zigbee2mqtt", "tasmota", "senml", "shelly", diagnostics=True)
    name = "n" * 60_000
    ear.ingest(f"zigbee2mqtt/{name}", b'{"temperature": 1}', T0)
    ear.ingest("zigbee2mqtt/a", b'{"%s": 1}' % name.encode(), T0)
    ear.ingest("tele/a/SENSOR", b'{"%s": {"Temperature": 1}}' % name.encode(), T0)
    ear.ingest("senml/a", b'[{"n": "%s", "v": 1}]' % name.encode(), T0)
    ear.ingest(
        "a/events/rpc", b'{"method":"NotifyStatus","params":{"%s":{"v":1}}}' % name.encode(), T0
    )
    assert not any(name in topic for topic in ear._routes)
    assert len(ear._slots) == 0


def test_what_cannot_be_used_is_counted_and_described() -> None:
    ear = sensing("zigbee2mqtt")
    assert ear.ingest("zigbee2mqtt/a\x1b[2J", b"{", T0) == 0
    assert ear.ingest("zigbee2mqtt/a", b"x" * 70000, T0) == 0
    assert ear.ingest("elsewhere", b"1", T0) == 0
    counts = ear.counts()
    assert (counts["messages"], counts["malformed"], counts["ignored"]) == (3, 2, 1)
    first, second = ear.take_problems()
    assert first.startswith("malformed: zigbee2mqtt/a [2J: ")
    assert second == "malformed: zigbee2mqtt/a: 70000 bytes are too many"


def test_the_first_source_that_knows_a_topic_has_it() -> None:
    ear = sensing("zigbee2mqtt", "plain-json", base="z")
    ear.ingest("z/a", b'{"temperature": 1}', T0)
    assert only(ear, T0).unit == "°C"


def test_the_filters_to_subscribe_to_cover_each_other_nowhere() -> None:
    assert sensing("zigbee2mqtt", "tasmota").topics() == (
        "zigbee2mqtt/#",
        "stat/+/+",
        "tele/#",
        "+/tele/+",
        "+/stat/+",
    )


def test_a_clock_that_is_set_back_or_forward_does_no_harm() -> None:
    ear = plain()
    ear.ingest(TOPIC, b"20", T0)
    ear.ingest(TOPIC, b"21", T0 - 1e8)
    assert (only(ear, T0 - 1e8).text, only(ear, T0 - 1e8).minimum) == ("21", "21")
    ear.ingest(TOPIC, b"22", T0 + 1e8)
    assert (only(ear, T0 + 1e8).minimum, only(ear, T0).age_s) == ("22", 0.0)


def test_pictures_can_be_taken_while_messages_arrive() -> None:
    ear = sensing("plain-number")
    failures: list[Exception] = []

    def arrive() -> None:
        try:
            for number in range(3000):
                ear.ingest(f"sensors/d{number % 50}/x", b"%d" % number, T0 + number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=arrive) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for view in ear.picture(T0 + 4000).channels:
            assert view.text is not None
    for thread in threads:
        thread.join()
    assert failures == []
    assert ear.counts()["events"] == 6000


def readings(step: float, *numbers: float) -> Iterator[tuple[float, float]]:
    return ((T0 + step * place, number) for place, number in enumerate(numbers))


def history(step: float, *numbers: float, span: float = 3600.0) -> tuple[History, float]:
    """A history of readings every `step` seconds, and the time of the last."""
    kept, at = History(span), T0
    for at, number in readings(step, *numbers):
        kept.add(at, number, f"{number:.1f}")
    return kept, at


def extremes(kept: History, now: float) -> tuple[str, str] | None:
    summary = kept.summary(now)
    return summary[:2] if summary else None


@pytest.mark.parametrize("step", [1, 10, 60, 300])
@pytest.mark.parametrize(("slope", "trend"), [(0.1, "rising"), (-0.1, "falling"), (0.0, "steady")])
def test_a_trend_is_seen_at_any_rate(step: float, slope: float, trend: str) -> None:
    kept, now = history(step, *(20 + slope * n for n in range(12)))
    assert kept.trend(now, 0.2) == trend


def test_noise_is_no_trend() -> None:
    flicker = [21.0, 21.1, 20.9, 21.1, 21.0, 20.9, 21.1, 21.0] * 4
    assert history(60, *flicker)[0].trend(T0 + 60 * 31, 0.2) == "steady"
    assert history(60, *flicker)[0].trend(T0 + 60 * 31, None) == "steady"
    wild = [10.0, 30.0, 12.0, 28.0, 11.0, 31.0, 9.0, 33.0]
    assert history(60, *wild)[0].trend(T0 + 60 * 7, 0.2) == "steady"


def test_a_change_within_the_noise_is_steady_and_two_readings_may_be_a_trend() -> None:
    assert history(600, 21.0, 21.2)[0].trend(T0 + 600, 0.2) == "steady"
    assert history(600, 21.0, 21.3)[0].trend(T0 + 600, 0.2) == "rising"
    assert history(600, 21.0, 29.0)[0].trend(T0 + 600, None) is None, "too few to know the noise"
    assert history(600, 21.0)[0].trend(T0, 0.2) is None


def test_the_span_is_covered_however_many_readings_it_has() -> None:
    for place in range(1450, 5000, 150):
        numbers = [50.0] * 5000
        numbers[place], numbers[place - 1] = 10.0, 90.0
        kept, now = history(1, *numbers)
        assert extremes(kept, now) == ("10.0", "90.0"), "wherever in the last hour they are"
        assert len(kept) <= BUCKETS
    kept, now = history(1, *(20 + n / 100 for n in range(10_000)))
    assert extremes(kept, now)[1] == "120.0"
    assert 79.9 <= float(extremes(kept, now)[0]) <= 84.0, "the last hour, to within one bucket"


def test_the_past_is_forgotten() -> None:
    kept, now = history(600, 99.0, -99.0, *([21.0] * 12))
    assert extremes(kept, now) == ("21.0", "21.0")
    assert extremes(kept, now + 7200) is None
    assert kept.trend(now + 7200, 0.2) is None


@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(-1e99, 1e99)), min_size=1, max_size=120),
    st.sampled_from([60.0, 3600.0, 86400.0]),
)
def test_extremes_are_those_of_the_span_and_memory_is_bounded(
    steps: list[tuple[float, float]], span: float
) -> None:
    kept, at, heard = History(span), T0, []
    for step, number in steps:
        at += step
        kept.add(at, number, repr(number))
        heard.append((at, number))
    assert len(kept) <= BUCKETS
    found = extremes(kept, at)
    assert found is not None
    low, high = float(found[0]), float(found[1])
    certain = [number for time, number in heard if time >= at - span]
    possible = [number for time, number in heard if time >= at - 1.5 * span]
    assert min(possible) <= low <= min(certain)
    assert max(certain) <= high <= max(possible)
    assert kept.trend(at, 0.2) in (None, "rising", "falling", "steady")
    assert kept.trend(at, None) in (None, "rising", "falling", "steady")
