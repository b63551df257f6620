"""TLS, with a real Mosquitto: what connects, and what is said about what doesn't."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import certificates
import pytest
from conftest import WAIT, Mosquitto
from test_mqtt import Recorder

from edgespike.agent import tls
from edgespike.agent.events import Connected, ConnectionEvent, Lost
from edgespike.config import Broker, Tls
from edgespike.errors import ConfigError
from edgespike.settings.declared import Secret


@pytest.fixture
def listener(pki: Path, tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Starts a Mosquitto that speaks TLS, with more lines of configuration; gives its port."""
    started: list[Mosquitto] = []

    def start(more: str = "") -> int:
        home = tmp_path / f"mosquitto-{len(started)}"
        home.mkdir()
        pair = f"certfile {pki}/server.pem\nkeyfile {pki}/server.key\n"
        broker = Mosquitto(home, pair + more, anonymous=True)
        broker.start()
        started.append(broker)
        return broker.port

    yield start
    for broker in started:
        broker.stop()


def first(port: int, settings: Tls | None, host: str = "127.0.0.1") -> ConnectionEvent:
    """What a connection reports first."""
    recorder = Recorder(Broker(host=host, port=port, tls=settings))
    recorder.connection.start()
    try:
        return recorder.events.get(timeout=WAIT)
    finally:
        recorder.connection.stop()


def reason(event: ConnectionEvent) -> str:
    assert isinstance(event, Lost)
    assert len(event.reason.splitlines()) == 1
    return event.reason


def test_the_certificate_must_be_of_our_ca_and_for_the_host(
    pki: Path, listener: Callable[[str], int]
) -> None:
    port = listener("")
    ca = pki / "ca.pem"
    assert isinstance(first(port, Tls(ca_file=ca)), Connected)
    for wrong in (Tls(), Tls(ca_file=pki / "stranger.pem")):
        assert "not signed by anyone we trust" in reason(first(port, wrong))
    assert "is for another name" in reason(first(port, Tls(ca_file=ca), "localhost"))


def test_a_server_name_is_checked_instead_of_the_host(
    pki: Path, listener: Callable[[str], int]
) -> None:
    port = listener("")
    ca = pki / "ca.pem"
    right = Tls(ca_file=ca, server_name=certificates.HOST)
    assert isinstance(first(port, right, "localhost"), Connected)
    wrong = Tls(ca_file=ca, server_name="other.test")
    assert "is for another name" in reason(first(port, wrong))
    assert isinstance(first(port, Tls(ca_file=ca, verify_hostname=False), "localhost"), Connected)
    # The name isn't looked at, the signature is.
    careless = Tls(ca_file=pki / "stranger.pem", verify_hostname=False)
    assert "not signed by anyone we trust" in reason(first(port, careless))


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_a_broker_that_wants_client_certificates(
    version: str, pki: Path, listener: Callable[[str], int]
) -> None:
    port = listener(f"cafile {pki}/ca.pem\nrequire_certificate true\ntls_version {version}\n")
    ca = pki / "ca.pem"
    assert "the broker wants a client certificate" in reason(first(port, Tls(ca_file=ca)))
    stranger = Tls(ca_file=ca, cert_file=pki / "stranger.pem", key_file=pki / "stranger.key")
    assert "doesn't know the CA of our client certificate" in reason(first(port, stranger))
    known = Tls(
        ca_file=ca,
        cert_file=pki / "client.pem",
        key_file=pki / "locked.key",
        key_password=Secret("open"),
    )
    assert isinstance(first(port, known), Connected)


def test_tls_meets_a_port_without_it_and_the_other_way_round(
    pki: Path, listener: Callable[[str], int], broker: Mosquitto
) -> None:
    assert "does this port want TLS?" in reason(first(listener(""), None))
    assert "doesn't speak TLS at this port" in reason(first(broker.port, Tls()))


def server_side(pki: Path) -> ssl.SSLContext:
    """A server's context, to see what a client asks for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    return context


def test_the_server_hears_our_name_for_it_and_our_protocols(pki: Path) -> None:
    context = server_side(pki)
    context.set_alpn_protocols(["x-amzn-mqtt-ca", "mqtt"])
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    settings = Tls(ca_file=pki / "ca.pem", server_name=certificates.HOST, alpn=("other", "mqtt"))
    with socket.create_server(("127.0.0.1", 0)) as door:
        recorder = Recorder(Broker(host="127.0.0.1", port=door.getsockname()[1], tls=settings))
        recorder.connection.start()
        with context.wrap_socket(door.accept()[0], server_side=True) as side:
            assert (side.selected_alpn_protocol(), asked) == ("mqtt", [certificates.HOST])
    recorder.connection.stop()


def test_tls_1_1_is_too_old(pki: Path) -> None:
    context = server_side(pki)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server(("127.0.0.1", 0)) as door:
        settings = Tls(ca_file=pki / "ca.pem")
        recorder = Recorder(Broker(host="127.0.0.1", port=door.getsockname()[1], tls=settings))
        recorder.connection.start()
        with pytest.raises(ssl.SSLError, match=r"version|protocol"):
            context.wrap_socket(door.accept()[0], server_side=True)
        event = recorder.until(lambda e: isinstance(e, Lost))
        assert "1.2 at least" in reason(event)
    recorder.connection.stop()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca_file": "ca.key"}, "no certificate in PEM format"),
        ({"cert_file": "client.pem", "key_file": "server.key"}, "doesn't belong"),
        ({"cert_file": "client.pem", "key_file": "locked.key"}, "key_password doesn't open it"),
        ({"cert_file": "client.pem"}, "no certificate and key"),
    ],
)
def test_files_that_cannot_be_used_are_a_configuration_error(
    files: dict[str, str], said: str, pki: Path
) -> None:
    settings = Tls(**{name: pki / file for name, file in files.items()})
    with pytest.raises(ConfigError, match=r"^broker\.tls\..*" + said) as caught:
        tls.context(settings)
    assert len(str(caught.value).splitlines()) == 1


def test_clients_take_a_whole_connection_from_options_or_the_configuration(
    pki: Path, listener: Callable[[str], int], tmp_path: Path
) -> None:
    (tmp_path / "passwords").write_text("asker:word\n")
    (tmp_path / "password").write_text("word\n")
    subprocess.run(["mosquitto_passwd", "-U", tmp_path / "passwords"], check=True)
    port = listener(
        f"cafile {pki}/ca.pem\nrequire_certificate true\npassword_file {tmp_path}/passwords\n"
    )
    config = tmp_path / "edgespike.yaml"
    files = [pki / name for name in ("ca.pem", "client.pem", "client.key")]
    config.write_text(
        "node: nobody\nsensors: of no interest here\n"
        f"broker: {{host: 127.0.0.1, port: {port}, username: asker, password: '${{WORD}}',"
        f" tls: {{ca_file: {files[0]}, cert_file: {files[1]}, key_file: {files[2]}}}}}\n"
    )
    command = [sys.executable, "-m", "edgespike", "top", "--once", "--timeout", "2"]
    options = ["--ca", files[0], "--cert", files[1], "--key", files[2], "--username", "asker"]
    broker = ["--node", "nobody", "--broker", f"mqtts://127.0.0.1:{port}"]
    for words, environment in (
        (["--config", config], {"WORD": "word"}),
        (["--config", config, "--password-file", tmp_path / "password"], {}),
        ([*broker, *options, "--password-file", tmp_path / "password"], {}),
        ([*broker, *options], {"EDGESPIKE_MQTT_PASSWORD": "word"}),
    ):
        done = subprocess.run(
            [*command, *words],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (69, 1), done.stderr
        assert "node 'nobody' has never been" in done.stderr
