"""A question's words against the names of the channels: which of them it explains, and how.

Words of a name are *matched*, with typing errors, other endings, everyday words ("warm" for a
temperature) and terms that mean the same; ordinary words of questions are passed over; what is left
is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgespike.prompting.association import learned, names_another
from edgespike.prompting.lexicon import MAX_TERM, lexicon
from edgespike.prompting.names import NOWHERE, Name, glued, may_stand_for
from edgespike.prompting.words import (
    ADVERBS,
    ALIASES,
    BEYOND,
    BOUNDS,
    CARDINALS,
    CONJUNCTIONS,
    CONTRASTS,
    ENOUGH,
    FUNCTION,
    HIGH,
    LINKS,
    LOW,
    MEASURED,
    MEASURED_IN,
    ONESELF,
    ORDINALS,
    ORDINARY,
    OUTDOORS,
    OWNERS,
    PARTICLES,
    PRONOUNS,
    QUANTITIES,
    SORTS,
    STATES,
    SUBORDINATORS,
    TEXTED,
    THINGS_DONE,
    alike,
    asked_meanings,
    common,
    cut,
    meanings,
    singular,
)
from edgespike.sensing.picture import ChannelView

_GAP = re.compile(r"[\s_/'’-]*")
_ID = re.compile(r"([^\W\d_]{1,2})0*([1-9]\d*)")
_END = re.compile(r"[;?!]|\.\s| [-–—] ")
_STOP = re.compile(r"[,;:.?!&+/]")

MAX_WORDS = 64
"""Words of a question that are looked at."""

NAMED, MEANT = "#", "~"
"""What stands in `Question.outline` for words of names, and before words that mean some."""


class Question:
    """A question's words against the words of all names."""

    def __init__(self, text: str, names: Sequence[Name]) -> None:
        self.text = text
        self.names = names
        found = cut(text, MAX_WORDS)[:MAX_WORDS]
        known = {word for name in names for word in name.words}
        self.words = [_in_full(word, text[start:end], known) for word, start, end in found]
        self._places = [(start, end) for _, start, end in found]
        self._known = known
        self._meant = {m for name in names for word in name.needed for m in word}
        self._meant |= {m for name in names for m in name.extra}
        self._glued = glued(names)
        self.meanings = [self._meaning(i, known) for i in range(len(found))]
        self._hinted: set[int] = set()
        self._counts = frozenset(at for at in range(len(found)) if self._is_count(at))
        for at in self._counts:
            self.meanings[at] = frozenset()
        self._mean_numbers(known)
        self._mean_ids()
        self._mean_the_same()
        self._mean_numbers(known)  # beside a term that stands for another: "oven two" for "ofen 2"
        self._asked = frozenset[str]().union(*self.meanings)
        self.matched = [self._reach(name) for name in names]

    def _meaning(self, index: int, known: set[str]) -> frozenset[str]:
        """What the word means among the names; empty when it is no word of theirs."""
        word = self.words[index]
        if word in FUNCTION and len(word) > 1:
            return frozenset()
        if len(word) == 1 and word.isalpha():
            alone = not index and not "".join(self.words[1:2]).isdecimal()  # "A pump" is no pump A
            return frozenset((word,)) if word in known and not alone else frozenset()
        meant = asked_meanings(word) & self._meant
        if word in self._glued:
            meant |= self._glued[word]
        for first in (index - 1, index):  # "living room" for "livingroom"
            pair = "".join(self.words[max(0, first) : first + 2])
            if first + 1 < len(self.words) and pair in known and pair != word:
                meant |= {pair}
        if not meant and not common(word) and singular(word) not in lexicon().words:
            meant = frozenset(k for k in known if alike(word, k) or alike(singular(word), k))
            meant = frozenset(m for k in meant for m in meanings(k)) & self._meant
        if not meant and not common(word):
            plain = singular(word)
            short = (k for k in known if may_stand_for(k, plain))
            meant = frozenset(m for k in short for m in meanings(k)) & self._meant
        return meant

    def _mean_numbers(self, known: set[str]) -> None:
        """Numbers in words beside a word of a name: "the second barn", "zone two"."""
        for at, word in enumerate(self.words):
            beside = at + 1 if word in ORDINALS else at - 1
            if not 0 <= beside < len(self.words):
                continue
            if (
                self.words[beside] in CONJUNCTIONS
                and beside
                and self.words[beside - 1] in CARDINALS
            ):
                beside -= 1  # "pump one and two"
            number = ORDINALS.get(word) or CARDINALS.get(word)
            counted = self.words[beside] == "number"  # "freezer number two"
            if number in known and (self.meanings[beside] or counted):
                self.meanings[at] = frozenset((number,))

    def _mean_ids(self) -> None:
        """Ids in words: "fermenter 2" for FV2, "tank 205" for T205 or T-205."""
        ids: dict[str, list[tuple[str, frozenset[str]]]] = {}
        for words in {name.words for name in self.names}:
            for one, two in zip(words, (*words, "")[1:], strict=True):
                if found := _ID.fullmatch(one):
                    ids.setdefault(found[2], []).append((found[1], frozenset((one,))))
                elif len(one) <= 2 and one.isalpha() and two.isdecimal():
                    ids.setdefault(two, []).append((one, frozenset((one, two))))
        for at, word in enumerate(map(singular, self.words[:-1])):
            number = CARDINALS.get(self.words[at + 1], self.words[at + 1])
            if number not in ids or self.meanings[at] or common(word) or len(word) < 3:
                continue
            short = {word[0]} | {term[0] for term in lexicon().same.get((word,), ())}
            for letters, meant in ids[number]:
                if letters in short:
                    self.meanings[at] |= meant
                    self.meanings[at + 1] |= meant

    def _mean_the_same(self) -> None:
        """Terms that stand for others: "starboard coolant" for "stbd coolant"."""
        singulars = [singular(word) for word in self.words]
        for length in range(MAX_TERM, 0, -1):
            for at in range(len(self.words) - length + 1):
                places = range(at, at + length)
                if all(self.meanings[i] for i in places):
                    continue
                for other in lexicon().same.get(tuple(singulars[at : at + length]), ()):
                    if self._meant.issuperset(other):
                        for i in places:
                            self.meanings[i] |= frozenset(other)
        for at, word in enumerate(singulars):
            verb = self._is_verb(at, frozenset())
            if not self.meanings[at] and not verb and not lexicon().passes(self.words[at]):
                self.meanings[at] = lexicon().hinted(word) & self._meant
                self._hinted.update([at] if self.meanings[at] else ())

    def _reach(self, name: Name) -> tuple[frozenset[int], int, int]:
        """Places of the question that `name` explains, how many of its words they name, how many
        exactly."""
        places: set[int] = set()
        named = exact = 0
        for at, word in enumerate(name.needed):
            if word.isdisjoint(self._asked):
                continue  # most words of most names
            hits = [i for i, meant in enumerate(self.meanings) if meant & word]
            hits = [i for i in hits if not self._by_the_way(i, name)]
            plain = name.words[at]
            if len(plain) == 1 and plain.isalpha():
                before = name.needed[at - 1] if at else frozenset()
                after = name.needed[1] if not at and len(name.needed) > 1 else frozenset()
                hits = [i for i in hits if self._lettered(i) & before or self._means(i + 1) & after]
            places.update(hits)
            named += bool(hits)
            exact += any(self.words[i] == plain for i in hits)
        if not name.extra.isdisjoint(self._asked):
            places.update(i for i, meant in enumerate(self.meanings) if meant & name.extra)
        return frozenset(places), named, exact

    def _lettered(self, at: int) -> frozenset[str]:
        """What the word before a letter means, of "B" in "chillers A and B" the first."""
        first = at - 1
        while first > 0 and (self.words[first] in CONJUNCTIONS or len(self.words[first]) == 1):
            first -= 1
        return self.meanings[first] if first >= 0 else frozenset()

    def _means(self, at: int) -> frozenset[str]:
        return self.meanings[at] if at < len(self.meanings) else frozenset()

    def _by_the_way(self, index: int, name: Name) -> bool:
        """Whether an ordinary word of the question only happens to be one of the name's: "which
        room" doesn't mean the living room, "outside its limits" not the outdoor sensor."""
        word = self.words[index]
        after = self.words[index + 1 : index + 2]
        if word in ("outside", "inside") and after:
            return after[0] in BOUNDS or after[0] in OWNERS
        if word not in name.words or word not in ORDINARY or len(name.words) == 1:
            return False
        if word in QUANTITIES and word != "current":
            return False
        if any(word in some and len(some.intersection(self.words)) > 1 for some in CONTRASTS):
            return False  # "top and bottom"
        if len(name.words) > 2 and all(needed & self._asked for needed in name.needed):
            return False  # "how many hours has compressor 1" with a name of just these words
        beside = [self.words[:index][::-1], self.words[index + 1 :]]
        if word == "current":  # "the current hall power" is no current, "the hall current" is
            beside = beside[:1] if not LINKS.intersection(after) else beside
        near = {next((w for w in side if w not in LINKS), "") for side in beside}
        own = {m for needed in name.needed for m in needed}
        return not any(meanings(w) & own for w in near)

    def names_state(self, text: str) -> bool:
        """Whether the question names a state, or another one that its device could be in."""
        state = {word for word, _, _ in cut(text)}
        said = [word for at, word in enumerate(self.words) if not self.meanings[at]]
        if not state.isdisjoint(said):
            return True
        some = [each for each in STATES if not state.isdisjoint(each)]
        return any(word in each for each in some for word in said)

    def only_hinted(self, places: frozenset[int]) -> bool:
        """Whether the words at some places only hint at what they mean."""
        return places <= self._hinted

    def may_mean(self, channel: int) -> bool:
        """Whether no word that a channel leaves unexplained must be another's."""
        places = self.matched[channel][0]
        words = {singular(w) for i, w in enumerate(self.words) if i not in places}
        own = {singular(w) for w in self.names[channel].words}
        return not any(names_another(word, learned()) for word in words - own)

    def means_another(self, index: int, channel: ChannelView, explained: frozenset[int]) -> bool:
        """Whether a word that isn't `explained` by any channel that is meant says that this one is
        not: the left one of its kind for the right, the second for the first, the pressure of a
        pump that only tells whether it runs.
        """
        places = self.matched[index][0]
        clauses = [clause for clause in self._clauses() if places.intersection(clause)]
        whole = [each for each in clauses if self.named(index, places.intersection(each))]
        strange = [
            any(self._tells_apart(at, index, channel) for at in clause if at not in explained)
            for clause in whole or clauses
        ]
        return all(strange) if whole else any(strange)

    def _tells_apart(self, at: int, index: int, channel: ChannelView) -> bool:
        """Whether the word at a place says that it isn't this channel."""
        word, places = self.words[at], self.matched[index][0]
        own = set(self.names[index].words)
        if word in own or at in self._counts:
            return False
        contrary = [some & own for some in CONTRASTS if word in some]
        if any(some and some.isdisjoint(self.words) for some in contrary):
            return True
        if word in ("outside", "outdoors", "outdoor") and not self._by_the_way(at, NOWHERE):
            return not any(each.startswith(OUTDOORS) for each in own)
        kind = meanings(channel.quantity.casefold()) | self.names[index].extra
        kind |= {MEASURED_IN.get(channel.unit.lstrip("mkµ"), "")}
        meant = meanings(singular(word)) & MEASURED
        if word == "current" and at - 1 in places:
            meant = frozenset((word,))
        if meant and not meant & kind and (channel.quantity or channel.number is None):
            return True
        after = self.words[at + 1] if at + 1 < len(self.words) else ""
        if word in CARDINALS and singular(after) != after:
            return False  # "the two fryers"
        number = CARDINALS.get(word) or ORDINALS.get(word) or word
        if number.isdecimal():
            return bool({at - 1, at + 1} & places) and any(map(str.isdecimal, own))
        lettered = len(word) == 1 and word.isalpha() and word not in LINKS and at - 1 in places
        return lettered and any(len(w) == 1 and w.isalpha() for w in own)

    def _clauses(self) -> Iterator[list[int]]:
        """The places of all words, parted at conjunctions and commas."""
        clause: list[int] = []
        for at, word in enumerate(self.words):
            gap = self.text[self._places[at - 1][1] : self._places[at][0]] if at else ""
            if word in CONJUNCTIONS or _STOP.search(gap):
                yield clause
                clause = []
            clause.append(at)
        yield clause

    def without_others(
        self, found: Sequence[int], channels: Sequence[ChannelView]
    ) -> tuple[int, ...]:
        """Of some channels those that aren't taken for another one."""
        explained = frozenset(i for c in found for i in self.matched[c][0])
        return tuple(c for c in found if not self.means_another(c, channels[c], explained))

    def outline(self) -> tuple[str, ...]:
        """The words without those that names have, and a mark before those that mean some."""
        hit = self.hit
        return tuple(self._outlined(i in hit, word) for i, word in enumerate(self.words))

    def _outlined(self, hit: bool, word: str) -> str:
        if not hit:
            return word
        return NAMED if not self._known.isdisjoint((word, singular(word))) else f"{MEANT}{word}"

    @property
    def hit(self) -> frozenset[int]:
        """Places that some name explains."""
        return frozenset(i for reach, _, _ in self.matched for i in reach)

    def runs(self) -> list[list[int]]:
        """Neighbouring words that are matched or unknown, without those between names."""
        runs: list[list[int]] = []
        hit, last = self.hit, -2
        aside = self._aside(hit)
        for i, word in enumerate(self.words):
            passes = i in aside or lexicon().passes(word) or self._is_bound(i) or self._is_sort(i)
            passes = passes or i in self._counts or self._is_sort_of(i, hit) or self._is_here(i)
            if i not in hit and (passes or self._is_verb(i, hit)):
                continue
            joined = i == last + 1 and _GAP.fullmatch(
                self.text, self._places[i - 1][1], self._places[i][0]
            )
            if joined:
                runs[-1].append(i)
            else:
                runs.append([i])
            last = i
        return runs

    def _is_count(self, at: int) -> bool:
        """Whether a number says how many: "the 3 freezers", but not "zone 3 temps"."""
        after = self.words[at + 1] if at + 1 < len(self.words) else ""
        many = bool(self._means(at + 1)) and singular(after) != after
        alone = not at or (self.words[at - 1] in FUNCTION and not self.meanings[at - 1])
        return self.words[at].isdecimal() and many and alone

    def _is_bound(self, at: int) -> bool:
        """Whether a number is what something may be above or below."""
        return at > 0 and self.words[at].isdecimal() and self.words[at - 1] in BEYOND

    def _is_sort(self, at: int) -> bool:
        """Whether a word says among what something is the most: the cabinets of "the coldest
        cabinet", but not the sauna of "the highest sauna temperature".
        """
        if not at or self.words[at - 1] not in HIGH | LOW or not self.words[at].isalpha():
            return False
        after = self.words[at + 1] if at + 1 < len(self.words) else "now"
        measured = asked_meanings(self.words[at - 1]) & MEASURED
        return bool(measured) and lexicon().passes(after)

    def _is_here(self, at: int) -> bool:
        """Whether a word is where all is: "what is there in this camper"."""
        return at > 1 and self.words[at - 1] == "this" and self.words[at - 2] in LINKS

    def _is_sort_of(self, at: int, hit: frozenset[int]) -> bool:
        """Whether a word says what a thing with an id is: "compressor K3" where all is called K3.

        An id is letters and a number that name a sensor.
        """
        after = self.words[at + 1 : at + 3]
        if at in hit or at + 1 not in hit or self.words[at] not in SORTS:
            return False
        return bool(_ID.fullmatch(after[0])) or (
            len(after) > 1 and at + 2 in hit and bool(_ID.fullmatch("".join(after)))
        )

    def _aside(self, hit: frozenset[int]) -> frozenset[int]:
        """Places of words that tell why or when one asks: what follows "warm enough to", "while",
        and sentences that name nothing beside one that does."""
        aside: set[int] = set()
        for sentence in self._sentences():
            words = [self.words[i] for i in sentence]
            if hit and hit.isdisjoint(sentence):
                aside.update(sentence)
            begin = len(sentence)
            for at, word in enumerate(words):
                purpose = word in ("to", "for") and ENOUGH.intersection(words[:at])
                if at and (purpose or word in SUBORDINATORS) and hit.intersection(sentence[:at]):
                    begin = at
                    break
            aside.update(sentence[begin:])
        return frozenset(aside)

    def _sentences(self) -> Iterator[list[int]]:
        """The places of all words, parted where a sentence ends, or one about oneself begins."""
        sentence: list[int] = []
        for at, word in enumerate(self.words):
            gap = self.text[self._places[at - 1][1] : self._places[at][0]] if at else ""
            if _END.search(gap) or ("," in gap and word in ONESELF):
                yield sentence
                sentence = []
            sentence.append(at)
        yield sentence

    def _is_verb(self, at: int, hit: frozenset[int]) -> bool:
        """Whether a word says what something does: "is the organ drying out"."""
        word = self.words[at]
        if not (word.endswith("ing") and len(word) > 5):
            return False
        before = self.words[at - 1] if at else ""
        after = self.words[at + 1] if at + 1 < len(self.words) else ""
        if after in PARTICLES or before in PRONOUNS:
            return True
        if not any(i < at for i in hit):
            return False
        if before in ADVERBS:
            return True
        return word not in THINGS_DONE and (not after or after in FUNCTION)

    def named(self, channel: int, places: frozenset[int]) -> bool:
        """Whether these places hold the whole name of a channel."""
        needed = self.names[channel].needed
        return all(any(self.meanings[i] & word for i in places) for word in needed)

    def names_some(self, channel: int, places: frozenset[int]) -> bool:
        """Whether these places hold a word of the name of a channel."""
        needed = frozenset[str]().union(*self.names[channel].needed)
        return any(self.meanings[i] & needed for i in places)

    def mentions(self, channel: int) -> list[frozenset[int]]:
        """Where the question says the whole name of a channel at a stretch: as it is spelt, or else
        in other words, with no more than "in the" between them.
        """
        name, words = self.names[channel].words, tuple(self.words)
        starts = [at for at in range(len(words)) if words[at : at + len(name)] == name]
        if starts:
            return [frozenset(range(at, at + len(name))) for at in starts]
        stretches: list[list[int]] = []
        for at in sorted(self.matched[channel][0]):
            between = words[stretches[-1][-1] + 1 : at] if stretches else ("",)
            if all(word in LINKS or word == "the" for word in between):
                stretches[-1].append(at)
            else:
                stretches.append([at])
        return [each for each in map(frozenset, stretches) if self.named(channel, each)]

    def phrases(self) -> list[list[list[int]]]:
        """The runs, together where no conjunction or comma parts them: "temperature in the hall"
        is one phrase, "hall and attic" are two."""
        phrases: list[list[list[int]]] = []
        for run in self.runs():
            if phrases:
                last = phrases[-1][-1][-1]
                between = self.text[self._places[last][1] : self._places[run[0]][0]]
                conjoined = CONJUNCTIONS.intersection(self.words[last + 1 : run[0]])
                if not conjoined and not _STOP.search(between):
                    phrases[-1].append(run)
                    continue
            phrases.append([run])
        return phrases

    def lacking(self, phrase: list[list[int]]) -> str:
        """A name for what doesn't exist: "sauna temperature" for "how warm is the sauna"."""
        places = [run for run in phrase if not self._quantity(run)]
        measured = [self._quantity(run) for run in phrase if run not in places]
        if len(measured) == 1 and len(measured[0]) == 1:
            return " ".join((*(self.said(run) for run in places), *measured[0]))
        return " ".join(self.said(run) for run in places or phrase)

    def _quantity(self, run: list[int]) -> frozenset[str]:
        """What a run of words measures when it says nothing else."""
        meant = [asked_meanings(self.words[i]) & QUANTITIES for i in run]
        return frozenset[str]().union(*meant) - set(ALIASES) if all(meant) else frozenset()

    def said(self, run: Sequence[int]) -> str:
        """The run as it stands in the question."""
        return self.text[self._places[run[0]][0] : self._places[run[-1]][1]]


def _in_full(word: str, written: str, known: set[str]) -> str:
    """A word that was texted, where it can't be a name's: phase U beside V, R beside S and T."""
    full = TEXTED.get(word)
    lettered = len(word) == 1 and (written != word or not known.isdisjoint("rstuvwn"))
    return word if full is None or word in known or lettered else full
