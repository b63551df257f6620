"""MQTT topic names, filters and patterns (MQTT 5.0, section 4.7).

A pattern is a filter whose wildcards may have names: `{base}/{device}/{key}`. `{device...}` takes
one or more levels. Plain MQTT filters are patterns too; `+` and `#` then take parts of the device's
name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TOPIC_BYTES = 1024
_CAPTURE = re.compile(r"\{(device|key|any)(\.\.\.)?\}")


def topic_problem(topic: str) -> str | None:
    """What is wrong with a topic to publish to, or None."""
    if "+" in topic or "#" in topic:
        return "a topic to publish to has no + or #"
    return _text_problem(topic)


def filter_problem(text: str) -> str | None:
    """What is wrong with a subscription filter, or None."""
    levels = text.split("/")
    for number, level in enumerate(levels):
        if level == "#" and number < len(levels) - 1:
            return "# must be the last level"
        if len(level) > 1 and ("+" in level or "#" in level):
            return f"{level!r}: + and # stand alone between slashes"
    return _text_problem(text)


def filter_matches(text: str, topic: str) -> bool:
    """Whether a valid filter matches a topic; leading wildcards don't match `$` topics."""
    if topic.startswith("$") and text[:1] in ("+", "#"):
        return False
    wanted, levels = text.split("/"), topic.split("/")
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(levels) or level not in ("+", levels[number]):
            return False
    return len(wanted) == len(levels)


def minimal_filters(filters: list[str]) -> tuple[str, ...]:
    """The filters without those that another one covers, in order: a broker may send a message once
    for each subscription that matches."""
    unique = list(dict.fromkeys(filters))
    return tuple(
        text
        for text in unique
        if not any(text != other and _covers(other, text) for other in unique)
    )


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern: `filter` to subscribe to, `match` to take a topic apart."""

    text: str
    filter: str
    regex: re.Pattern[str]
    names: tuple[str, ...]

    def match(self, topic: str) -> tuple[str, str] | None:
        """(device, key) of a topic, each possibly empty, levels separated by `/`; None if no match.

        Several keys are joined with `_`; without `{key}` the key is empty. Unnamed wildcards are
        parts of the device.
        """
        found = self.regex.fullmatch(topic)
        if found is None or (topic.startswith("$") and self.filter[:1] in ("+", "#")):
            return None
        device, keys = [], []
        for name, part in zip(self.names, found.groups(), strict=True):
            if name == "device" and part:
                device.append(part.strip("/"))
            elif name == "key":
                keys.append(part)
        return "/".join(device), "_".join(keys)

    @property
    def has_key(self) -> bool:
        """Whether the pattern names the level that is the key."""
        return "key" in self.names


def pattern_problem(text: str) -> str | None:
    """What is wrong with a pattern, or None. `{base}` is allowed."""
    if text.replace("{base}", "").strip("/") == "" and "{base}" not in text:
        return "a topic pattern must not be empty"
    for level in text.replace("{base}", "base").split("/"):
        if ("{" in level or "}" in level) and not _CAPTURE.fullmatch(level):
            return f"{level!r}: a level is a text, +, #, {{device}}, {{key}} or {{any}}"
    return filter_problem(_CAPTURE.sub("+", text.replace("{base}", "base")))


def compile_pattern(text: str, base: str = "") -> Pattern:
    """Compile a valid pattern. An empty `base` removes the level `{base}`."""
    text = text.replace("{base}", base) if base else text.replace("{base}/", "")
    levels = text.split("/")
    regex: list[str] = []
    names: list[str] = []
    wanted: list[str] = []
    open_ended = False
    for number, level in enumerate(levels):
        slash = "/" if number else ""
        capture = _CAPTURE.fullmatch(level)
        if level == "#":
            regex.append("(/.*)?" if number else "(.*)")
            names.append("device")
        elif level == "+" or capture:
            many = capture is not None and capture[2] is not None
            regex.append(slash + ("(.+)" if many else "([^/]*)"))
            names.append(capture[1] if capture else "device")
            level = "#" if many else "+"
        else:
            regex.append(slash + re.escape(level))
        if not open_ended:
            wanted.append(level)
        open_ended = open_ended or level == "#"
    return Pattern(text, "/".join(wanted), re.compile("".join(regex), re.DOTALL), tuple(names))


def _text_problem(text: str) -> str | None:
    if not text:
        return "a topic must not be empty"
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in text):
        return "a topic has no control characters"
    if len(text.encode()) > MAX_TOPIC_BYTES:
        return f"a topic has at most {MAX_TOPIC_BYTES} bytes here"
    return None


def _covers(wide: str, narrow: str) -> bool:
    """Whether every topic that `narrow` matches is matched by `wide`."""
    if narrow[:1] == "$" and wide[:1] in ("+", "#"):
        return False
    wanted, levels = wide.split("/"), narrow.split("/")
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(levels) or levels[number] == "#" or level not in ("+", levels[number]):
            return False
    return len(wanted) == len(levels)
