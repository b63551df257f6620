"""Plots of a document. The dashed lines are the physical limit: read bandwidth over bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.targets import Document, samples, value

_OURS = ("int8", "int4", "int8-avx2")
_COLOURS = {"int8": "#0b6e4f", "int4": "#7b2d8b", "int8-avx2": "#6bbf59", "fp32": "#8d99ae",
            "fp32-rowmajor": "#c0c6d1"}  # fmt: skip
_PEER_COLOURS = ("#c1121f", "#f4a261", "#457b9d")


def available() -> str | None:
    """None when plots can be drawn, else the reason why not."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return "matplotlib is not installed: pip install 'edgespike[bench]'"
    return None


def draw(found: Document, folder: Path) -> list[Path]:
    """Write the plots as PNG into `folder`; those without data are left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    with pyplot.rc_context({"font.size": 9, "axes.grid": True, "grid.alpha": 0.3,
                            "axes.spines.top": False, "axes.spines.right": False}):  # fmt: skip
        for name, panels in _FIGURES.items():
            width = 6.4 if len(panels) == 1 else 4.6 * len(panels)
            figure, axes = pyplot.subplots(1, len(panels), figsize=(width, 3.6), squeeze=False)
            drawn = [panel(found, axis) for panel, axis in zip(panels, axes[0], strict=True)]
            if any(drawn):
                for axis, has_data in zip(axes[0], drawn, strict=True):
                    axis.set_visible(has_data)
                title = f"{found['machine']['cpu']}, shape {found['settings']['shape']}"
                if any(job.startswith(_JOBS[name]) for job in found["disturbed"]):
                    title += ": disturbed by other processes"
                figure.suptitle(title, fontsize=8)
                figure.tight_layout()
                written.append(folder / f"{name}.png")
                figure.savefig(written[-1], dpi=110)
            pyplot.close(figure)
    return written


def _colour(found: Document, name: str) -> str:
    if name in _COLOURS:
        return _COLOURS[name]
    return _PEER_COLOURS[list(found["peers"]).index(name) % len(_PEER_COLOURS)]


def _label(found: Document, name: str) -> str:
    return f"llama.cpp {name}" if name in found["peers"] else f"edgespike {name}"


def _traffic(found: Document, name: str) -> float | None:
    known = value(found, f"decode/{name}/1", "bytes_per_token")
    return known or found["peers"].get(name, {}).get("bytes_per_token")


def _threads(found: Document) -> list[int]:
    return sorted(int(j.rpartition("/")[2]) for j in found["results"] if j.startswith("bandwidth/"))


def _limit(found: Document, threads: int = 1) -> float | None:
    return value(found, f"bandwidth/{threads}", "bytes_per_s")


def _ladder(found: Document, axis: Any) -> bool:
    """Decode on one thread: a bar per engine, its limit as a mark."""
    names = [n for n in ("fp32-rowmajor", "fp32", "int8", "int8-avx2", "int4", *found["peers"])
             if value(found, f"decode/{n}/1", "tokens_per_s")]  # fmt: skip
    limit = _limit(found)
    for place, name in enumerate(reversed(names)):
        speed, traffic = value(found, f"decode/{name}/1", "tokens_per_s"), _traffic(found, name)
        axis.barh(place, speed, color=_colour(found, name))
        axis.text(speed, place, f" {speed:.1f}", va="center")
        if limit and traffic:
            axis.plot([limit / traffic] * 2, [place - 0.4, place + 0.4], "k--", lw=1)
    axis.set_yticks(range(len(names)), [_label(found, n) for n in reversed(names)])
    axis.set_xlabel("decode, tokens/s, one thread (dashed: memory's limit)")
    return bool(names)


def _by_threads(kind: str) -> Callable[[Document, Any], bool]:
    """Tokens/s against threads; for decoding with what memory allows."""

    def panel(found: Document, axis: Any) -> bool:
        threads, drawn = _threads(found), False
        keys = [found["settings"]["prefill"]] if kind == "prefill" else []
        for name in (*_OURS, *found["peers"]):
            points = [(t, value(found, f"{kind}/{name}/{t}", "tokens_per_s", *map(str, keys)))
                      for t in threads]  # fmt: skip
            known = [(t, v) for t, v in points if v]
            if not known:
                continue
            drawn = True
            colour = _colour(found, name)
            axis.plot(*zip(*known, strict=True), "o-", color=colour, label=_label(found, name))
            traffic = _traffic(found, name)
            if kind == "decode" and traffic and name != "int8-avx2":
                limits = [(_limit(found, t) or 0) / traffic for t in threads]
                axis.plot(threads, limits, "--", color=colour, lw=1)
        axis.set_xticks(threads)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("threads")
        axis.set_ylabel("decode" if kind == "decode" else f"prefill {keys[0]}")
        axis.set_ylabel(f"{axis.get_ylabel()}, tokens/s")
        if drawn:
            axis.legend(fontsize=7)
        return drawn

    return panel


def _by_depth(found: Document, axis: Any) -> bool:
    """Decode against what came before, with what memory allows for weights, keys and values."""
    ours = found["results"].get("depth/int8", {}).get("median")
    if not ours:
        return False
    depths = [int(d) for d in ours["tokens_per_s"]]
    axis.plot(depths, list(ours["tokens_per_s"].values()), "o-", color=_COLOURS["int8"],
              label="edgespike int8")  # fmt: skip
    limit = _limit(found)
    if limit:
        limits = [limit / traffic for traffic in ours["bytes_per_token"].values()]
        axis.plot(depths, limits, "--", color=_COLOURS["int8"], lw=1, label="memory's limit")
    for name in found["peers"]:
        points = [(int(job.rpartition("/")[2]), value(found, job, "tokens_per_s"))
                  for job in found["results"] if job.startswith(f"depth/{name}/")]  # fmt: skip
        if points:
            axis.plot(*zip(*sorted(points), strict=True), "o-", color=_colour(found, name),
                      label=_label(found, name))  # fmt: skip
    axis.axvline(found["settings"]["window"], color="grey", lw=1, ls=":")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("tokens before (dotted: the window)")
    axis.set_ylabel("decode, tokens/s, one thread")
    axis.legend(fontsize=7)
    return True


def _firing_points(found: Document) -> list[tuple[float, float, float]]:
    return sorted(
        (each["median"]["rate"], each["median"]["bytes_per_token"], each["median"]["tokens_per_s"])
        for job, each in found["results"].items()
        if job.startswith("firing/")
    )


def _bytes_by_firing(found: Document, axis: Any) -> bool:
    """Bytes that a token reads, and those that memory could have delivered in the token's time."""
    points = _firing_points(found)
    if not points:
        return False
    rates, traffic, speeds = zip(*points, strict=True)
    axis.plot([100 * r for r in rates], [t / 1e6 for t in traffic], "o-", color=_COLOURS["int8"],
              label="weights that a token reads")  # fmt: skip
    limit = _limit(found)
    if limit:
        axis.plot([100 * r for r in rates], [limit / s / 1e6 for s in speeds], "k--", lw=1,
                  marker="x", label="what memory gives in a token's time")  # fmt: skip
    for name, facts in found["peers"].items():
        axis.axhline(facts["bytes_per_token"] / 1e6, color=_colour(found, name), lw=1,
                     label=_label(found, name))  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.set_xlabel("firing rate, %")
    axis.set_ylabel("MB per token")
    axis.legend(fontsize=7)
    return True


def _speed_by_firing(found: Document, axis: Any) -> bool:
    points = _firing_points(found)
    if not points:
        return False
    rates, traffic, speeds = zip(*points, strict=True)
    axis.plot([100 * r for r in rates], speeds, "o-", color=_COLOURS["int8"], label="measured")
    limit = _limit(found)
    if limit:
        axis.plot([100 * r for r in rates], [limit / t for t in traffic], "--",
                  color=_COLOURS["int8"], lw=1, label="memory's limit")  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.set_xlabel("firing rate, %")
    axis.set_ylabel("decode, tokens/s, one thread")
    axis.legend(fontsize=7)
    return True


def _numbered(found: Document, kind: str, key: str) -> Iterator[tuple[int, float]]:
    for job in found["results"]:
        if job.startswith(f"{kind}/"):
            yield from ((int(job.rpartition("/")[2]), v) for v in samples(found, job, key)[:1])


def _sensors(found: Document, axis: Any) -> bool:
    drawn = False
    for key, label, scale in (("message_us", "a message", 1e-3), ("picture_ms", "the picture", 1),
                              ("render_ms", "a prompt's text", 1)):  # fmt: skip
        points = sorted(_numbered(found, "sensors", key))
        if points:
            drawn = True
            axis.loglog([n for n, _ in points], [max(v, 1e-4) * scale for _, v in points], "o-",
                        label=label)  # fmt: skip
    axis.set_xlabel("sensor channels")
    axis.set_ylabel("ms")
    if drawn:
        axis.legend(fontsize=7)
    return drawn


def _events(found: Document, axis: Any) -> bool:
    slower = found["results"].get("events", {}).get("median", {}).get("slowdown", {})
    if not slower:
        return False
    axis.semilogx([int(r) for r in slower], [100 * s for s in slower.values()], "o-",
                  color=_COLOURS["int8"])  # fmt: skip
    axis.axhline(10, color="grey", lw=1, ls=":")
    axis.set_xlabel("sensor messages per second")
    axis.set_ylabel("decode slower by, %")
    return True


def _together(found: Document, axis: Any) -> bool:
    """Tokens/s of sessions in one step, and of the positions of one session in one step."""
    sessions = sorted(_numbered(found, "sessions", "tokens_per_s"))
    steps = found["results"].get("positions/int8", {}).get("median", {}).get("milliseconds", {})
    if sessions:
        axis.plot(*zip(*sessions, strict=True), "o-", label="sessions, full windows")
    if steps:
        axis.plot([int(m) for m in steps], [1000 * int(m) / ms for m, ms in steps.items()], "o-",
                  label="positions of one session")  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.set_xlabel("in one step")
    axis.set_ylabel("tokens/s together, one thread")
    if sessions or steps:
        axis.legend(fontsize=7)
    return bool(sessions or steps)


_FIGURES: dict[str, tuple[Callable[[Document, Any], bool], ...]] = {
    "ladder": (_ladder,),
    "threads": (_by_threads("decode"), _by_threads("prefill")),
    "depth": (_by_depth,),
    "firing": (_bytes_by_firing, _speed_by_firing),
    "growth": (_sensors, _events, _together),
}

_JOBS = {
    "ladder": ("decode/", "bandwidth/1"),
    "threads": ("decode/", "prefill/", "bandwidth/"),
    "depth": ("depth/",),
    "firing": ("firing/",),
    "growth": ("sensors/", "events", "sessions/", "positions/"),
}
"""Beginnings of the names of the jobs that a figure shows."""
