"""The daemon's measurements of itself, from files as the kernel writes them to `metrics`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import NODE, DaemonProcess, Mosquitto, Peer

from edgespike.agent.vitals import averages, memory_mb, temperature_c
from edgespike.messages import Timing


def zones(directory: Path, *facts: tuple[str, str]) -> Path:
    for number, (kind, degrees) in enumerate(facts):
        zone = directory / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{degrees}\n")
    return directory


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([("acpitz", "27800"), ("x86_pkg_temp", "51000"), ("cpu-other", "60000")], 51.0),
        ([("gpu-thermal", "70000"), ("cpu-thermal", "48312")], 48.3),
        ([("acpitz", "27800"), ("nvme", "39000")], 39.0),
        ([("cpu", "-274000"), ("board", "bad")], None),
        ([], None),
    ],
)
def test_the_processors_temperature_is_preferred(
    facts: list[tuple[str, str]], expected: float | None, tmp_path: Path
) -> None:
    assert temperature_c(zones(tmp_path / "thermal", *facts), tmp_path) == expected


def test_a_processor_without_a_zone_is_found_by_its_chip(tmp_path: Path) -> None:
    for number, (name, degrees) in enumerate([("nvme", "39850"), ("k10temp", "61250")]):
        chip = tmp_path / "chips" / f"hwmon{number}"
        chip.mkdir(parents=True)
        (chip / "name").write_text(f"{name}\n")
        (chip / "temp1_input").write_text(f"{degrees}\n")
    places = zones(tmp_path / "thermal", ("acpitz", "27800"))
    assert temperature_c(places, tmp_path / "chips") == 61.2
    assert temperature_c(places, tmp_path / "nowhere") == 27.8


def test_memory_is_the_resident_set_of_this_process(tmp_path: Path) -> None:
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert memory_mb() == pytest.approx(int(resident.split()[1]) / 1024, rel=0.2)
    assert memory_mb(tmp_path / "hidden") is None
    (tmp_path / "odd").write_text("12")
    assert memory_mb(tmp_path / "odd") is None


def test_averages_leave_out_what_is_unknown() -> None:
    assert averages([]) == {
        "answers": 0,
        "first_token_ms": None,
        "first_token_p50_ms": None,
        "first_token_p95_ms": None,
        "tokens_per_s": None,
    }
    timings = [Timing(0, 100.0, 200.0, 50.0), Timing(0, None, 10.0, None), Timing(0, 300.0, 9, 30)]
    assert averages(timings) == {
        "answers": 3,
        "first_token_ms": 200.0,
        "first_token_p50_ms": 100.0,
        "first_token_p95_ms": 300.0,
        "tokens_per_s": 40.0,
    }
    many = averages([Timing(0, float(ms), 0, None) for ms in range(1, 101)])
    assert (many["first_token_p50_ms"], many["first_token_p95_ms"]) == (50.0, 95.0)


def test_metrics_tell_speed_firing_rates_and_memory_soon_after_an_answer(
    broker: Mosquitto, online: DaemonProcess, peer: Peer
) -> None:
    peer.prompt({"prompt": "what is high?", "id": "m1", "max_tokens": 4})
    timing = peer.final("m1").body["timing"]
    metrics = peer.until(
        lambda m: m.topic == f"edgespike/{NODE}/metrics" and m.body["counters"].get("answers") == 1
    ).body
    assert metrics["last_timing"] == timing
    assert metrics["recent"]["answers"] == 1
    assert metrics["recent"]["first_token_ms"] == timing["first_token_ms"]
    assert 0 < metrics["rss_mb"] <= metrics["max_rss_mb"] + 1
    assert metrics["temperature_c"] is None or -40 <= metrics["temperature_c"] <= 150
    rates = metrics["spike_rates"]
    assert all(0 < rate < 1 for rate in [rates["encoder"], *rates["layers"]])
    # Whoever comes later sees it at once, and it fits into one small message.
    late = Peer(broker.port, f"edgespike/{NODE}/metrics")
    kept = late.until(lambda m: m.retain)
    late.close()
    assert len(json.dumps(kept.body)) < 4096
