"""A finding: what was looked at, how it is, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgespike.errors import UnavailableError

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `advice` says what to do unless all is well; `exit_code` is the
    status (sysexits) with which a failure ends the command.
    """

    name: str
    verdict: Verdict
    message: str
    advice: str = ""
    exit_code: int = 0


def ok(name: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", message)


def warn(name: str, message: str, advice: str) -> Finding:
    """It works, but not as well as it could."""
    return Finding(name, "warn", message, advice)


def fail(
    name: str, message: str, advice: str, exit_code: int = UnavailableError.exit_code
) -> Finding:
    """The daemon won't work like this."""
    return Finding(name, "fail", message, advice, exit_code)


def exit_code(findings: Sequence[Finding]) -> int:
    """That of the first failure; 0 if there is none."""
    return next((f.exit_code for f in findings if f.verdict == "fail"), 0)
