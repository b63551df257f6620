"""The subcommand `doctor`: what is wrong here, and what to do."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand of this module."""
    doctor = subparsers.add_parser(
        "doctor",
        help="check this machine, the model and the broker",
        description="Check everything that the daemon needs: each line says ok, warn or fail, and\n"
        "what to do. The exit status is 0 unless something fails.",
        epilog="examples:\n  edgespike doctor --config edgespike.yaml\n"
        "  sudo CREDENTIALS_DIRECTORY=/etc/edgespike edgespike doctor"
        " --config /etc/edgespike/edgespike.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "--config", metavar="FILE", type=Path, help="settings (YAML); the defaults when not given"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from edgespike.doctor.examine import examine
    from edgespike.doctor.findings import Finding, exit_code
    from edgespike.telemetry import printable

    findings: list[Finding] = []
    for finding in examine(arguments.config):
        findings.append(finding)
        if not arguments.json:
            lines = finding.message.splitlines()
            print(f"{finding.verdict:5} {finding.name:10} {printable(lines[0])}")
            for line in [*lines[1:], *([f"-> {finding.advice}"] if finding.advice else [])]:
                print(f"{'':17}{printable(line)}", flush=True)
    code = exit_code(findings)
    if arguments.json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"ok": code == 0, "findings": listed}, ensure_ascii=False, indent=2))
    return code
