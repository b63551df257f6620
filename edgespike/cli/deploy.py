"""The subcommand `install-service`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand of this module."""
    install = subparsers.add_parser(
        "install-service",
        help="write the systemd units for this installation",
        description="Write edgespike.service, edgespike@.service (more nodes), a sysusers.d and a\n"
        "tmpfiles.d file, with this installation's command, MemoryMax for the model\n"
        "and CPUAffinity of the board. Nothing is started.",
        epilog="examples:\n  edgespike install-service --dry-run --config edgespike.yaml\n"
        "  sudo /opt/edgespike/bin/edgespike install-service",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    install.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="settings (default /etc/edgespike/edgespike.yaml)",
    )
    install.add_argument(
        "--prefix", metavar="DIR", type=Path, default=Path("/"), help="write below DIR, for images"
    )
    install.add_argument(
        "--user-mode", action="store_true", help="a service of this user's own systemd"
    )
    install.add_argument("--dry-run", action="store_true", help="print the files instead")
    install.add_argument("--force", action="store_true", help="replace files of others")
    install.add_argument("--json", action="store_true", help="one JSON object")
    install.set_defaults(run=_install)


def _install(arguments: argparse.Namespace) -> int:
    from edgespike.deploy.install import default_config, plan, write

    config = arguments.config or default_config(arguments.prefix, arguments.user_mode)
    made = plan(config, arguments.prefix, arguments.user_mode)
    if not arguments.dry_run:
        write(made.files, arguments.force)
    if arguments.json:
        report = {
            "written": not arguments.dry_run,
            "files": {str(file.path): file.text for file in made.files},
            "notes": made.notes,
            "next": made.steps,
        }
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return 0
    for file in made.files:
        print(f"--- {file.path}\n{file.text}" if arguments.dry_run else f"wrote {file.path}")
    for note in made.notes:
        print(f"note: {note}")
    for number, step in enumerate(made.steps, 1):
        print(f"{number}. {step}")
    return 0
