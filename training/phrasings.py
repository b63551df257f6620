"""How people ask: phrasing templates per family, each belonging to exactly one of the splits.

`{n}` is a sensor's name, `{q}` a quantity, `{s}` a state word. Of every ten templates of a family
the ninth serves development and the tenth the test.
"""

from __future__ import annotations

from training.scenes import Split

VALUE = """What is the {n}?|What's the {n}?|{n}?|Tell me the {n}.|current {n}|
How much is the {n}?|Give me the {n}.|What does the {n} read?|What is the {n} now?|
Could you tell me the {n}?|{n} please|What is the {n} right now?|I need the {n}.|Show the {n}.|
What is the value of {n}?|Read the {n}.|what is the current {n}?|Please report the {n}.|
Do you know the {n}?|What value does the {n} have?|Please tell me the {n}.|value of {n}|
What is the latest {n}?|Say the {n}.|How is the {n}?|Can you give me the {n}?|
What's the {n} at the moment?|And the {n}?|the {n}?|What is {n} at?|Let me know the {n}.|
Report {n}|Which value has the {n}?|What reading do you have for the {n}?|
Hello, what is the {n}?|Hey, what's the {n}?|How high is the {n}?|get {n}|
Tell me what the {n} is.|What is the {n} currently?"""

STATUS = """Is the {n} ok?|Is the {n} within its limits?|Is {n} normal?|Is the {n} fine?|
Is the {n} in range?|{n} ok?|Is everything all right with the {n}?|Check the {n}.|
Is the {n} all right?|Is the {n} inside its limits?|Does the {n} look normal?|status of {n}|
What is the status of the {n}?|Is the {n} where it should be?|Is the {n} in its normal range?|
Are the limits of the {n} kept?|Is the {n} acceptable?|Is the {n} good?|Is {n} within limits?|
Does the {n} keep its limits?"""

TOO_HIGH = """Is the {n} too high?|Is {n} too high?|Is the {n} above its limit?|{n} too high?|
Is the {n} over the limit?|Has the {n} gone too high?|Does the {n} exceed its limit?|
Is the {n} higher than allowed?|Is the {n} above the limit?|Is the {n} over its limit?"""

TOO_LOW = """Is the {n} too low?|Is {n} too low?|Is the {n} below its limit?|{n} too low?|
Is the {n} under the limit?|Has the {n} fallen too low?|Is the {n} lower than it should be?|
Is the {n} lower than allowed?|Is the {n} below the limit?|Is the {n} under its limit?"""

UNIT = """What is the unit of the {n}?|In which unit is the {n}?|unit of {n}|{n} unit?|
What unit does the {n} use?|In what unit is the {n} measured?|Which unit has the {n}?|
Tell me the unit of the {n}.|What unit is the {n} in?|How is the {n} measured, in which unit?"""

TREND = """Is the {n} rising or falling?|What is the trend of the {n}?|How does the {n} change?|
{n} trend?|Is the {n} going up or down?|Which way is the {n} going?|trend of {n}|
Where is the {n} heading?|Is the {n} increasing or decreasing?|Does the {n} rise or fall?"""

AGE = """How old is the {n} reading?|When was the {n} read?|How long ago was the {n} measured?|
age of {n}|When did the {n} last report?|When was the last reading of the {n}?|
How old is the {n}?|When was the {n} last updated?|How fresh is the {n}?|
When did you last hear from the {n}?"""

STATE = """Is the {n} {s}?|{n} {s}?|Is {n} {s} now?|Is the {n} {s} right now?|
Would you say the {n} is {s}?|Tell me if the {n} is {s}.|Check if the {n} is {s}.|
Can you tell me whether the {n} is {s}?|Is the {n} currently {s}?|I wonder if the {n} is {s}."""

HIGHEST = """Which {q} is highest?|Which {q} is the highest?|Where is the {q} highest?|
highest {q}?|What is the highest {q}?|Which sensor has the highest {q}?|Tell me the highest {q}.|
Where is the highest {q}?|Show the highest {q}.|Which one has the highest {q}?"""

LOWEST = """Which {q} is lowest?|Which {q} is the lowest?|Where is the {q} lowest?|lowest {q}?|
What is the lowest {q}?|Which sensor has the lowest {q}?|Tell me the lowest {q}.|
Where is the lowest {q}?|Show the lowest {q}.|Which one has the lowest {q}?"""

ALARMS = """Are there any alarms?|Any alarms?|What is wrong?|Is anything wrong?|
Is everything ok?|Which limits are exceeded?|Is anything out of range?|alarms|
Which sensors are out of range?|Is everything all right?|Is any reading outside its limits?|
Does anything need attention?|Any problems?|What alarms are there?|Show me the alarms.|
List the alarms.|Is everything normal?|What needs attention?|Is there an alarm?|
Are all readings within their limits?"""

STALE = """Is any sensor stale?|Which sensors are stale?|Are any readings stale?|stale sensors?|
Is any reading old?|Which readings are stale?|Are all sensors up to date?|
Did any sensor stop reporting?|Are there stale readings?|Which sensors stopped reporting?"""

OTHER = """What will the weather be tomorrow?|Tell me a joke.|Who won the match?|
What is 12 times 9?|Write a poem.|Who are you married to?|What is the capital of France?|
Play some music.|How do I bake bread?|Sing a song.|What is the meaning of life?|Order a pizza.|
Who is the president?|What time is it in Tokyo?|Translate this to German.|Do you like cats?|
What should I cook tonight?|Call my mother.|Tell me a story.|What is the best film?"""

FAMILIES = {
    "value": VALUE, "status": STATUS, "too_high": TOO_HIGH, "too_low": TOO_LOW, "unit": UNIT,
    "trend": TREND, "age": AGE, "state": STATE, "highest": HIGHEST, "lowest": LOWEST,
    "alarms": ALARMS, "stale": STALE, "other": OTHER,
}  # fmt: skip


def _split(family: str) -> dict[Split, tuple[str, ...]]:
    templates = [t.strip() for t in family.replace("\n", "").split("|")]
    return {
        "train": tuple(t for i, t in enumerate(templates) if i % 10 < 8),
        "dev": tuple(t for i, t in enumerate(templates) if i % 10 == 8),
        "test": tuple(t for i, t in enumerate(templates) if i % 10 == 9),
    }


TEMPLATES: dict[str, dict[Split, tuple[str, ...]]] = {
    name: _split(family) for name, family in FAMILIES.items()
}
