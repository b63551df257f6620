"""Home Assistant's side: what it demands of discovery, and what it makes of our topics."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import NODE, DaemonProcess, Message, Mosquitto, Peer
from jinja2.sandbox import ImmutableSandboxedEnvironment
from test_daemon import LONG, chunk

from edgespike.agent.homeassistant import EVENT_TYPES, MAX_STATE, discovery
from edgespike.config import Config, load_config
from edgespike.messages import Answer, ContextUse

# What home-assistant.io/integrations/<platform>.mqtt calls required, and what of the optional keys
# is used here.
REQUIRED = {
    "notify": {"command_topic"},
    "sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "button": {"command_topic"},
    "switch": {"command_topic"},
    "select": {"command_topic", "options"},
}
OPTIONAL = {
    "notify": {"qos"},
    "sensor": {
        "value_template", "json_attributes_topic", "json_attributes_template", "icon",
        "unit_of_measurement", "device_class", "state_class", "entity_category",
    },
    "event": set(),
    "button": {"payload_press"},
    "switch": {
        "payload_on", "payload_off", "state_on", "state_off", "state_topic", "value_template",
        "entity_category",
    },
    "select": {"command_template", "state_topic", "value_template", "entity_category"},
}  # fmt: skip
# Device classes of sensors and the units that they allow (sensor.const of its core).
UNITS = {"duration": {"ms", "s"}, "data_size": {"MiB", "MB"}, "temperature": {"°C", "°F", "K"}}
README = (Path(__file__).parent.parent / "README.md").read_text()
CONFIG = f"homeassistant/device/edgespike_{NODE}/config"


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    path = tmp_path / "edgespike.yaml"
    path.write_text(f"node: {NODE}\nhomeassistant: {{enabled: true}}\n")
    return load_config(path)


@pytest.fixture
def found(settings: Config) -> dict[str, Any]:
    """The discovery payload, as it comes out at the other end."""
    return json.loads(json.dumps(discovery(settings, software="0.1", temperature=True)))  # type: ignore[no-any-return]


def render(template: str, payload: bytes) -> str:
    """What Home Assistant makes of a payload: `value`, and `value_json` if it is JSON."""
    value = payload.decode()
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    environment = ImmutableSandboxedEnvironment()
    return environment.from_string(template).render(value=value, value_json=parsed)


def test_the_payload_has_what_home_assistant_demands(found: dict[str, Any]) -> None:
    assert found["origin"]["name"] == "edgespike"
    assert found["device"]["identifiers"] == [f"edgespike_{NODE}"]
    ids = [component["unique_id"] for component in found["components"].values()]
    assert len(set(ids)) == len(ids)
    for component in found["components"].values():
        platform = component["platform"]
        keys = component.keys() - {"platform", "unique_id", "name"}
        assert REQUIRED[platform] <= keys <= REQUIRED[platform] | OPTIONAL[platform]
        for key, value in component.items():
            if key.endswith("_topic"):
                assert re.fullmatch(rf"edgespike/{NODE}/[a-z]+", value)
        assert component.get("entity_category") in (None, "config", "diagnostic")
        if component.get("device_class"):
            assert component["unit_of_measurement"] in UNITS[component["device_class"]]


def test_the_topic_is_one_that_home_assistant_looks_at(settings: Config) -> None:
    assert re.fullmatch(r"\w+/device/[a-zA-Z0-9_-]+/config", CONFIG)
    dotted = discovery(replace(settings, node="a.b"), software="0.1", temperature=False)
    assert "temperature" not in dotted["components"]
    assert dotted["components"]["answer"]["unique_id"] == "edgespike_a.b_answer"


@pytest.mark.parametrize(
    ("status", "available"),
    [("online", True), ("init", False), ("stopped", False), ("offline", False)],
)
def test_it_is_available_only_while_online(
    found: dict[str, Any], status: str, available: bool
) -> None:
    said = render(found["availability_template"], status.encode())
    assert said == found["payload_available" if available else "payload_not_available"]


@pytest.mark.parametrize("text", ["", "It is 21.5 °C.", "😀" * 20000, "<b>&'\"\\\n{{ 1 }}</b>"])
def test_an_answer_of_any_length_fits_state_and_attributes(
    found: dict[str, Any], text: str
) -> None:
    channels = tuple(f"channel {number}" for number in range(5000))
    answer = Answer("id", 0, text, "stop", context=ContextUse(channels, 10, channels))
    sensor = found["components"]["answer"]
    state = render(sensor["value_template"], answer.to_bytes())
    assert len(state) <= MAX_STATE
    assert text.startswith(state)
    attributes = render(sensor["json_attributes_template"], answer.to_bytes())
    body = json.loads(attributes)
    assert len(json.dumps(body, ensure_ascii=False).encode()) < 16384
    assert text.startswith(body["text"])
    assert body["sensors_used"] == 5000


def entity_ids(found: dict[str, Any]) -> set[str]:
    """The ids that Home Assistant makes: the platform, and the names of device and entity."""
    return {
        f"{entity['platform']}."
        + re.sub(r"[^a-z0-9]+", "_", f"{found['device']['name']} {entity['name']}".lower())
        for entity in found["components"].values()
    }


def test_the_automation_in_readme_asks_and_hears_this_node(settings: Config) -> None:
    found = discovery(replace(settings, node="home"), software="0.1", temperature=False)
    (block,) = re.findall(r"^```text\n(triggers: .*?)^```$", README, re.DOTALL | re.MULTILINE)
    (together,) = yaml.safe_load(block)["actions"]
    assert set(re.findall(r"\w+\.edgespike_\w+", block)) == {
        "sensor.edgespike_home_answer",
        "notify.edgespike_home_ask",
    } & entity_ids(found)
    # Seen at a real Home Assistant: one that was busy took in the answer before the step that waits
    # for it; a trigger with `to` or `not_to` misses an answer with the same text as the one before;
    # after a timeout it would go on, and say the answer before.
    says, asks = together["parallel"]
    assert asks["action"] == "notify.send_message"
    wait, speak = says["sequence"]
    (trigger,) = wait["wait_for_trigger"]
    assert trigger.keys() == {"trigger", "entity_id"}
    assert wait["continue_on_timeout"] is False
    assert "wait.trigger.to_state.state" in speak["data"]["message"]


def configure(daemon: DaemonProcess, **fields: Any) -> DaemonProcess:
    settings = json.loads(daemon.settings.read_text())
    daemon.settings.write_text(json.dumps(settings | {"homeassistant": fields}))
    return daemon


def event(kind: str) -> Any:
    return lambda m: m.topic.endswith("/event") and m.body["event_type"] == kind


def test_home_assistant_finds_the_node_and_every_entity_works(
    daemon: DaemonProcess, peer: Peer, broker: Mosquitto
) -> None:
    configure(daemon, enabled=True)
    settings = json.loads(daemon.settings.read_text())
    rule = {"name": "hot", "channels": "* temperature", "above": 30, "max_tokens": 2}
    daemon.settings.write_text(json.dumps(settings | {"triggers": [rule]}))
    daemon.start()
    peer.status("online")
    hass = Peer(broker.port, "homeassistant/device/#", f"edgespike/{NODE}/#")
    message = hass.until(lambda m: m.topic == CONFIG)
    assert message.retain
    found = message.body["components"]

    def state(name: str, wanted: str) -> Message:
        """Wait until an entity has this state."""
        entity = found[name]
        return hass.until(
            lambda m: (
                m.topic == entity["state_topic"]
                and render(entity["value_template"], m.payload) == wanted
            )
        )

    # Text is text, also where it looks like JSON.
    hass.publish(found["ask"]["command_topic"], "{kitchen}: how warm?")
    answered = hass.until(event("answer")).body
    state("answer", answered["text"][:MAX_STATE])
    assert {"id", "text", "finish_reason", "first_token_ms"} <= answered.keys()
    hass.publish(found["ask"]["command_topic"], b"\xff\xfe")
    assert hass.until(event("error")).body["code"] == "bad_request"
    assert {"answer", "error"} < set(EVENT_TYPES) == set(found["event"]["event_types"])

    hass.publish("sensors/attic/temperature", "31", retain=True)
    alert = hass.until(event("alert")).body
    assert (alert["rule"], alert["channel"]) == ("hot", "attic temperature")

    switch = found["answering"]
    hass.publish(switch["command_topic"], switch["payload_off"])
    state("answering", switch["state_off"])
    hass.publish(switch["command_topic"], switch["payload_on"])
    state("answering", switch["state_on"])

    hass.prompt({**LONG, "id": "long"})
    hass.until(chunk("long"))
    hass.publish(found["stop"]["command_topic"], found["stop"]["payload_press"])
    assert hass.final("long").body["finish_reason"] == "cancelled"

    for name, option in (("grounding", "report"), ("log_level", "debug")):
        select = found[name]
        assert option in select["options"]
        command = render(select["command_template"], option.encode())
        hass.publish(select["command_topic"], command)
        measured = state(name, option).payload
    # Not the mean: one prompt that waited for a minute would tell of a slow node for an hour.
    assert found["first_token"]["value_template"] == "{{ value_json.recent.first_token_p50_ms }}"
    for name, entity in found.items():
        if entity.get("state_class") == "measurement":
            assert float(render(entity["value_template"], measured)) >= 0, name

    # Home Assistant starts anew, and wants to know everything again.
    hass.publish("homeassistant/status", "online")
    again = hass.until(lambda m: m.topic == CONFIG)
    assert again.body == message.body
    hass.close()


def test_what_was_announced_is_taken_back_when_it_is_no_longer_wanted(
    daemon: DaemonProcess, peer: Peer, broker: Mosquitto
) -> None:
    hass = Peer(broker.port, "+/device/#")
    state = daemon.directory / "state"
    state.mkdir()
    before = CONFIG.replace("homeassistant", "before")
    (state / f"{NODE}.homeassistant").write_text(before)  # as an earlier configuration had it
    configure(daemon, enabled=True).start()
    hass.until(lambda m: m.topic == before and not m.payload)
    hass.until(lambda m: m.topic == CONFIG and bool(m.payload))
    peer.status("online")
    daemon.signal(15)
    assert daemon.wait() == 0
    configure(daemon, enabled=False).start()
    hass.until(lambda m: m.topic == CONFIG and not m.payload)
    while len(daemon.events("homeassistant_withdrawn")) < 2:
        peer.until(lambda m: True)
    assert not list(state.glob("*.homeassistant"))
    late = Peer(broker.port, "+/device/#", "marker")
    late.publish("marker", "x")
    late.until(lambda m: m.topic == "marker")
    assert [m.topic for m in late.heard] == ["marker"]
    late.close()
    hass.close()


def test_a_broker_that_retains_nothing_is_told_from_one_that_is_away(
    tmp_path: Path, chatter: Path
) -> None:
    home = tmp_path / "mosquitto"
    home.mkdir()
    broker = Mosquitto(home)
    text = broker._configuration.read_text()
    broker._configuration.write_text(f"{text}retain_available false\n")
    broker.start()
    peer = Peer(broker.port, f"edgespike/{NODE}/#")
    daemon = DaemonProcess(tmp_path, broker.port, chatter).start()
    peer.status("online")
    peer.prompt({"prompt": "hello", "id": "n1", "max_tokens": 2})
    assert peer.final("n1").body["type"] == "answer"
    assert len(daemon.events("retain_unavailable")) == 1
    daemon.kill()
    peer.status("offline")
    peer.close()
    broker.stop()
