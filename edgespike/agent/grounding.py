"""Which numbers of an answer the model can't have read: a check of its text, nothing else."""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def ungrounded(answer: str, shown: str) -> tuple[str, ...]:
    """Numbers in `answer` that don't occur in `shown` (readings and question), each once, in order.

    Numbers are compared by value: "21.50" stands for "21.5", and a decimal comma for a point. Signs
    are left out: a language model writes "minus 3" as readily as "-3".
    """
    known = {_value(number) for number in _NUMBER.findall(shown)}
    found = _NUMBER.findall(answer)
    return tuple(dict.fromkeys(number for number in found if _value(number) not in known))


def _value(number: str) -> Decimal | str:
    text = number.replace(",", ".")
    # "2026.11.23" is no number: it is compared as it is written.
    return text if text.count(".") > 1 else Decimal(text)
