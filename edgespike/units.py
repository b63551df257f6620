"""Units of measurement, and exact conversion between those of one quantity.

Factors are exact: the definitions of the foot, the pound, the US gallon and the knot, and
conventional millimetres of mercury (NIST Special Publication 811, appendix B).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import NamedTuple

_MAX_DECIMALS = 9
_MAX_CHARS = 24
_MAX_EXPONENT = 300


class _Unit(NamedTuple):
    """`value` in the quantity's base unit is `value * factor + offset`."""

    quantity: str
    factor: Fraction
    offset: Fraction = Fraction(0)


def _scaled(quantity: str, **factors: str) -> dict[str, _Unit]:
    return {unit: _Unit(quantity, Fraction(factor)) for unit, factor in factors.items()}


_PSI = Fraction("0.45359237") * Fraction("9.80665") / Fraction("0.0254") ** 2
_GALLON = Fraction("0.003785411784")

_UNITS: dict[str, _Unit] = {
    "°C": _Unit("temperature", Fraction(1)),
    "K": _Unit("temperature", Fraction(1), Fraction("-273.15")),
    "°F": _Unit("temperature", Fraction(5, 9), Fraction(-160, 9)),
    "psi": _Unit("pressure", _PSI),
    "mmHg": _Unit("pressure", Fraction("133.322387415")),
    "inHg": _Unit("pressure", Fraction("133.322387415") * Fraction("25.4")),
    "m/s": _Unit("speed", Fraction(1)),
    "km/h": _Unit("speed", Fraction(10, 36)),
    "mph": _Unit("speed", Fraction("0.44704")),
    "kn": _Unit("speed", Fraction(1852, 3600)),
    "ft/s": _Unit("speed", Fraction("0.3048")),
    "mm/s": _Unit("speed", Fraction(1, 1000)),
    "m³/s": _Unit("flow", Fraction(3600)),
    "m³/h": _Unit("flow", Fraction(1)),
    "l/s": _Unit("flow", Fraction("3.6")),
    "l/min": _Unit("flow", Fraction("0.06")),
    "l/h": _Unit("flow", Fraction("0.001")),
    "gpm": _Unit("flow", _GALLON * 60),
    "m³": _Unit("volume", Fraction(1)),
    "gal": _Unit("volume", _GALLON),
    "ft³": _Unit("volume", Fraction("0.3048") ** 3),
    "µg/m³": _Unit("concentration", Fraction(1, 1000)),
    "mg/m³": _Unit("concentration", Fraction(1)),
    "g/m³": _Unit("concentration", Fraction(1000)),
    "mm/h": _Unit("rain rate", Fraction(1)),
    "in/h": _Unit("rain rate", Fraction("25.4")),
    "µS/cm": _Unit("conductivity", Fraction(1)),
    "mS/cm": _Unit("conductivity", Fraction(1000)),
    **_scaled("pressure", Pa="1", hPa="100", mbar="100", kPa="1000", bar="100000", MPa="1000000"),
    **_scaled("power", mW="0.001", W="1", kW="1000", MW="1000000"),
    **_scaled("apparent power", VA="1", kVA="1000"),
    **_scaled("reactive power", var="1", kvar="1000"),
    **_scaled("energy", J="1", kJ="1000", MJ="1000000", Wh="3600", kWh="3600000", MWh="3600000000"),
    **_scaled("voltage", mV="0.001", V="1", kV="1000"),
    **_scaled("current", mA="0.001", A="1", kA="1000"),
    **_scaled("frequency", Hz="1", kHz="1000", MHz="1000000"),
    **_scaled("length", mm="0.001", cm="0.01", m="1", km="1000", ft="0.3048", mi="1609.344"),
    "in": _Unit("length", Fraction("0.0254")),
    **_scaled("volume", ml="0.000001", l="0.001"),
    **_scaled("mass", g="0.001", kg="1", t="1000", lb="0.45359237", oz="0.028349523125"),
    **_scaled("time", ms="0.001", s="1", min="60", h="3600", d="86400"),
    **_scaled("share", ppb="0.001", ppm="1"),
    "%": _Unit("share", Fraction(10000)),
}

_ALIASES = {
    "C": "°C", "degC": "°C", "℃": "°C", "F": "°F", "degF": "°F", "℉": "°F", "°K": "K",
    "mBar": "mbar", "PSI": "psi", "kph": "km/h", "kmh": "km/h", "km/hr": "km/h", "mi/h": "mph",
    "kt": "kn", "kts": "kn", "m3": "m³", "m3/h": "m³/h", "m3/s": "m³/s", "ft3": "ft³", "L": "l",
    "L/min": "l/min", "L/h": "l/h", "L/s": "l/s", "lpm": "l/min", "mL": "ml", "ug/m3": "µg/m³",
    "ug/m³": "µg/m³", "μg/m³": "µg/m³", "µg/m3": "µg/m³", "mg/m3": "mg/m³", "g/m3": "g/m³",
    "uS/cm": "µS/cm", "μS/cm": "µS/cm", "lux": "lx", "kwh": "kWh", "KWh": "kWh", "wh": "Wh",
    "inch": "in", "lbs": "lb", "sec": "s", "hours": "h", "hr": "h", "days": "d", "minutes": "min",
    "seconds": "s", "VAr": "var", "degree": "°", "degrees": "°", "deg": "°", "percent": "%",
    "%RH": "%",
}  # fmt: skip


def known_unit(text: str) -> str:
    """How people write that unit: `°C` for `degC`; `text` itself when nothing is known of it."""
    return _ALIASES.get(text, text)


def convertible(unit: str) -> tuple[str, ...]:
    """The units that `unit` converts to, itself left out; empty for one that isn't known."""
    known = _UNITS.get(known_unit(unit))
    if known is None:
        return ()
    return tuple(
        name for name, other in _UNITS.items() if other.quantity == known.quantity and name != unit
    )


def converts(source: str, target: str) -> bool:
    """Whether values in one unit can be given in the other."""
    one, other = _UNITS.get(known_unit(source)), _UNITS.get(known_unit(target))
    return one is not None and other is not None and one.quantity == other.quantity


def scale(source: str, target: str) -> float:
    """How many steps of `target` make a step of `source`. Both must convert."""
    return float(_UNITS[known_unit(source)].factor / _UNITS[known_unit(target)].factor)


def convert(text: str, source: str, target: str) -> str:
    """A number text in another unit, computed exactly and rounded once, halves away from zero.

    It has as many decimals as it needs for steps as fine as those that were sent, and no more: 1500
    W is 1.500 kW, 2 bar is 29 psi. Degrees are of a size: 21.5 °C is 70.7 °F, and back. Raises
    ValueError if the units don't convert, or for what is no number of a float's size.
    """
    if not converts(source, target):
        raise ValueError(f"{source} doesn't convert to {target}")
    one, other = _UNITS[known_unit(source)], _UNITS[known_unit(target)]
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:24]!a} is no number") from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError(f"{text[:24]!a} is no number that converts")
    value = (Fraction(number) * one.factor + one.offset - other.offset) / other.factor
    step = Fraction(10) ** max(exponent, -_MAX_DECIMALS)
    if one.quantity != "temperature":
        step *= one.factor / other.factor
    decimals = 0
    while decimals < _MAX_DECIMALS and Fraction(1, 10**decimals) > step:
        decimals += 1
    scaled = abs(value) * 10**decimals + Fraction(1, 2)
    digits = f"{scaled.numerator // scaled.denominator:0{decimals + 1}d}"
    whole, part = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    sign = "-" if value < 0 and int(digits) else ""
    result = f"{sign}{whole}.{part}" if part else f"{sign}{whole}"
    return result if len(result) <= _MAX_CHARS else f"{float(value):.12g}"
