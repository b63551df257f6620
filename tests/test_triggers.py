"""Trigger rules: when they fire, decided from views and times alone; and the alerts they become."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import NODE, DaemonProcess, Message, Mosquitto, Peer
from hypothesis import given
from hypothesis import strategies as st
from test_daemon import LONG, chunk

from edgespike.agent.rules_file import load_rules, save_rules
from edgespike.config import Trigger
from edgespike.errors import DataError
from edgespike.sensing.memory import Clock
from edgespike.sensing.picture import ChannelView
from edgespike.sensing.triggers import Firing, Triggers, WatchMemory, facts
from edgespike.settings.declared import Number, Seconds

ALERT = f"edgespike/{NODE}/alert"


def rule(**fields: Any) -> Trigger:
    given = {"name": "rule", "channels": "* temperature", "cooldown": 0.0} | fields
    return Trigger(**given)


def view(value: float | str, name: str = "attic temperature", **facts: Any) -> ChannelView:
    number = None if isinstance(value, str) else float(value)
    return ChannelView(name, str(value), number, **facts)


def run(rules: list[Trigger], *seen: tuple[float, ChannelView], end: float = 0.0) -> list[Firing]:
    """What fires when these views come at these times, and time goes on until `end`."""
    triggers = Triggers(rules)
    fired = [firing for at, each in seen for firing in triggers.see(each, at)]
    return fired + triggers.elapse(end)


def times(firings: list[Firing]) -> list[float]:
    return [firing.at for firing in firings]


def test_a_number_fires_when_it_comes_above_and_again_after_it_came_back() -> None:
    seen = [(t, view(v)) for t, v in enumerate([20, 31, 32, 29, 31, 20])]
    assert times(run([rule(above=Number("30"))], *seen)) == [1, 4]


def test_the_hysteresis_decides_when_it_can_fire_again() -> None:
    seen = [(t, view(v)) for t, v in enumerate([31, 29.5, 31, 28.9, 31])]
    armed = rule(above=Number("30"), hysteresis=Number("1"))
    assert times(run([armed], *seen)) == [0, 4]


def test_before_it_has_fired_the_hysteresis_means_nothing() -> None:
    """What an alert says must be true: it was above the limit all the time."""
    held = rule(above=Number("30"), hysteresis=Number("1"), held_for=Seconds(10.0))
    assert run([held], (0, view(31)), (5, view(29.5)), end=20) == []


def test_above_and_below_are_one_band() -> None:
    band = rule(above=Number("26"), below=Number("18"))
    firings = run([band], (0, view(20)), (1, view(27)), (2, view(17)), (3, view(20)), (4, view(17)))
    assert [(f.at, f.condition) for f in firings] == [(1, "above 26"), (4, "below 18")]


def test_it_must_hold_for_its_time_without_a_break() -> None:
    held = rule(below=Number("5"), held_for=Seconds(10.0))
    assert run([held], (0, view(4)), (9, view(6)), (10, view(4)), end=19) == []
    (firing,) = run([held], (0, view(4)), (9, view(6)), (10, view(4)), (15, view(3)), end=30)
    assert (firing.since, firing.at, firing.view.text) == (10, 20, "3")


def test_what_begins_in_the_cooldown_fires_at_its_end_if_it_still_holds() -> None:
    cooled = rule(above=Number("30"), cooldown=Seconds(100.0))
    seen = [(0, view(31)), (10, view(29)), (20, view(31))]
    assert times(run([cooled], *seen, end=200)) == [0, 100]
    assert times(run([cooled], *seen, (50, view(29)), end=200)) == [0]


def test_a_state_fires_when_it_changes_and_not_when_it_was_so_from_the_start() -> None:
    door = rule(channels="*", changes_to=("open", "alarm"))
    states = ["open", "open", "closed", "open", "alarm", "closed", "alarm"]
    assert times(run([door], *((t, view(s)) for t, s in enumerate(states)))) == [3, 6]


def test_every_change_fires_but_for_those_in_the_cooldown() -> None:
    states = [(t, view(s)) for t, s in enumerate("aabbcd")]
    assert times(run([rule(channels="*", changes=True)], *states)) == [2, 4, 5]
    cooled = rule(channels="*", changes=True, cooldown=Seconds(2.5))
    assert times(run([cooled], *states, end=100)) == [2, 5]


@pytest.mark.parametrize(
    ("fields", "facts_before", "facts_now", "condition"),
    [
        ({"stale": True}, {}, {"stale": True}, "stale"),
        ({"rising": True}, {"trend": "steady"}, {"trend": "rising"}, "rising"),
        ({"falling": True}, {"trend": "rising"}, {"trend": "falling"}, "falling"),
        ({"limit": True}, {"limit": "ok"}, {"limit": "high", "high": "26"}, "above 26"),
        ({"limit": True}, {"limit": "ok"}, {"limit": "low", "low": "18"}, "below 18"),
    ],
)
def test_what_a_view_says_of_itself_is_a_condition(
    fields: dict[str, Any],
    facts_before: dict[str, Any],
    facts_now: dict[str, Any],
    condition: str,
) -> None:
    seen = [(0, view(1, **facts_before)), (1, view(1, **facts_now)), (2, view(1, **facts_now))]
    firings = run([rule(**fields)], *seen)
    assert [(f.at, f.condition) for f in firings] == [(1, condition)]


def test_each_channel_is_watched_by_itself_and_others_are_not() -> None:
    firings = run(
        [rule(above=Number("30"))],
        (0, view(31, "attic temperature")),
        (1, view(31, "Cellar_Temperature")),
        (2, view(31, "attic humidity")),
        (3, ChannelView("hall temperature", None)),
    )
    assert [f.view.name for f in firings] == ["attic temperature", "Cellar_Temperature"]
    triggers = Triggers([rule(above=Number("30"))])
    assert (triggers.wants("attic temperature"), triggers.wants("attic humidity")) == (True, False)


def test_the_facts_are_said_without_a_model() -> None:
    held = rule(above=Number("30"), held_for=Seconds(300.0))
    (firing,) = run([held], (0, view(31.5, unit="°C")), end=300)
    assert facts(firing) == "attic temperature is 31.5 °C: above 30 for 5 min"
    (firing,) = run([rule(above=Number("30"))], (0, view(31.5)))
    assert facts(firing) == "attic temperature is 31.5: above 30"
    door = rule(channels="*", changes_to=("open",), held_for=Seconds(600.0))
    (firing,) = run([door], (0, view("closed", "door")), (1, view("open", "door")), end=601)
    assert facts(firing) == "door changed to open for 10 min"
    (firing,) = run([rule(stale=True)], (0, view(4, stale=True)))
    assert facts(firing) == "attic temperature was 4: stale"


steps = st.lists(
    st.tuples(st.floats(0.01, 20), st.integers(0, 8), st.booleans()), min_size=1, max_size=60
)


@given(
    steps,
    st.integers(0, 3),
    st.floats(0, 15),
    st.floats(0, 40),
    st.sampled_from([{"above": Number("4")}, {"below": Number("4")}, {"changes_to": ("5", "6")}]),
)
def test_firings_keep_their_distance_and_do_not_depend_on_how_often_time_is_looked_at(
    steps: list[tuple[float, int, bool]],
    gap: int,
    held: float,
    cooldown: float,
    kind: dict[str, Any],
) -> None:
    hysteresis = Number(str(gap)) if "changes_to" not in kind else None
    watched = rule(
        **kind, hysteresis=hysteresis, held_for=Seconds(held), cooldown=Seconds(cooldown)
    )
    eager, lazy = Triggers([watched]), Triggers([watched])
    now, seen, fired, late = 0.0, [], [], []
    for pause, value, looked in steps:
        for part in range(4):
            fired += eager.elapse(now + pause * part / 4)
        now += pause
        if looked:
            late += lazy.elapse(now)
        seen.append((now, view(value)))
        fired += eager.see(view(value), now)
        late += lazy.see(view(value), now)
    fired += eager.elapse(now + 100)
    late += lazy.elapse(now + 100)
    assert [(f.since, f.at, f.view) for f in fired] == [(f.since, f.at, f.view) for f in late]
    inside = {
        "above": lambda v: v > 4,
        "below": lambda v: v < 4,
        "changes_to": lambda v: v in (5, 6),
    }[next(iter(kind))]
    back = {"above": lambda v: v <= 4 - gap, "below": lambda v: v >= 4 + gap}.get(
        next(iter(kind)), lambda v: v not in (5, 6)
    )
    for firing in fired:
        assert firing.at >= firing.since + held
        assert all(inside(each.number) for at, each in seen if firing.since <= at < firing.at)
    for first, second in pairwise(fired):
        assert second.at >= first.at + cooldown
        assert any(back(each.number) for at, each in seen if first.at <= at <= second.at)


RULES: list[dict[str, Any]] = [
    {"name": "hot", "channels": "* temperature", "above": 30, "hysteresis": 1, "max_tokens": 3},
    {"name": "door", "channels": "* door", "changes_to": ["open"], "ask": "Is {name} {value}?"},
    {"name": "held", "channels": "* humidity", "above": 70, "held_for": "1s", "max_tokens": 3},
    {"name": "gone", "channels": "lamp *", "stale": True, "max_tokens": 3},
    {"name": "slow", "channels": "* power", "above": 10, "max_tokens": 2000},
]


def after_restart(rules: list[Trigger], *seen: tuple[float, ChannelView]) -> Triggers:
    """What another process knows that takes up these rules after these views, by the same clock."""
    first, second = Triggers(rules), Triggers(rules)
    for at, each in seen:
        first.see(each, at)
    second.recall(list(first.remembered(seen[-1][0])), seen[-1][0])
    return second


def test_what_has_fired_does_not_fire_again_after_a_restart_until_it_ended() -> None:
    hot = [rule(above=Number("30"), hysteresis=Number("1"))]
    later = after_restart(hot, (0, view(31)))
    assert not later.see(view(31), 5)
    assert not later.see(view(29.5), 6)
    assert not later.see(view(28), 7)
    assert times(later.see(view(31), 8)) == [8]


def test_what_held_before_a_restart_counts_after_it() -> None:
    held = [rule(above=Number("30"), held_for=Seconds(10.0))]
    later = after_restart(held, (0, view(31)), (4, view(31)))
    assert not later.see(view(31), 9)
    assert times(later.elapse(12)) == [10]


def test_a_cooldown_goes_on_after_a_restart() -> None:
    later = after_restart([rule(changes=True, cooldown=10.0)], (0, view("a")), (1, view("b")))
    assert not later.see(view("b"), 3)
    assert not later.see(view("c"), 4)
    assert times(later.see(view("d"), 12)) == [12]


def test_a_rule_that_was_changed_begins_anew() -> None:
    first, second = Triggers([rule(above=Number("30"))]), Triggers([rule(above=Number("29"))])
    first.see(view(31), 0)
    second.recall(list(first.remembered(1)), 1)
    assert times(second.see(view(31), 2)) == [2]


WATCHES = st.builds(
    WatchMemory,
    rule=st.text(max_size=16),
    channel=st.text(max_size=80),
    began=st.none() | st.floats(0, 1e9),
    fired=st.booleans(),
    last_fired=st.none() | st.floats(0, 1e9),
    side=st.sampled_from([None, "above", "below"]),
)


@given(st.lists(WATCHES, max_size=5), st.floats(0, 1e6))
def test_rules_come_back_from_the_disk_as_much_older_as_time_went_by(
    tmp_path_factory: pytest.TempPathFactory, watches: list[WatchMemory], elapsed: float
) -> None:
    path = tmp_path_factory.mktemp("state") / "n.rules"
    save_rules(path, watches, Clock(1e9, 5.0, "boot"))
    found = load_rules(path, Clock(1e9 + elapsed, 5.0, "another boot"))
    assert [(w.rule, w.channel, w.fired, w.side) for w in found] == [
        (w.rule, w.channel, w.fired, w.side) for w in watches
    ]
    for before, after in zip(watches, found, strict=True):
        for then, now in ((before.began, after.began), (before.last_fired, after.last_fired)):
            assert (now is None) == (then is None)
            assert then is None or now == pytest.approx(then + elapsed, abs=1e-3)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_a_file_with_something_else_is_an_error_with_its_name(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("state") / "n.rules"
    path.write_bytes(data)
    with pytest.raises(DataError, match=re.escape(str(path))):
        load_rules(path, Clock.now())


def test_rules_of_a_clock_that_was_set_back_are_forgotten(tmp_path: Path) -> None:
    save_rules(tmp_path / "n.rules", [WatchMemory("r", "c", 1, True, 1, None)], Clock(9, 1, "a"))
    assert load_rules(tmp_path / "n.rules", Clock(8, 1, "b")) == []
    assert load_rules(tmp_path / "nothing.rules", Clock.now()) == []


@pytest.fixture
def watching(daemon: DaemonProcess, peer: Peer) -> Callable[..., DaemonProcess]:
    """Starts the daemon with the rules; what is given is true of all of them. One prompt is
    answered at a time, so that the order tells who waited.
    """

    def start(**fields: Any) -> DaemonProcess:
        settings = json.loads(daemon.settings.read_text())
        settings["prompts"]["parallel"] = 1
        settings["triggers"] = [{"cooldown": 0} | each | fields for each in RULES]
        daemon.settings.write_text(json.dumps(settings))
        daemon.start()
        peer.status("online")
        # Sensors are heard once one of them is in an answer.
        for number in range(50):
            peer.publish("sensors/attic/temperature", "20")
            peer.prompt({"prompt": "warm?", "id": f"warm{number}", "max_tokens": 1})
            if peer.final().body["context"]["sensors"]:
                break
        return daemon

    return start


def alerts(peer: Peer) -> list[dict[str, Any]]:
    return [message.body for message in peer.heard if message.topic == ALERT]


def alert(**fields: Any) -> Callable[[Message], bool]:
    return lambda m: m.topic == ALERT and fields.items() <= m.body.items()


def test_a_rule_that_fires_asks_the_model_once_and_publishes_the_answer(
    watching: Callable[..., DaemonProcess], peer: Peer
) -> None:
    daemon = watching()
    for value in ("31", "32", "29.5", "31.5"):
        peer.publish("sensors/attic/temperature", value)
    message = peer.until(alert(rule="hot"))
    body = message.body
    assert (message.qos, message.retain) == (1, False)
    assert (body["channel"], body["condition"]) == ("attic temperature", "above 30")
    assert body["facts"].startswith(f"attic temperature is {body['value']}: above 30")
    assert (body["answered"], body["finish_reason"]) == (True, "length")
    assert body["text"] != body["facts"]
    assert body["question"] == "What is the attic temperature?"
    assert body["context"]["sensors"] == ["attic temperature"]
    assert body["since"] <= body["at"]
    assert body["since"].endswith("+00:00")
    peer.publish("sensors/cellar/door", "closed")
    peer.publish("sensors/cellar/door", "open")
    assert peer.until(alert(rule="door")).body["question"] == "Is cellar door open?"
    peer.publish("sensors/attic/temperature", "28")
    peer.publish("sensors/attic/temperature", "33")
    peer.until(alert(rule="hot"))
    peer.publish("zigbee2mqtt/lamp", '{"humidity": 40}')
    peer.publish("zigbee2mqtt/lamp/availability", '{"state": "offline"}')
    assert peer.until(alert(rule="gone")).body["condition"] == "stale"
    assert len(alerts(peer)) == len(daemon.events("trigger")) == len(daemon.events("alert")) == 4
    # They are no answers to anybody's prompt.
    assert not [m for m in peer.heard if m.topic.endswith("/last") and "alert" in m.body["id"]]


def test_prompts_go_first_and_what_can_not_be_asked_goes_out_with_its_facts(
    watching: Callable[..., DaemonProcess], peer: Peer
) -> None:
    daemon = watching()
    peer.prompt({**LONG, "id": "first"})
    peer.until(chunk("first"))
    for number in range(6):
        peer.publish(f"sensors/pump{number}/power", "11")
    while len(daemon.events("trigger")) < 6:
        time.sleep(0.02)
    peer.prompt({"prompt": "hello", "id": "mine", "max_tokens": 2, "stream": True})
    peer.until(lambda m: m.topic.endswith("/mine") and m.body["type"] == "accepted")
    peer.publish(f"edgespike/{NODE}/cancel", "first")
    peer.final("mine")
    assert alerts(peer) == []
    daemon.signal(signal.SIGTERM)
    for _ in range(6):
        peer.until(alert())
    assert {body["channel"] for body in alerts(peer)} == {f"pump{n} power" for n in range(6)}
    unasked = [body for body in alerts(peer) if body.get("error") == "busy"]
    assert unasked
    assert all(body["text"] == body["facts"] for body in unasked)
    assert daemon.wait() == 0


def test_an_alert_waits_for_its_answer_only_so_long(
    watching: Callable[..., DaemonProcess], peer: Peer
) -> None:
    watching(answer_within=0.5)
    peer.publish(f"edgespike/{NODE}/control", "pause")
    peer.publish("sensors/attic/temperature", "31")
    peer.publish("sensors/hall/temperature", "31")
    body = peer.until(alert(channel="attic temperature")).body
    assert (body["answered"], body["error"]) == (False, "expired")
    peer.until(alert(channel="hall temperature", answered=False))


def test_an_alert_survives_a_broker_that_is_away_and_a_crash(
    watching: Callable[..., DaemonProcess], peer: Peer, broker: Mosquitto
) -> None:
    daemon = watching()
    peer.publish("sensors/attic/humidity", "80")
    peer.prompt({"prompt": "hello", "id": "before", "max_tokens": 1})
    peer.final("before")
    broker.stop()
    while not daemon.events("alert"):
        time.sleep(0.05)
    daemon.kill()  # the answer was made and recorded, and nobody has it
    broker.start()
    late = Peer(broker.port, ALERT, f"edgespike/{NODE}/status")
    daemon.start()
    body = late.until(alert(rule="held")).body
    assert (body["id"], body["answered"]) == (daemon.events("trigger")[0]["id"], True)
    late.publish(f"edgespike/{NODE}/control", "pause")
    # Sensors are heard some time after the start; what was known before it fires again.
    while not [event for event in daemon.events("trigger") if event["rule"] == "hot"]:
        late.publish("sensors/cellar/temperature", "31")
        time.sleep(0.1)
    daemon.kill()  # now there is no answer yet: the facts must come
    daemon.start()
    body = late.until(alert(rule="hot")).body
    assert (body["answered"], body["text"]) == (False, "cellar temperature is 31: above 30")
    late.close()


def test_a_restart_does_not_repeat_an_alert(
    watching: Callable[..., DaemonProcess], peer: Peer
) -> None:
    daemon = watching()
    peer.publish("sensors/attic/temperature", "31")
    peer.until(alert(channel="attic temperature"))
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    daemon.start()
    while not [e for e in daemon.events("alert") if "cellar" in e["facts"]]:
        peer.publish("sensors/attic/temperature", "31")
        peer.publish("sensors/cellar/temperature", "31")
        time.sleep(0.1)
    assert len([e for e in daemon.events("alert") if "attic" in e["facts"]]) == 1
