"""Where Prometheus finds this node's metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from edgespike.settings.declared import Setting

_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to listen at; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address_problem(text: str) -> str | None:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        return "must be an address and a port, such as 127.0.0.1:9464 or [::1]:9464"
    return None


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Metrics over HTTP."""

    listen: Annotated[
        str | None,
        Setting(
            "Address and port of http://.../metrics; none when not given.",
            check=_address_problem,
            example="127.0.0.1:9464",
        ),
    ] = None

    @property
    def endpoint(self) -> Endpoint | None:
        """The address to listen at, if there is one."""
        found = _ADDRESS.fullmatch(self.listen or "")
        return Endpoint(found[1] or found[2], int(found[3])) if found else None
