"""TLS to the broker: a context as the settings want it, and its failures in words that help."""

from __future__ import annotations

import ssl
from typing import Any

from edgespike.config import Tls
from edgespike.errors import ConfigError

_CLOCK = "compare the broker's certificate with this machine's clock"
_UNTRUSTED = (
    "the broker's certificate is not signed by anyone we trust: its CA belongs into "
    "tls.ca_file (--ca)"
)
_NAME = (
    "the broker's certificate is for another name: correct the host, or set tls.server_name to a "
    "name that is in it"
)
# Codes of x509_vfy.h in OpenSSL.
_VERIFY = {
    9: f"the broker's certificate isn't valid yet: {_CLOCK}",
    10: f"the broker's certificate has expired: {_CLOCK}",
    18: _UNTRUSTED,
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    62: _NAME,
    64: _NAME,
}
_NO_TLS = "the broker doesn't speak TLS at this port: correct the port, or leave tls out"
_OUR_CERTIFICATE = "set tls.cert_file and tls.key_file (--cert and --key)"
# Alerts of RFC 5246 and RFC 8446, section 6, as OpenSSL names them. With TLS 1.2 a missing client
# certificate is no more than a failed handshake.
_REASONS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker wants a client certificate:"
    f" {_OUR_CERTIFICATE}",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker wants a client certificate, or other ciphers:"
    f" {_OUR_CERTIFICATE}",
    "TLSV1_ALERT_UNKNOWN_CA": "the broker doesn't know the CA of our client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the broker finds our client certificate bad",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our client certificate has been revoked",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the broker takes none of the protocols in tls.alpn",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the broker speaks no TLS as new as we ask for (1.2 at least)",
    "UNSUPPORTED_PROTOCOL": "the broker speaks no TLS as new as we ask for (1.2 at least)",
}


def reason(error: BaseException, *, handshake: bool = False) -> str:
    """What went wrong with a connection, in one line; also for errors that aren't TLS's.
    `handshake`: whether it was being made, with TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY.get(error.verify_code)
        return f"TLS: {known or error.verify_message or error}"
    cut = isinstance(error, ConnectionResetError) and handshake
    if cut or isinstance(error, ssl.SSLEOFError):
        return f"TLS: {_NO_TLS}"
    if isinstance(error, ssl.SSLError):
        known = _REASONS.get(error.reason or "")
        return f"TLS: {known or (error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class _Socket(ssl.SSLSocket):
    """With TLS 1.3 the broker judges our certificate after the handshake: what it says then comes
    with the first read, and paho only logs it."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As SSLSocket.recv; a failure is kept for `Context.take_failure`."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            context = self.context
            assert isinstance(context, Context)
            context.failure = error
            raise


class Context(ssl.SSLContext):
    """A client's context that asks for `server_name`, whatever host paho connects to."""

    sslsocket_class = _Socket
    server_name: str | None = None
    failure: ssl.SSLError | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """As SSLContext.wrap_socket, with the name of our choice."""
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(*arguments, **options)

    def take_failure(self) -> str | None:
        """Why reading failed since this was asked last."""
        failure, self.failure = self.failure, None
        return None if failure is None else reason(failure)


def context(tls: Tls) -> Context:
    """Certificates and names are checked unless `verify_hostname` is off, which leaves only the
    certificates. Raises ConfigError for files that can't be used."""
    made = Context(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.server_name = tls.server_name
    made.check_hostname = tls.verify_hostname
    if tls.alpn:
        made.set_alpn_protocols(list(tls.alpn))
    try:
        if tls.ca_file is None:
            made.load_default_certs()
        else:
            made.load_verify_locations(tls.ca_file)
    except (OSError, ValueError) as error:
        why = "no certificate in PEM format" if isinstance(error, ssl.SSLError) else str(error)
        raise ConfigError(f"broker.tls.ca_file: {tls.ca_file}: {why}") from None
    if tls.cert_file is not None:
        password = tls.key_password.reveal() if tls.key_password else ""
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            made.load_cert_chain(tls.cert_file, tls.key_file, lambda: password)
        except (OSError, ValueError) as error:
            files = " and ".join(str(f) for f in (tls.cert_file, tls.key_file) if f)
            why = str(error)
            if isinstance(error, ssl.SSLError):
                mismatch = error.reason == "KEY_VALUES_MISMATCH"
                why = (
                    "the key doesn't belong to the certificate"
                    if mismatch
                    else "no certificate and key in PEM format, or tls.key_password doesn't open it"
                )
            raise ConfigError(f"broker.tls.cert_file: {files}: {why}") from None
    return made
