"""`edgespike doctor` on this machine, and each finding on machines that this one isn't."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import NODE, Mosquitto, Peer, free_port

from edgespike.agent import broker as embedded
from edgespike.config import Config, load_config
from edgespike.doctor import host, parts
from edgespike.doctor.findings import exit_code, fail, ok, warn
from edgespike.model.container import open_container
from edgespike.model.footprint import RUNTIME_BYTES, memory_needed
from edgespike.profiles import BoardProfile

MIB = 1 << 20


def settings(directory: Path, port: int, **more: Any) -> Path:
    """A configuration file."""
    path = directory / "edgespike.yaml"
    body = {
        "node": NODE,
        "broker": {"host": "127.0.0.1", "port": port},
        "state_dir": str(directory / "state"),
    }
    path.write_text(json.dumps(body | more))
    return path


def examined(path: Path, *more: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and findings by name."""
    done = subprocess.run(
        [sys.executable, "-m", "edgespike", "doctor", "--config", str(path), "--json", *more],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, {finding["name"]: finding for finding in report["findings"]}


def with_board(**facts: Any) -> Config:
    return replace(Config(), board=BoardProfile(name="small", **facts))


def test_a_sound_installation_has_nothing_that_fails(
    tmp_path: Path, shared_broker: Mosquitto, chatter: Path
) -> None:
    path = settings(tmp_path, shared_broker.port, model={"path": str(chatter)})
    status, found = examined(path)
    assert (status, [f for f in found.values() if f["verdict"] == "fail"]) == (0, [])
    for name in ("python", "packages", "settings", "processor", "model", "state", "broker"):
        assert found[name]["verdict"] == "ok", found[name]
    assert found["rights"]["verdict"] == "ok"
    assert not (tmp_path / "state").exists()


def test_lines_for_people_say_what_to_do(tmp_path: Path, chatter: Path) -> None:
    path = settings(tmp_path, free_port(), model={"path": str(chatter)})
    done = subprocess.run(
        [sys.executable, "-m", "edgespike", "doctor", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (69, "")
    lines = done.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warn", "fail", "->") for line in lines)
    failed = next(i for i, line in enumerate(lines) if line.startswith("fail"))
    assert "broker" in lines[failed]
    assert "is it running" in lines[failed + 1]


def test_the_daemon_at_the_broker_is_not_disturbed(
    tmp_path: Path, shared_broker: Mosquitto, asker: Peer, chatter: Path
) -> None:
    path = settings(tmp_path, shared_broker.port, model={"path": str(chatter)})
    status, found = examined(path)
    assert status == 0
    assert "online" in found["daemon"]["message"]
    asker.prompt({"prompt": "still there?", "id": "after-doctor", "max_tokens": 1})
    assert asker.final("after-doctor").body["type"] == "answer"
    assert not [m for m in asker.heard if m.topic.endswith("/status") and m.payload != b"online"]


def test_a_bad_configuration_is_a_failure_with_its_code(tmp_path: Path) -> None:
    path = settings(tmp_path, 1883, brokr={})
    status, found = examined(path)
    assert status == 78
    assert "brokr" in found["settings"]["message"]
    assert "broker" not in found
    assert examined(tmp_path / "none.yaml")[0] == 66


def test_tls_files_are_looked_at_without_a_broker(tmp_path: Path, chatter: Path) -> None:
    path = settings(tmp_path, free_port(), model={"path": str(chatter)})
    body = json.loads(path.read_text())
    body["broker"]["tls"] = {"ca_file": str(path)}
    path.write_text(json.dumps(body))
    status, found = examined(path)
    assert status == 78
    assert "no certificate in PEM format" in found["broker"]["message"]


def test_a_credential_outside_the_unit_is_explained(tmp_path: Path) -> None:
    path = settings(tmp_path, 1883)
    body = json.loads(path.read_text())
    body["broker"] |= {"username": "u", "password": {"credential": "mqtt_password"}}
    path.write_text(json.dumps(body))
    status, found = examined(path, CREDENTIALS_DIRECTORY="")
    assert status == 78
    assert "CREDENTIALS_DIRECTORY=" in found["settings"]["advice"]


def test_a_flipped_byte_in_the_model_is_found(
    tmp_path: Path, shared_broker: Mosquitto, chatter: Path
) -> None:
    damaged = bytearray(chatter.read_bytes())
    damaged[-100_000] ^= 1
    model = tmp_path / "damaged.safetensors"
    model.write_bytes(damaged)
    status, found = examined(settings(tmp_path, shared_broker.port, model={"path": str(model)}))
    assert (status, found["model"]["verdict"]) == (65, "fail")
    assert found["broker"]["verdict"] == "ok"  # the rest is looked at all the same


def test_a_wrong_password_and_a_forbidden_topic_are_told_apart(
    tmp_path: Path, chatter: Path
) -> None:
    (tmp_path / "acl").write_text("user guest\ntopic readwrite elsewhere/#\n")
    secret = tmp_path / "passwords"
    secret.touch()
    subprocess.run(["mosquitto_passwd", "-b", str(secret), "guest", "right"], check=True)
    secret.chmod(0o644)
    broker = Mosquitto(tmp_path, f"password_file {secret}\nacl_file {tmp_path}/acl\n")
    broker.start()
    try:
        for password, name, part in (
            ("wrong", "broker", "broker.password"),
            ("right", "rights", "ACL"),
        ):
            path = settings(tmp_path, broker.port, model={"path": str(chatter)})
            body = json.loads(path.read_text())
            body["broker"] |= {"username": "guest", "password": password}
            path.write_text(json.dumps(body))
            status, found = examined(path)
            assert status == 78
            assert found[name]["verdict"] == "fail"
            assert part in found[name]["advice"]
    finally:
        broker.stop()


def test_a_broker_that_speaks_no_mqtt_5_is_told_from_one_that_is_not_there(
    tmp_path: Path, chatter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = embedded._CONFIGURATION.replace("[v5.1", "[v4.1")
    monkeypatch.setattr(embedded, "_CONFIGURATION", old)
    with embedded.EmbeddedBroker() as broker:
        status, found = examined(settings(tmp_path, broker.port, model={"path": str(chatter)}))
    assert (status, found["broker"]["verdict"]) == (69, "fail")
    assert "is there, but" in found["broker"]["message"]
    assert "MQTT 5" in found["broker"]["advice"]


def test_the_first_failure_decides() -> None:
    assert (
        exit_code([ok("a", ""), warn("b", "", ""), fail("c", "", "", 66), fail("d", "", "")]) == 66
    )
    assert exit_code([ok("a", ""), warn("b", "", "")]) == 0


def test_packages_that_are_missing_or_old_are_named() -> None:
    found = host.packages(["numpy>=999", "no-such-package-here", 'torch>=9; extra == "train"'])
    assert found.verdict == "fail"
    assert "older than 999" in found.message
    assert "no-such-package-here is missing" in found.message
    assert "torch" not in found.message
    assert host.packages().verdict == "ok"


def test_too_few_cores_and_cpus_that_are_not_there_are_warned_of() -> None:
    assert host.cores(with_board(cores=2, threads=2), {0, 1}).verdict == "ok"
    few = host.cores(with_board(cores=4, threads=4), {0, 1})
    assert (few.verdict, "threads: 2" in few.advice) == ("warn", True)
    pinned = host.cores(with_board(cores=2, threads=2, pin=(2, 3)), {0, 1, 2})
    assert (pinned.verdict, "[3]" in pinned.message) == ("warn", True)


@pytest.mark.parametrize(
    ("known", "verdict", "said"),
    [
        ({"total": 4096, "free": 2048}, "ok", "2048 MiB free"),
        ({"total": 512}, "fail", "this machine has 512 MiB"),
        ({"total": 4096, "limit": 600}, "fail", "the cgroup's limit is 600 MiB"),
        ({"total": 4096, "free": 300}, "warn", "300 MiB are free"),
    ],
)
def test_memory_is_held_against_machine_cgroup_and_need(
    known: dict[str, int], verdict: str, said: str
) -> None:
    found = host.memory(
        with_board(memory_mb=1024), 700 * MIB, {name: n * MIB for name, n in known.items()}
    )
    assert (found.verdict, said in found.message) == (verdict, True)


def test_memory_beyond_the_boards_budget_is_a_warning() -> None:
    found = host.memory(with_board(memory_mb=512), 700 * MIB, {"total": 4096 * MIB})
    assert (found.verdict, "allows 512 MiB" in found.message) == ("warn", True)


def test_the_need_covers_the_file_the_sessions_and_the_runtime(chatter: Path) -> None:
    needed = memory_needed(open_container(chatter))
    assert chatter.stat().st_size + RUNTIME_BYTES < needed < chatter.stat().st_size + 900 * MIB


def test_the_least_limit_of_all_cgroups_above_counts(tmp_path: Path) -> None:
    root, membership = tmp_path / "cgroup", tmp_path / "self"
    unit = root / "system.slice" / "edgespike.service"
    unit.mkdir(parents=True)
    (unit / "memory.max").write_text("max\n")
    (unit.parent / "memory.max").write_text("536870912\n")
    membership.write_text("0::/system.slice/edgespike.service\n")
    assert host.cgroup_limit(membership, root) == 512 * MIB
    (unit / "memory.max").write_text("268435456\n")
    assert host.cgroup_limit(membership, root) == 256 * MIB
    old = root / "memory" / "box"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text(f"{128 * MIB}\n")
    membership.write_text("5:cpu:/box\n3:memory:/box\n")
    assert host.cgroup_limit(membership, root) == 128 * MIB
    (old / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert host.cgroup_limit(membership, root) is None
    assert host.cgroup_limit(tmp_path / "none", root) is None


def test_a_clock_that_can_not_be_right_fails_and_one_that_drifts_warns() -> None:
    assert host.clock(0.0, True).verdict == "fail"
    assert host.clock(1.8e9, False).verdict == "warn"
    assert host.clock(1.8e9, None).verdict == "ok"
    assert host.clock(1.8e9, True).message.endswith(", synchronised")
    assert host.kernel_synchronised() in (True, False, None)


def test_a_state_directory_must_be_writable_and_not_by_everybody(tmp_path: Path) -> None:
    assert parts.state_directory(tmp_path / "new" / "below").verdict == "ok"
    (tmp_path / "file").touch()
    blocked = parts.state_directory(tmp_path / "file" / "below")
    assert (blocked.verdict, blocked.exit_code) == ("fail", 78)
    tmp_path.chmod(0o777)
    assert parts.state_directory(tmp_path).verdict == "warn"


def test_the_kernel_cache_is_missing_empty_or_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    empty = parts.cache(tmp_path / "none")
    assert (empty.verdict, "warmup" in empty.advice) == ("warn", True)
    (tmp_path / "private").symlink_to("kernels that only the service can see")
    of_service = parts.cache(tmp_path / "private")
    assert (of_service.verdict, "that of the service" in of_service.message) == ("ok", True)
    (tmp_path / "private").unlink()
    (next(tmp_path.iterdir()) / "step.nbi").write_bytes(b"index")
    assert parts.cache().verdict == "ok"
    blocked = tmp_path / "file"
    blocked.touch()
    for name in ("NUMBA_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(blocked))
    nowhere = parts.cache()
    assert (nowhere.verdict, "every start" in nowhere.message) == ("warn", True)


def test_under_systemd_the_environment_counts_else_the_unit(tmp_path: Path) -> None:
    under = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "60000000"}
    assert "watchdog of 60 s" in parts.unit(under).message
    assert parts.unit({"NOTIFY_SOCKET": "@x"}).verdict == "warn"
    home = {"HOME": str(tmp_path)}
    assert parts.unit(home, (), tmp_path / "none").verdict == "ok"
    assert "install-service" in parts.unit(home, (str(tmp_path),), tmp_path).advice
    (tmp_path / "edgespike.service").touch()
    assert parts.unit(home, (str(tmp_path),), tmp_path).message.endswith("/edgespike.service")


def test_a_password_in_the_file_and_a_key_for_everybody_are_warned_of(tmp_path: Path) -> None:
    path, key, cert = (tmp_path / name for name in ("c.yaml", "client.key", "client.pem"))
    for file in (key, cert):
        file.touch()
    key.chmod(0o640)
    for access, verdict, part in (
        ("username: me, password: word", "warn", "is written in"),
        ("username: me, password: '${HOME}'", "ok", "none"),
        (f"tls: {{cert_file: {cert}, key_file: {key}}}", "ok", "none"),
    ):
        path.write_text(f"broker: {{{access}}}\n")
        found = parts.secrets(load_config(path), path)
        assert (found.verdict, part in found.message) == (verdict, True)
        assert "word" not in found.message.replace("password", "")
    key.chmod(0o644)
    assert "everybody" in parts.secrets(load_config(path), path).message
