"""A small public key infrastructure, made with openssl in a directory of the test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HOST = "broker.test"
"""A name in the server's certificate beside 127.0.0.1."""


def make(directory: Path) -> Path:
    """ca, server, client and stranger (.pem and .key) in `directory`: server (for 127.0.0.1 and
    HOST) and client are signed by ca; stranger is a CA of its own, locked.key has a password."""
    _openssl(directory, *_request("ca"), "-x509", "-addext", "basicConstraints=critical,CA:TRUE")
    _openssl(directory, *_request("stranger"), "-x509")
    for name, extension in (
        ("server", f"subjectAltName=IP:127.0.0.1,DNS:{HOST}"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        _openssl(directory, *_request(name, f"{name}.csr"), "-addext", extension)
        _openssl(
            directory,
            *("x509", "-req", "-in", f"{name}.csr", "-copy_extensions", "copyall", "-days", "2"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem"),
        )
    locked = ["-aes256", "-passout", "pass:open", "-out", "locked.key"]
    _openssl(directory, "ec", "-in", "client.key", *locked)
    for key in directory.glob("*.key"):
        key.chmod(0o644)  # a broker may run as another user
    return directory


def _request(name: str, out: str | None = None) -> list[str]:
    words = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    out = out or f"{name}.pem"
    return [*words, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", out]


def _openssl(directory: Path, *words: str) -> None:
    binary = shutil.which("openssl")
    if binary is None:
        pytest.fail("openssl, which makes the certificates, is not installed")
    done = subprocess.run([binary, *words], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
