"""How people ask: phrasing templates per family, each belonging to exactly one of the splits.

`{n}` is a sensor's name, `{q}` a quantity, `{s}` a state word, `{x}` a thing. Of every ten
templates of a family the ninth serves development and the tenth the test.
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
Does the {n} keep its limits?|Is the {n} as it should be?|Is the {n} at a normal level?|
Anything wrong with the {n}?|Does the {n} stay within its limits?|Tell me if the {n} is ok.|
Tell me whether the {n} is normal.|Is {n} alright?|Are we fine with the {n}?|
Is the {n} reading normal?|Is there a problem with the {n}?|
Can you check whether the {n} is within limits?|Is {n} in order?|Is the {n} healthy?|{n} normal?|
{n} in range?|How does the {n} look?|Is the {n} within the allowed range?|
Do the limits of the {n} hold?|Please check the {n}.|Is the {n} still ok?|
Is the {n} still within its limits?|{n} status|Is the value of the {n} ok?|
Does {n} need attention?|Should I worry about the {n}?|Is the {n} out of range?|
Is the {n} under control?|Is the {n} where we want it?|Verify the {n}.|
Is the {n} inside the permitted range?"""

TOO_HIGH = """Is the {n} too high?|Is {n} too high?|Is the {n} above its limit?|{n} too high?|
Is the {n} over the limit?|Has the {n} gone too high?|Does the {n} exceed its limit?|
Is the {n} higher than allowed?|Is the {n} above the limit?|Is the {n} over its limit?|
Is the {n} higher than it should be?|Could the {n} be too high?|
Has the {n} risen above its limit?|Is the {n} exceeding its limit?|
Did the {n} go over the limit?|Is the {n} too much?|{n} above limit?|
Is the {n} past its upper limit?|Tell me if the {n} is too high.|Is {n} over its maximum?|
Check if the {n} is too high.|Is the {n} excessive?|Is the {n} beyond its upper limit?|
{n} over the limit?|Do we have a too high {n}?|Does the {n} exceed what is allowed?|
Would you say the {n} is too high?|Is the {n} dangerously high?|Is {n} above the maximum?|
Has {n} passed its limit?"""

TOO_LOW = """Is the {n} too low?|Is {n} too low?|Is the {n} below its limit?|{n} too low?|
Is the {n} under the limit?|Has the {n} fallen too low?|Is the {n} lower than it should be?|
Is the {n} lower than allowed?|Is the {n} below the limit?|Is the {n} under its limit?|
Is the {n} smaller than it should be?|Could the {n} be too low?|
Has the {n} dropped below its limit?|Is the {n} falling short of its limit?|
Did the {n} go under the limit?|Is the {n} too little?|{n} below limit?|
Is the {n} past its lower limit?|Tell me if the {n} is too low.|Is {n} under its minimum?|
Check if the {n} is too low.|Is the {n} insufficient?|Is the {n} beneath its lower limit?|
{n} under the limit?|Do we have a too low {n}?|Does the {n} miss its minimum?|
Would you say the {n} is too low?|Is the {n} dangerously low?|Is {n} below the minimum?|
Has {n} sunk below its limit?"""

UNIT = """What is the unit of the {n}?|In which unit is the {n}?|unit of {n}|{n} unit?|
What unit does the {n} use?|In what unit is the {n} measured?|Which unit has the {n}?|
Tell me the unit of the {n}.|What unit is the {n} in?|How is the {n} measured, in which unit?|
What is {n} measured in?|In which units do you read the {n}?|What units is the {n} in?|
units of {n}|Which unit does the {n} have?|Which unit is used for the {n}?|
Give me the unit of the {n}.|{n} units?|What unit of measurement has the {n}?|
What is the measuring unit of the {n}?|The {n} is in which unit?|Which unit belongs to the {n}?|
Name the unit of the {n}.|Do you know the unit of the {n}?|What unit is used for {n}?|
Is the {n} given in which unit?|What are the units of the {n}?|
Please tell me the unit of the {n}.|Show the unit of {n}.|In what units is {n} reported?"""

TREND = """Is the {n} rising or falling?|What is the trend of the {n}?|How does the {n} change?|
{n} trend?|Is the {n} going up or down?|Which way is the {n} going?|trend of {n}|
Where is the {n} heading?|Is the {n} increasing or decreasing?|Does the {n} rise or fall?|
Is the {n} getting higher or lower?|Is the {n} rising?|Is the {n} falling?|Is the {n} stable?|
Is the {n} going up?|Is the {n} going down?|In which direction does the {n} move?|
Has the {n} been rising?|How is the {n} developing?|Does the {n} go up or down?|
What is the {n} doing?|Is the {n} climbing or dropping?|Tell me the trend of the {n}.|
Is the {n} steady?|What direction is the {n} going?|Is {n} changing?|Does the {n} increase?|
Does the {n} decrease?|Show the trend of {n}.|How has the {n} been moving?"""

AGE = """How old is the {n} reading?|When was the {n} read?|How long ago was the {n} measured?|
age of {n}|When did the {n} last report?|When was the last reading of the {n}?|
How old is the {n}?|When was the {n} last updated?|How fresh is the {n}?|
When did you last hear from the {n}?|How long ago was the {n} read?|How recent is the {n}?|
How recent is the {n} reading?|When did the {n} report?|When was the {n} measured?|
How many seconds old is the {n}?|{n} age?|How long since the {n} was updated?|
When did we get the {n}?|What is the age of the {n}?|When was the {n} last seen?|
How long ago did the {n} report?|Tell me how old the {n} is.|
Since when have we had the {n} value?|How old is the value of the {n}?|
How up to date is the {n}?|When did the {n} last send something?|When did you receive the {n}?|
last update of {n}?|What is the time since the last {n} reading?"""

STATE = """Is the {n} {s}?|{n} {s}?|Is {n} {s} now?|Is the {n} {s} right now?|
Would you say the {n} is {s}?|Tell me if the {n} is {s}.|Check if the {n} is {s}.|
Can you tell me whether the {n} is {s}?|Is the {n} currently {s}?|I wonder if the {n} is {s}.|
Is the {n} still {s}?|Could it be that the {n} is {s}?|Is it true that the {n} is {s}?|
Do you see the {n} {s}?|Is {n} {s}, yes or no?|Does the {n} say {s}?|Does the {n} report {s}?|
Please check whether the {n} is {s}.|Am I right that the {n} is {s}?|
Did someone leave the {n} {s}?|Tell me whether the {n} is {s}.|Was the {n} left {s}?|
The {n} is {s}, right?|Is the state of the {n} {s}?|Is the {n} really {s}?|
Do we have the {n} {s}?|Is the {n} set to {s}?|Confirm that the {n} is {s}.|
Has the {n} gone {s}?|Is the {n} showing {s}?"""

HIGHEST = """Which {q} is highest?|Which {q} is the highest?|Where is the {q} highest?|
highest {q}?|What is the highest {q}?|Which sensor has the highest {q}?|Tell me the highest {q}.|
Where is the highest {q}?|Show the highest {q}.|Which one has the highest {q}?|
Where do we have the highest {q}?|Who has the highest {q}?|Give me the highest {q}.|
Find the highest {q}.|Which sensor shows the highest {q}?|What's the highest {q}?|
Which {q} is at the top?|What is the maximum {q}?|Which {q} is the largest?|max {q}?|
Which place has the highest {q}?|Where is the {q} at its highest?|Which {q} reads highest?|
Compare every {q}: which is highest?|Which of them has the highest {q}?|Name the highest {q}.|
Which is the highest {q} now?|biggest {q}?|Where is the most {q}?|The highest {q} is where?"""

LOWEST = """Which {q} is lowest?|Which {q} is the lowest?|Where is the {q} lowest?|lowest {q}?|
What is the lowest {q}?|Which sensor has the lowest {q}?|Tell me the lowest {q}.|
Where is the lowest {q}?|Show the lowest {q}.|Which one has the lowest {q}?|
Where do we have the lowest {q}?|Who has the lowest {q}?|Give me the lowest {q}.|
Find the lowest {q}.|Which sensor shows the lowest {q}?|What's the lowest {q}?|
Which {q} is at the bottom?|What is the minimum {q}?|Which {q} is the smallest?|min {q}?|
Which place has the lowest {q}?|Where is the {q} at its lowest?|Which {q} reads lowest?|
Compare every {q}: which is lowest?|Which of them has the lowest {q}?|Name the lowest {q}.|
Which is the lowest {q} now?|smallest {q}?|Where is the least {q}?|The lowest {q} is where?"""

ALARMS = """Are there any alarms?|Any alarms?|What is wrong?|Is anything wrong?|
Is everything ok?|Which limits are exceeded?|Is anything out of range?|alarms|
Which sensors are out of range?|Is everything all right?|Is any reading outside its limits?|
Does anything need attention?|Any problems?|What alarms are there?|Show me the alarms.|
List the alarms.|Is everything normal?|What needs attention?|Is there an alarm?|
Are all readings within their limits?|Do we have alarms?|Do we have any alarms?|
Is there any alarm?|Is there any problem?|Are there problems?|What is the problem?|What's wrong?|
Is something wrong?|Is something out of range?|Which readings are out of range?|
Which values are out of limits?|What is out of range?|Is any limit exceeded?|
Has any limit been crossed?|Are all limits kept?|Are all sensors ok?|Are all values normal?|
Is all well?|All good?|Everything ok?|Anything wrong?|any problems|Anything to worry about?|
What should I worry about?|Should I be worried?|Give me the alarms.|Tell me the alarms.|
Which alarms are active?|active alarms?|Report all alarms.|What is alarming?|What is not normal?|
Which sensors need attention?|Which sensors have problems?|Is there anything I should look at?|
Is there anything unusual?|Any warnings?|Are there any warnings?|
List everything that is out of range.|List all problems.|Does any sensor exceed its limits?|
Are any values too high or too low?|Is any value too high?|Is any value too low?|
Is any sensor in alarm?|Which sensors are in alarm?|Do all sensors look fine?|Is the system ok?|
Is everything in order?|Are there issues?|Any issues?|What issues are there?|Check all sensors.|
Check everything.|Is every reading within its limits?|What is going wrong?|
Give me an overview of the alarms.|Tell me what needs attention.|Tell me if anything is wrong.|
How many alarms are there?|Which limits are violated?|Show all readings that are out of limits.|
Is everything under control?|Did anything cross its limit?|Can I relax?|
What are the current alarms?|Are we within all limits?|Has anything gone wrong?|Alarm?|
Status of the alarms?|Does something need my attention?|Where is something wrong?|
Where are problems?|Which readings violate their limits?|alarm list|Are any limits exceeded?|
Are any sensors out of range?"""

STALE = """Is any sensor stale?|Which sensors are stale?|Are any readings stale?|stale sensors?|
Is any reading old?|Which readings are stale?|Are all sensors up to date?|
Did any sensor stop reporting?|Are there stale readings?|Which sensors stopped reporting?|
Which sensors are silent?|Are some sensors stale?|Is there a stale sensor?|
Is there any stale reading?|List the stale sensors.|List stale readings.|
Show me the stale sensors.|Which sensors have old readings?|Which values are outdated?|
Are any values outdated?|Is any value outdated?|Are all readings fresh?|
Is every sensor up to date?|Do all sensors still report?|Does every sensor still report?|
Which sensors no longer report?|Has any sensor gone silent?|Did a sensor go quiet?|
any stale sensors?|stale readings?|Are any sensors not reporting?|Is a sensor not reporting?|
What is stale?|Which readings are too old?|Are there old readings?|Is there old data?|
Is the data fresh?|Are all values current?|Which sensors are out of date?|
Are some readings out of date?|Is anything stale?|Which sensor has stopped?|
Have any sensors stopped reporting?|Are any sensors dead?|Tell me which sensors are stale.|
Tell me about stale sensors.|Who has stopped reporting?|
Which sensors have not reported for long?|Do we have stale data?|Any outdated readings?"""

OTHER = """Tell me about {x}.|Who is {x}?|What is the capital of {x}?|Do you like {x}?|
Where can I buy {x}?|How do I cook {x}?|Write a poem about {x}.|What do you think of {x}?|
Tell me a story about {x}.|Who invented {x}?|Can you explain {x}?|How do I learn {x}?|
Translate {x} into German.|Sing a song about {x}.|What is the price of {x}?|
How far is it to {x}?|Tell me a joke about {x}.|Play {x}.|Who won {x}?|When was {x} built?|
Call {x}.|Order {x} for me.|What is the best {x}?|How many people live in {x}?|
What is the meaning of {x}?|Have you heard of {x}?|How old is {x}?|What is the weather in {x}?|
Will it rain in {x} tomorrow?|Recommend {x}.|What time is it in {x}?|Explain {x} to me.|
Why is {x} so popular?|Is {x} any good?|How do you spell {x}?|What rhymes with {x}?|
Send a message to {x}.|Remind me of {x}.|Search the web for {x}.|Who wrote {x}?"""

_THINGS = """France|Japan|Brazil|Berlin|Paris|London|Madrid|Tokyo|New York|the moon|pizza|pasta|
soup|bread|rice|chocolate|coffee|tea|beer|wine|football|tennis|chess|the World Cup|the match|
music|jazz|rock|the piano|the guitar|Mozart|Einstein|Newton|Shakespeare|the king|the president|
my mother|my boss|a taxi|a book|a film|the news|the stock market|bitcoin|love|life|happiness|
history|physics|Latin|mathematics|cats|dogs|horses|dragons|dinosaurs|the Eiffel Tower|
the pyramids|Rome|Africa|the sea|a holiday|a birthday|a wedding|Christmas|shoes|a new phone|
a computer|a bicycle|poetry|dancing|a joke|a story|a song|yoga|cooking|gardening|painting|
the universe|black holes|quantum theory"""

FAMILIES = {
    "value": VALUE, "status": STATUS, "too_high": TOO_HIGH, "too_low": TOO_LOW, "unit": UNIT,
    "trend": TREND, "age": AGE, "state": STATE, "highest": HIGHEST, "lowest": LOWEST,
    "alarms": ALARMS, "stale": STALE, "other": OTHER,
}  # fmt: skip


OPENERS = ("Hi, ", "Hello, ", "Hey, ", "Hi! ", "Please: ", "Quick question: ", "Tell me, ", "So, ")
THANKS = (" Thanks.", " Thank you.", " Please.", " Please answer.", " Thanks!")
"""What people say around a question, in every split."""


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

THINGS: dict[Split, tuple[str, ...]] = _split(_THINGS)
"""What questions that sensors can't answer are about."""
