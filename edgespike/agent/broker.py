"""An MQTT 5 broker in a process of its own, on a free local port: for the demo, not for more."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from types import TracebackType

import iotcore

from edgespike.errors import UnavailableError

# The default listener of iotcore speaks MQTT 3.1.1; only a file can ask for one that speaks 5.
_CONFIGURATION = """\
id = 0

[router]
id = 0
max_connections = 64
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10

[v5.1]
name = "mqtt5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """Runs while the context lasts, on 127.0.0.1 and `port` (0: any free one)."""

    def __init__(self, port: int = 0) -> None:
        """Raises UnavailableError when the port is taken."""
        self.port = _claim(port)
        self._directory = tempfile.TemporaryDirectory(prefix="edgespike-broker-")
        self._broker: iotcore.Broker | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> EmbeddedBroker:
        path = Path(self._directory.name) / "broker.toml"
        path.write_text(_CONFIGURATION.format(port=self.port))
        self._broker = iotcore.Broker(config_path=str(path))
        try:
            self._broker.start()
        except (OSError, RuntimeError) as error:
            self._directory.cleanup()
            raise UnavailableError(
                f"the embedded broker can't use port {self.port}: {error}"
            ) from error
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._broker is not None:
            self._broker.stop()
        self._directory.cleanup()


def _claim(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UnavailableError(
                f"port {port} is in use: choose another with --port, or none for any free one"
            ) from error
        return int(probe.getsockname()[1])
