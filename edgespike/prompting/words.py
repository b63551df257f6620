"""Words of questions and names: how they are cut, which are ordinary, which mean the same."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from importlib import resources
from itertools import islice

_WORD = re.compile(r"[^\W\d_]+\d+\.\d+|[^\W_]+")
_NUMBERED = re.compile(r"([^\W\d_]{3,})(\d+)|(\d+)([^\W\d_]{3,})")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION = _set(
    "the a an is are was were be been being am of in at on to for from by with and or but than"
    " as if it its this that these those there here i you we me my our us he she they them his"
    " her their your do does did has have had can could will would shall should may might must"
    " so not no yes what which who whom whose where when why how s m re ll t d ve isn aren wasn"
    " don doesn didn please any some all every each both between vs versus too also just only"
    " then now out up down off into onto over under about around"
)
"""Words that no sensor is known by."""

CONJUNCTIONS = _set("and or than versus vs nor but with to against beat beats gegen")
"""Words between two things that are asked for."""

ORDINARY = _set(
    "tell show give say read report get list name find check see look know need want like let"
    " help display print state explain describe compare fetch bring pull provide share confirm"
    " verify tells shows gives says reads reported reports reporting telling showing giving"
    " update updates updated summary summarise summarize overview status situation value values"
    " reading readings sensor sensors measurement measurements measured measure measures"
    " measuring data number numbers figure figures level levels current currently present actual"
    " actually latest last recent recently right moment today tonight yesterday hour hours"
    " minute minutes second seconds day days week time times ago since long old age fresh stale"
    " new newest oldest late lately still yet already ever again always often once soon high"
    " higher highest low lower lowest max maximum min minimum mean average averages typical peak"
    " top bottom biggest smallest largest greatest least most more less much many few big small"
    " great good bad fine ok okay well alright better worse best worst normal normally usual"
    " abnormal unusual strange odd weird wrong problem problems issue issues trouble troubles"
    " alarm alarms alert alerts warning warnings critical danger dangerous safe safely limit"
    " limits range ranges bound bounds threshold thresholds allowed permitted acceptable within"
    " inside outside above below beyond beneath exceed exceeds exceeded exceeding violate"
    " violated crossed cross trend trends trending rise rises rising risen rose fall falls"
    " falling fallen fell drop drops dropping dropped climb climbs climbing climbed increase"
    " increases increasing decrease decreases decreasing go goes going gone went move moves"
    " moving stable steady constant change changes changing changed direction way open opened"
    " closed close shut on off running run runs stopped stop active inactive idle locked"
    " unlocked locking working work works online offline connected live alive dead silent quiet"
    " happen happens happening happened unit units degree degrees percent kind kinds sort type"
    " types thing things anything everything something nothing anyone everyone someone nobody"
    " place places room rooms part parts one ones other others another two three four five first"
    " difference differ between same equal different exactly roughly approximately really quite"
    " very pretty bit lot little enough total count amount sum question questions answer answers"
    " hi hello hey hiya yo greetings morning evening afternoon dear thanks thank thx ty cheers"
    " kindly pls plz sorry excuse pardon ask asking wonder wondering curious interested quick"
    " quickly briefly brief short shortly maybe perhaps possible possibly sure certain certainly"
    " think thought believe guess mind worry worried concern concerned care attention attend"
    " notice noticed heard hear history past earlier before after during previous previously"
    " whole entire overall general generally because reason cause caused behind due come comes"
    " coming came make makes making made means doing done take takes taken took keep keeps"
    " keeping kept hold holds holding stay stays staying stayed turn turned turns switched"
    " switch left leave set put seem seems looks looking sound sounds feel feels appear appears"
    " remain remains become becomes getting gets got reach reaches reached hit hits stand stands"
    " standing sit sits sitting lie lies lying exist exists available there hows whats wheres"
    " whens whos thats im ive id dont doesnt isnt arent cant wont its lets gimme lemme wanna"
    " gonna tho though however instead else apart except besides using use used uses presently"
    " nowadays anymore meanwhile respect regarding concerning info information detail details"
    " fact facts far further closer near nearby next ready must ought able against according"
    " compared comparison versus relative per each warm warmer warmest cold colder coldest hot"
    " hotter hottest cool cooler coolest chilly dry drier driest wet wetter wettest humid"
    " damp bright brighter brightest dark darker darkest loud louder loudest full fuller fullest"
    " empty emptier emptiest heavy heavier heaviest fast faster fastest slow slower slowest"
    " strong stronger strongest weak weaker weakest windy charged across act acting action amiss"
    " anybody apply arrive attached averaged beat became becoming beeping begin behaving belongs"
    " bigger break briefing broken calm case catch causing comfortable consume consumes"
    " consuming consumption contact control correct creeping dangerously date dated decline"
    " deserve deserves develop developed developing disconnected draw drawing drawn draws"
    " drifting duration easy enumerate everywhere evolving excessive expected extreme extremes"
    " eye failing faults fix fixing flat flip fluctuate fluctuated fluctuating freshness given"
    " gotten greater growing happy hasn headed heading healthy hope idea indicate insufficient"
    " jump large leads levelling line lost match matter meant misbehaving missing monitor"
    " monitored moved movement note observe offer order outdated overheating pass passed picture"
    " playing plus pointing progressing pulling quantities quote raising ranged rank ranks"
    " receive received record red refreshed relate relax rely require requires respond"
    " responding rundown sampled seeing seen send sending sense sent separates shrinking sinking"
    " sleep sliding smaller soaring somebody speak spec spent spoke spot spread start statistics"
    " stats story surging swing taking talk tendency ticking timestamp together tolerable touch"
    " track triggered true trust typically unchanged upper usually valid varied vary watch"
    " watched whether while grow grew surge plunge plunging spike spiking jumped jumping"
    " steadily rapidly slowly sharply suddenly gradually evolve compute calculate estimate"
    " predict forecast expect remember recall indicates shown showed gave told asked wants needs"
    " likes listen urgent urgently asap immediately instantly honest honestly basically simply"
    " exact precise approximate rough assess bother hesitate grab hand throw spit dump output echo"
    " query request retrieve obtain acquire home house building site plant system installation"
    " apartment anywhere somewhere world checked checking trigger triggers triggering zero haven"
    " hadn didn wouldn couldn shouldn weren expecting nearly almost mostly partly altogether"
    " combined"
)
"""Words that people use around a sensor's name."""

RARER = _set((resources.files("edgespike") / "data" / "ordinary.txt").read_text(encoding="utf-8"))
"""More of them. Only long ones count when they are mistyped: names are near to so many words."""

_TYPED: dict[str, list[str]] = defaultdict(list)
for _each in FUNCTION | ORDINARY | RARER:
    if len(_each) >= (7 if _each in RARER else 4):
        _TYPED[_each[0]].append(_each)

ALIASES = {
    "temp": "temperature", "temps": "temperature", "tmp": "temperature", "hum": "humidity",
    "rh": "humidity", "moist": "moisture", "press": "pressure", "volt": "voltage",
    "illuminance": "light", "brightness": "light", "lux": "light", "luminosity": "light",
    "rpm": "speed", "dust": "pm25", "batt": "battery", "bat": "battery", "sound": "noise",
    "rssi": "signal", "linkquality": "link quality", "rainfall": "rain", "occupancy": "presence",
    "consumption": "power", "carbon": "co2", "dioxide": "co2", "pm2": "pm25",
    "precipitation": "rain",
    "out": "outdoor", "outdoors": "outdoor", "outside": "outdoor",
    "in": "indoor", "indoors": "indoor", "inside": "indoor",
    "centre": "center", "color": "colour", "fridge": "refrigerator", "restroom": "bathroom",
}  # fmt: skip
"""Words of names and of questions that mean the same quantity or thing."""

EVERYDAY = {
    "temperature": "warm warmer warmest cold colder coldest hot hotter hottest cool cooler coolest"
    " chilly chillier chilliest heat heated heating degree degrees celsius fahrenheit freezing"
    " frozen boiling warmth thermometer chill thermal",
    "humidity": "humid damp damper dampest drier driest moist moister muggy stuffiest",
    "moisture": "wetter wettest drier driest damp moist watered",
    "light": "bright brighter brightest dark darker darkest lit dim",
    "power": "watt watts kilowatt kilowatts electricity load drawing draws consuming consumes"
    " consume consumption using",
    "energy": "electricity kwh consumed used consumption",
    "voltage": "volt volts", "current": "amp amps ampere amperes", "pressure": "bar psi pascal",
    "noise": "loud louder loudest noisy quiet quieter quietest decibel decibels",
    "level": "full fuller fullest empty emptier emptiest fill filled",
    "speed": "fast faster fastest slow slower slowest quick spinning revolutions",
    "wind": "windy breeze",
    "weight": "heavy heavier heaviest lighter lightest weigh weighs weighing",
    "battery": "charge charged", "co2": "stuffy ppm",
    "flow": "flowing flows", "vibration": "vibrating vibrate vibrates shaking",
    "motion": "movement", "presence": "anybody somebody someone anyone occupied",
    "ph": "acid acidic acidity alkaline", "frequency": "hertz", "signal": "reception",
    "rain": "rained raining rainy", "leak": "leaking leaks",
    "people": "persons visitors",
}  # fmt: skip
"""Everyday words for what a quantity measures; only questions use them so."""

TEXTED = {
    "wat": "what", "wats": "what", "da": "the", "em": "them", "ur": "your", "yur": "your",
    "wth": "with", "n": "and", "u": "you", "r": "are", "ppl": "people", "rn": "now",
    "teh": "the", "hte": "the", "adn": "and", "nad": "and",
}  # fmt: skip
"""How people who text write some words of questions."""

LINKS = _set("in of at the for on s")
"""Words within a name that is said the other way round: "state of the pump"."""

QUANTITIES = frozenset(EVERYDAY) | frozenset(ALIASES) | frozenset(ALIASES.values())
"""Words that name what is measured rather than where."""

CARDINALS = {
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
ORDINALS = {
    "first": "1", "second": "2", "third": "3", "fourth": "4", "fifth": "5", "sixth": "6",
    "seventh": "7", "eighth": "8", "ninth": "9", "tenth": "10",
}  # fmt: skip
"""Numbers in words as people number things."""

CONTRASTS = tuple(
    map(
        _set,
        (
            "left right centre center middle l r", "upper lower middle", "top bottom middle",
            "inside outside indoor outdoor", "inner outer", "front rear back",
            "north south east west",
            "port starboard stbd", "supply return feed", "inlet outlet intake exhaust", "hot cold",
            "fresh waste grey gray black", "primary secondary", "main backup reserve spare",
            "high low", "big small large little", "red green blue yellow white", "old new",
            "today yesterday",
        ),
    )
)  # fmt: skip
"""Words that tell like things apart."""

HIGH = _set(
    "highest max maximum top peak biggest greatest largest hottest warmest wettest dampest"
    " brightest loudest noisiest fastest quickest heaviest strongest windiest dustiest hotter"
    " warmer louder brighter higher faster heavier stronger longest"
)
LOW = _set(
    "lowest min minimum bottom smallest coldest coolest chilliest driest darkest dimmest quietest"
    " slowest emptiest lightest weakest shallowest fewest colder cooler quieter darker dimmer lower"
    " emptier slower weaker drier shortest"
)
"""Words that ask which of several has the most, or the least; not "most", said of both."""

STATES = tuple(
    map(
        _set,
        (
            "on off running stopped idle standby active inactive started finished done ready fault"
            " faulty failed error tripped paused working auto manual loaded unloaded producing"
            " maintenance run runs stop",
            "open opened closed close shut ajar", "locked unlocked lock unlock bolted",
            "occupied vacant free empty unoccupied taken busy present absent home away",
            "motion moving detected clear movement", "wet dry leak leaking flooded water",
            "online offline connected disconnected plugged unplugged reachable",
            "charging discharging charged full", "armed disarmed", "lying standing sitting asleep",
            "heating cooling defrosting defrost", "lit dark on off", "smoke fire normal alarm",
        ),
    )
)  # fmt: skip
"""States that a question may name: of a device that is in one of them, the others may be asked."""

BEYOND = _set("above below over under than past beyond exceed exceeds exceeded reach reached hit")
"""Words before a number that is no name."""

BOUNDS = _set(
    "limit limits range ranges bound bounds threshold thresholds normal allowed permitted"
    " acceptable usual spec"
)
"""What a value may be inside or outside of."""

ADVERBS = _set("still already always not just really actually even again slowly quickly")
PARTICLES = _set("up down off out away over again")
"""What stands before or behind a verb."""

PRONOUNS = _set("it we you they i he she")
ONESELF = _set("i im we my our")
ENOUGH = _set("enough too")
SUBORDINATORS = _set("because while although unless until till during when if")
"""What begins a clause that tells why or when one asks."""

THINGS_DONE = _set(
    "bearing casing housing winding ceiling building landing mooring heating cooling lighting"
    " parking packing spring string awning railing coating lining bedding piping tubing ducting"
    " decking roofing fencing bushing opening crossing docking dosing washing wiring living dining"
)
"""Words that end like verbs and are rather things."""

OWNERS = _set("its their the these those any of my our your")
"""What may stand between "outside" and a bound."""

SORTS = _set(
    "compressor pump valve tank motor drive machine unit robot press line oven furnace boiler"
    " chiller cooler fan blower filter heater mixer conveyor crane turbine generator genset engine"
    " breaker feeder transformer ups rack server sensor probe transmitter gauge reactor vessel silo"
    " mill kiln dryer fermenter charger inverter meter lift elevator reefer truck trailer loop"
)
"""What things with an id are, which may be said before it."""

OUTDOORS = ("outdoor", "outside", "außen", "aussen", "exterior", "extérieur", "estern", "buiten")
"""How words of names begin that mean outdoors."""

NO_ROOM = _set(
    "flow return supply feed boiler buffer tank cylinder storage collector panel roof outdoor"
    " outdoors outside exterior weather freezer fridge refrigerator oven stove sauna pool pond"
    " water dhw heat pump heating radiator floor pipe chimney flue exhaust cpu disk rack server"
    " router nas battery inverter car engine soil greenhouse garden terrace balcony shed aquarium"
    " vorlauf rücklauf heizung kessel speicher warmwasser außen außentemperatur aussentemperatur"
    " draußen kühlschrank gefrierschrank garten départ retour extérieur chaudière exterior"
    " esterno caldaia mandata ritorno buiten aanvoer retour zewnątrz"
)
"""Words in names of what is no room."""

MEASURED = _set(
    "temperature humidity pressure voltage co2 co moisture ph vibration noise salinity turbidity"
    " conductivity frequency flow weight speed battery rain wind torque energy"
)
"""Quantities that a question means by their names alone."""

MEASURED_IN = {
    "V": "voltage", "A": "current", "°C": "temperature", "°F": "temperature", "K": "temperature",
    "bar": "pressure", "Pa": "pressure", "hPa": "pressure", "psi": "pressure", "Hz": "frequency",
}  # fmt: skip
"""What a channel measures by its unit, whatever its quantity is called: volts of a battery."""

_MEANT: dict[str, frozenset[str]] = {}
for _quantity, _words in EVERYDAY.items():
    for _each in _words.split():
        _MEANT[_each] = _MEANT.get(_each, frozenset()) | {_quantity}


def cut(text: str, most: int | None = None) -> list[tuple[str, int, int]]:
    """Words of `text` in lower case with their places; `pump07` is two, `07` is `7`. The text is
    read up to its first `most` words, if that is given."""
    found: list[tuple[str, int, int]] = []
    for match in islice(_WORD.finditer(text), most):
        word, start, end = match[0].casefold().replace(".", ""), match.start(), match.end()
        parts = _NUMBERED.fullmatch(word)
        if parts:
            first, second = (p for p in parts.groups() if p is not None)
            middle = start + len(first)
            found += [(_plain(first), start, middle), (_plain(second), middle, end)]
        else:
            found.append((_plain(word), start, end))
    return found


def _plain(word: str) -> str:
    return word.lstrip("0") or "0" if word.isdecimal() else word


def singular(word: str) -> str:
    """`pumps` -> `pump`, `co2s` -> `co2`; other words with digits and short ones stay."""
    if not word.endswith("s") or len(word) <= 3 or word.endswith("ss"):
        return word
    return word[:-1] if word.isalpha() or word[:-1] in QUANTITIES else word


def meanings(word: str) -> frozenset[str]:
    """What else a word of a name or question may be matched by."""
    plain = singular(word)
    alias = ALIASES.get(word) or ALIASES.get(plain)
    return frozenset((word, plain, *(alias.split() if alias else ())))


def asked_meanings(word: str) -> frozenset[str]:
    """The same for a question, in which "warm" asks for a temperature."""
    return meanings(word) | _MEANT.get(word, frozenset())


def common(word: str) -> bool:
    """Whether a word, as it is written, is used around names."""
    return any(each in words for each in (word, singular(word)) for words in (ORDINARY, RARER))


@lru_cache(maxsize=4096)
def ordinary(word: str) -> bool:
    """Whether a word, or what it is a typing error for, is one that names no sensor."""
    if word in FUNCTION or common(word):
        return True
    return any(_mistyped(each) for each in dict.fromkeys((word, singular(word))))


def _mistyped(word: str) -> bool:
    """Whether a word is an ordinary one with a letter left out, said twice, or two changed about.

    Not with another letter in it: "valve" is no "value", "arena" no "area".
    """
    return len(word) >= 4 and any(_slipped(word, known) for known in _TYPED.get(word[0], ()))


def _slipped(word: str, known: str) -> bool:
    if len(word) == len(known):
        return sorted(word) == sorted(known) and _distance(word, known) < 2
    short, long = sorted((word, known), key=len)
    if len(long) - len(short) != 1 or len(short) < 4:
        return False
    at = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    return short[at:] == long[at + 1 :] and (short == word or long[at] == long[at - 1])


def alike(one: str, two: str) -> bool:
    """Whether `one` may be a typing error for `two`: by one letter, or two in a long word; of a
    short one only by a letter left out ("dor" for "door").

    Never for words with digits: pump-07 isn't pump-08.
    """
    longer = max(len(one), len(two))
    if not (one.isalpha() and two.isalpha()):
        return False
    if len(one) == 3 and len(two) == 4:
        return one[0] == two[0] and any(one == two[:at] + two[at + 1 :] for at in (1, 2, 3))
    if min(len(one), len(two)) < 4:
        return False
    if one[0] != two[0] and one[1:3] != two[1:3]:
        return False
    allowed = 2 if longer >= 8 else 1
    return abs(len(one) - len(two)) <= allowed and _distance(one, two) <= allowed


def shortened(word: str, name: str) -> bool:
    """Whether a word of a name is short for `word`: its beginning ("hyd" for "hydraulic"), or its
    consonants, the first and the last among them ("vlv" for "valve").
    """
    if len(name) < 3 or len(word) <= len(name) or not name.isalpha() or word[0] != name[0]:
        return False
    if word.startswith(name):
        return len(word) >= len(name) + 3
    rest = iter(consonants := [letter for letter in word if letter not in _VOWELS])
    spelt = _VOWELS.isdisjoint(name) and name[-1] == consonants[-1]
    return spelt and all(letter in rest for letter in name)


_VOWELS = frozenset("aeiou")


def _distance(one: str, two: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, start=1):
        last, before, row = before, row, [i]
        for j, b in enumerate(two, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
