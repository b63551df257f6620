"""What an answer may draw on, and what of an answer can't be traced to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from unicodedata import normalize

from edgespike.grounding.figures import Figure, figures, folded, has_digit, phrases, with_hyphens
from edgespike.prompting import Block, clean


@dataclass(frozen=True, slots=True)
class Findings:
    """Figures of an answer that stand nowhere in what the model has read, as written, each once.

    `unknown_names` are identifiers such as `pump-09`, and names of sensors that exist but were left
    out of the prompt: names that can be told exactly, with no guess at what else may be one.
    """

    ungrounded_numbers: tuple[str, ...]
    unknown_names: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.ungrounded_numbers or self.unknown_names)


class Grounds:
    """The numbers and names in what a model has read: readings and questions.

    A number that is part of a sensor's name stands for nothing but that name: "tank 2" in a name
    grounds "tank 2" and not "2 °C".
    """

    def __init__(
        self, texts: Iterable[str], names: Iterable[str] = (), unread: Iterable[str] = ()
    ) -> None:
        """`texts` were read, with the sensor `names` in them; sensors `unread` exist beside."""
        # A tokenizer may normalise what it reads, full-width digits to plain ones among others.
        read = dict.fromkeys(form for text in texts for form in (text, normalize("NFKC", text)))
        shown = [folded(form) for form in read]
        self._read = frozenset(folded(clean(name)) for name in names)
        self._unread = frozenset(folded(clean(name)) for name in unread) - self._read - {""}
        forms = {form for name in self._read for form in (name, folded(normalize("NFKC", name)))}
        self._labels = frozenset(label for form in forms for label in _labels(form))
        self._spoken = phrases(self._labels)
        self._shown = "\n".join(shown)
        found = list(figures(self._spoken.sub(" ; ", self._shown)))
        self._numbers = [figure for figure in found if figure.value is not None]
        self._values = frozenset(figure.value for figure in self._numbers)
        self._identifiers = frozenset(figure.text for figure in found if figure.value is None)

    @classmethod
    def of(cls, blocks: Collection[Block]) -> Grounds:
        """The grounds of a prompt, or of all blocks of a dialogue."""
        used = {name for block in blocks for name in block.used}
        left_out = {name for block in blocks for name in block.left_out}
        texts = [text for block in blocks for text in (block.text, *block.statements)]
        return cls(texts, used, left_out - used)

    def check(self, answer: str) -> Findings:
        """What of `answer` can't be traced."""
        text = self._spoken.sub(" ; ", with_hyphens(answer))
        wrong = [figure for figure in figures(text) if not self._known(figure)]
        named = [figure.text for figure in wrong if _is_name(figure)]
        return Findings(
            tuple(dict.fromkeys(figure.text for figure in wrong if not _is_name(figure))),
            tuple(dict.fromkeys((*named, *self._unread_names(answer)))),
        )

    def patterns(self) -> dict[str, bool]:
        """All that may be said with a digit in it, folded: whether it is a number, which a unit may
        follow directly, or a name.
        """
        names = dict.fromkeys((*self._identifiers, *self._labels), False)
        return names | {text: True for figure in self._numbers for text in _writings(figure)}

    def _known(self, figure: Figure) -> bool:
        if figure.value is not None and figure.value in self._values:
            return True
        return folded(figure.text) in self._identifiers

    def _unread_names(self, answer: str) -> Iterator[str]:
        if self._unread:
            rest = phrases(self._read).sub(" ; ", folded(answer))
            for name in sorted(self._unread):
                said = phrases([name])
                if said.search(rest) and not said.search(self._shown):
                    yield name


def _is_name(figure: Figure) -> bool:
    return figure.value is None and figure.text[0].isalpha()


def _labels(name: str) -> Iterator[str]:
    """What may be said of a folded name that holds digits: all of it; and its words with digits,
    where these are digits alone with the word before them, or else the one after them.
    """
    if has_digit(name):
        yield name
    words = name.split(" ")
    worded = [any(c.isalpha() for c in word) for word in words]
    for index, word in enumerate(words):
        if not has_digit(word):
            continue
        if worded[index]:
            yield word
        elif any(worded[:index]):
            start = max(i for i in range(index) if worded[i])
            yield " ".join(words[start : index + 1])
        else:
            end = worded.index(True) if any(worded) else len(words)
            yield " ".join(words[: end + 1])


def _writings(figure: Figure) -> Iterator[str]:
    """Ways to write a number: as the sensor did, without idle zeros, with a minus in words."""
    plain = (figure.value or "").removeprefix("-")
    for digits in {figure.digits, plain}:
        if figure.negative:
            yield f"-{digits}"
            yield f"minus {digits}"
        if not figure.negative or plain == "0":
            yield digits
