"""Metrics for Prometheus: the text format as its documentation has it, and clients of any kind."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
import urllib.error
import urllib.request

import pytest
from conftest import NODE, DaemonProcess, Peer
from hypothesis import given
from hypothesis import strategies as st

from edgespike.agent.prometheus import MAX_CLIENTS, MAX_REQUEST, page

# prometheus.io/docs/instrumenting/exposition_formats, "Text format details".
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (\S+)")


def parsed(text: str) -> dict[tuple[str, str], float]:
    """The samples by name and labels; fails where the format is broken."""
    assert text.endswith("\n")
    samples: dict[tuple[str, str], float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped
            assert name not in kinds
            kinds[name] = kind
            assert kind == ("counter" if name.endswith("_total") else "gauge")
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            name, labels, value = found.groups()
            assert name == list(kinds)[-1], "samples of a metric stand together"
            assert (name, labels) not in samples
            samples[name, labels] = float(value)
    return samples


@given(
    st.dictionaries(st.text(min_size=1), st.integers(0, 10**12), max_size=5),
    st.one_of(st.none(), st.text(min_size=1)),
)
def test_whatever_the_facts_are_the_page_is_in_the_format(
    counters: dict[str, int], model: str | None
) -> None:
    facts = {
        "uptime_s": 1.5,
        "rss_mb": None,
        "paused": True,
        "model": model,
        "counters": counters,
        "recent": {"first_token_p50_ms": 12.5, "first_token_p95_ms": None},
        "spike_rates": {"encoder": 0.25, "layers": [0.5, 0.125]},
        "group": None,
    }
    samples = parsed(page(NODE, facts).decode())
    node = f'node="{NODE}"'
    assert samples["edgespike_uptime_seconds", node] == 1.5
    assert samples["edgespike_paused", node] == 1
    assert samples["edgespike_recent_first_token_seconds", f'{node},quantile="0.5"'] == 0.0125
    assert samples["edgespike_firing_rate", f'{node},layer="1"'] == 0.125
    assert not [name for name, _ in samples if "memory" in name or "group" in name]
    assert len([name for name, _ in samples if name == "edgespike_events_total"]) == len(counters)


@pytest.fixture
def port(daemon: DaemonProcess, peer: Peer) -> int:
    """The port of a daemon's metrics, once it has answered something."""
    settings = json.loads(daemon.settings.read_text())
    settings["prometheus"] = {"listen": "127.0.0.1:0"}
    daemon.settings.write_text(json.dumps(settings))
    daemon.start()
    peer.status("online")
    peer.prompt({"prompt": "hello", "id": "m1", "max_tokens": 4})
    peer.final("m1")
    return int(daemon.events("prometheus")[0]["port"])


def scrape(port: int, path: str = "metrics", method: str = "GET") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return response.read().decode()  # type: ignore[no-any-return]


def test_prometheus_gets_what_the_metrics_topic_has_and_hostile_clients_stop_nothing(
    port: int, daemon: DaemonProcess, peer: Peer
) -> None:
    answers = ("edgespike_events_total", f'node="{NODE}",event="answers"')
    while parsed(scrape(port)).get(answers) != 1:
        time.sleep(0.1)
    samples = parsed(scrape(port))
    assert samples["edgespike_resident_memory_bytes", f'node="{NODE}"'] > 1 << 20
    assert samples["edgespike_recent_first_token_seconds", f'node="{NODE}",quantile="0.95"'] > 0
    (model,) = (labels for name, labels in samples if name == "edgespike_model_info")
    assert re.search(r'model="chatter@[0-9a-f]{12}"', model)
    assert scrape(port, method="HEAD") == ""
    for path, method, status in (("", "GET", 404), ("metrics", "POST", 405)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            scrape(port, path, method)
        assert caught.value.code == status

    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * MAX_CLIENTS)]
    for number, client in enumerate(slow):
        client.settimeout(30)
        with contextlib.suppress(OSError):  # cut off already
            client.sendall(b"GET" if number % 2 else b"x" * 2 * MAX_REQUEST)
    peer.prompt({"prompt": "hello", "id": "m2", "max_tokens": 2})
    assert peer.final("m2").body["type"] == "answer"
    # All are cut off, without doing anything themselves.
    for client in slow:
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""
        client.close()
    assert parsed(scrape(port))
    daemon.signal(15)
    assert daemon.wait() == 0


def test_an_address_that_is_taken_is_one_line(daemon: DaemonProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = json.loads(daemon.settings.read_text())
        settings["prometheus"] = {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        daemon.settings.write_text(json.dumps(settings))
        assert daemon.start().wait() == 69
    last = daemon.log.read_text().splitlines()[-1]
    assert last.startswith("edgespike: prometheus.listen: 127.0.0.1:")
