"""What a prompt finds when its answer begins: a session, and the tokens that it is still to be fed.

A prompt without a dialogue goes on from the warm session, or reads the picture itself. A dialogue
goes on from where it was, told what has changed since; when it has outgrown its context, or the
model no longer knows it, it is begun anew with the picture as it is and the latest of what was
said. Used from the inference thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgespike.agent.dialogues import Dialogue, Dialogues, Exchange
from edgespike.agent.warm import Told, Warm
from edgespike.config import Config
from edgespike.errors import DataError, UnavailableError
from edgespike.messages import PromptRequest
from edgespike.prompting import (
    Block,
    PromptTemplate,
    answer_part,
    changes,
    key_frame,
    render,
    turn,
)
from edgespike.sensing import Sensing
from edgespike.sensing.picture import Picture

if TYPE_CHECKING:
    from edgespike.engine.model import Model
    from edgespike.engine.session import Session

_TIDY_EVERY_S = 60.0
_EARLIER = 0.5
"""Share of the room beside picture and question that earlier turns of a dialogue may fill when it
is begun anew: the rest is for those to come."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A prompt made ready. `ids` are fed to `session`, which holds `absorbed` tokens, of the
    picture those in `seen`; `texts` are all that it then was shown, `statements` what may be said
    to it, if that is known; `used` and `left_out` are names of channels, beside which `refused`
    others aren't kept.
    """

    session: Session
    ids: list[int]
    texts: tuple[str, ...]
    used: tuple[str, ...]
    left_out: tuple[str, ...]
    mode: str
    absorbed: int = 0
    seen: tuple[int, ...] = ()
    dialogue: Dialogue | None = None
    told: Told | None = None
    turns: int = 0
    statements: Mapping[str, float] = field(default_factory=dict)
    refused: int = 0


_NOTHING = Block([], "", (), ())


class Contexts:
    """Sessions for prompts: as many at a time as are answered in parallel."""

    def __init__(
        self,
        model: Model,
        template: PromptTemplate,
        sensing: Sensing,
        settings: Callable[[], Config],
        catch_up: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings` is asked for each prompt. `catch_up` waits for sensor messages that have
        arrived and aren't in the window yet; `clock` is monotonic seconds.
        """
        config = settings()
        self._tokenizer = model.tokenizer
        self._template = template
        self._sensing = sensing
        self._settings = settings
        self._catch_up = catch_up
        self._clock = clock
        self._window = model.config.anchors + model.config.window + 1
        self._end = [model.tokenizer.control(template.stop)] if template.stop else []
        # One of the prompts is answered in the warm session itself; with one at a time there is
        # still a place for a fresh key frame.
        self._pool = model.pool(max(2, config.parallel) + config.dialogues.resident)
        self._dialogues = Dialogues(
            config.state_dir / f"{config.node}.dialogues", lambda: settings().dialogues
        )
        warm = Warm(
            self._pool,
            model.tokenizer,
            template,
            sensing,
            budget=self._limit,
            share=config.board.idle_cpu_share,
            clock=clock,
        )
        self._tidy_at = 0.0
        mode, share = config.context.mode, config.board.idle_cpu_share
        wanted = share > 0 and (mode == "warm" or (mode == "auto" and warm.pays(model.config)))
        self.warm = warm if wanted else None

    def prepare(self, request: PromptRequest, dialogue: str | None, tokens: int) -> Prepared:
        """A session for `request`, whose answer has up to `tokens` tokens; `dialogue` names the
        dialogue that it belongs to.

        Raises DataError when the question exceeds the budget.
        """
        self._catch_up()
        picture = self._sensing.picture(time.time())
        if dialogue is not None:
            return self._in_dialogue(picture, request, self._dialogues.open(dialogue))
        if self.warm is not None and self.warm.ready is not None:
            try:
                return self._warm(self.warm, picture, request.prompt, tokens)
            except DataError:
                pass  # too long beside what is absorbed: it has the whole budget when it is alone
        return self._alone(picture, request.prompt)

    def finish(self, prepared: Prepared, exchange: Exchange | None, unfed: Sequence[int]) -> None:
        """The answer is made, or given up (None). `unfed` are its tokens that the session hasn't
        been fed.
        """
        dialogue = prepared.dialogue
        if dialogue is None:
            if self.warm is not None:
                self.warm.take_back(prepared.session)
            else:
                prepared.session.close()
            return
        dialogue.session = prepared.session
        if exchange is None:
            dialogue.close()  # what it was in the middle of must not be remembered
        else:
            dialogue.told = prepared.told
            dialogue.unfed = [*unfed, *self._end]
            dialogue.exchanges.append(exchange)
        self._dialogues.keep(dialogue)

    def idle(self) -> float:
        """Read ahead a little; seconds until there may be more to do."""
        if self._clock() >= self._tidy_at:
            self._tidy_at = self._clock() + _TIDY_EVERY_S
            self._dialogues.tidy()
        return self.warm.step() if self.warm is not None else float("inf")

    def facts(self) -> dict[str, object]:
        """For the metrics: the mode, and what is read ahead. From any thread."""
        if self.warm is None:
            return {"mode": "on_demand", "dialogues": len(self._dialogues)}
        return {"mode": "warm", "dialogues": len(self._dialogues), **self.warm.facts()}

    @property
    def _limit(self) -> int:
        """Tokens of a whole context."""
        budget = self._settings().context.budget_tokens
        return min(budget, self._template.budget, self._window)

    def _alone(self, picture: Picture, question: str) -> Prepared:
        block = render(
            picture,
            question,
            tokenizer=self._tokenizer,
            template=self._template,
            budget=min(self._settings().context.budget_tokens, self._template.budget),
        )
        session = self._placed(self._pool.session)
        return Prepared(
            session,
            block.ids,
            (block.text,),
            block.used,
            block.left_out,
            "on_demand",
            statements=block.statements,
            refused=len(picture.refused),
        )

    def _warm(self, warm: Warm, picture: Picture, question: str, tokens: int) -> Prepared:
        frame = warm.ready
        assert frame is not None
        frame.told.look(self._sensing, time.time())
        told, absorbed = frame.told, frame.mark.position
        asked, news = self._turn(picture, question, told, self._limit - absorbed, ())
        ids = [*news.ids, *asked.ids]
        session = self._placed(lambda: warm.lend(len(ids) + tokens))
        return self._prepared(picture, session, ids, told, news, asked, "warm", absorbed)

    def _in_dialogue(
        self, picture: Picture, request: PromptRequest, dialogue: Dialogue
    ) -> Prepared:
        if request.reset:
            dialogue.close()
            dialogue = Dialogue(dialogue.name)
        try:
            if dialogue.session is not None:
                return self._go_on(picture, request.prompt, dialogue)
        except DataError:
            pass  # it has outgrown its context
        except Exception:
            dialogue.close()
            raise
        dialogue.close()
        return self._begin_anew(picture, request.prompt, dialogue)

    def _go_on(self, picture: Picture, question: str, dialogue: Dialogue) -> Prepared:
        session, told = dialogue.session, dialogue.told
        assert session is not None
        assert told is not None
        told.look(self._sensing, time.time())
        absorbed = session.position
        room = self._limit - absorbed - len(dialogue.unfed)
        previous = [exchange.question for exchange in dialogue.exchanges]
        asked, news = self._turn(picture, question, told, room, previous)
        ids = [*dialogue.unfed, *news.ids, *asked.ids]
        return self._prepared(
            picture, session, ids, told, news, asked, "dialogue", absorbed, dialogue
        )

    def _begin_anew(self, picture: Picture, question: str, dialogue: Dialogue) -> Prepared:
        frame = self.warm.ready if self.warm is not None else None
        if frame is not None:
            frame.told.look(self._sensing, time.time())
            told, mode, absorbed = frame.told.copy(), "warm", frame.mark.position
            opening: list[int] = []
        else:
            told, mode, absorbed = Told(self._sensing.revision), "on_demand", 0
            block = key_frame(
                picture,
                tokenizer=self._tokenizer,
                template=self._template,
                budget=min(self._limit // 2, self._template.frame),
            )
            told.tell(block)
            told.whole, opening = not block.left_out, block.ids
        room = self._limit - absorbed - len(opening)
        previous = [exchange.question for exchange in dialogue.exchanges]
        asked, news = self._turn(picture, question, told, room, previous)
        room -= len(news.ids) + len(asked.ids)
        earlier, kept = self._earlier(dialogue.exchanges, int(room * _EARLIER))
        dialogue.forgotten = len(dialogue.exchanges) - kept
        warm = self.warm
        session = self._placed(
            warm.fork if warm is not None and frame is not None else self._pool.session
        )
        ids = [*opening, *earlier, *news.ids, *asked.ids]
        return self._prepared(picture, session, ids, told, news, asked, mode, absorbed, dialogue)

    def _earlier(self, exchanges: Sequence[Exchange], room: int) -> tuple[list[int], int]:
        """The latest exchanges that fit into `room` tokens, and how many these are. What was said
        of the sensors then isn't repeated.
        """
        nothing = Picture(0.0)
        ids: list[int] = []
        kept = 0
        for exchange in reversed(exchanges):
            try:
                asked = turn(
                    nothing,
                    exchange.question,
                    tokenizer=self._tokenizer,
                    template=self._template,
                    budget=room - len(ids),
                )
            except DataError:
                break
            answered = answer_part(self._tokenizer, self._template, exchange.answer)
            if len(asked.ids) + len(answered) + len(ids) > room:
                break
            ids = [*asked.ids, *answered, *ids]
            kept += 1
        return ids, kept

    def _turn(
        self, picture: Picture, question: str, told: Told, room: int, previous: Sequence[str]
    ) -> tuple[Block, Block]:
        """The turn of a question, and what changed beside what it shows itself: often nothing."""
        asked = turn(
            picture,
            question,
            tokenizer=self._tokenizer,
            template=self._template,
            budget=room,
            previous=previous,
        )
        # A model that is shown nothing but what matters to the question has nothing to unlearn.
        behind = told.behind.difference(asked.used) if self._template.frame else ()
        news = changes(
            picture,
            behind,
            tokenizer=self._tokenizer,
            template=self._template,
            budget=room - len(asked.ids),
        )
        return asked, news if news.used else _NOTHING

    def _prepared(
        self,
        picture: Picture,
        session: Session,
        ids: list[int],
        told: Told,
        news: Block,
        asked: Block,
        mode: str,
        absorbed: int,
        dialogue: Dialogue | None = None,
    ) -> Prepared:
        shown = {*(told.names - told.behind), *news.used, *asked.used}
        names = [channel.name for channel in picture.channels]
        texts = [*told.texts, news.text, asked.text]
        if dialogue is not None:
            texts += [exchange.question for exchange in dialogue.exchanges]
            told.names.update(shown)
            told.behind.difference_update(shown)
        return Prepared(
            session,
            ids,
            tuple(texts),
            tuple(name for name in names if name in shown),
            tuple(name for name in names if name not in shown),
            mode,
            absorbed,
            seen=tuple(told.ids) if absorbed else (),
            dialogue=dialogue,
            told=told,
            turns=len(dialogue.exchanges) - dialogue.forgotten if dialogue is not None else 0,
            statements=asked.statements,
            refused=len(picture.refused),
        )

    def _placed(self, make: Callable[[], Session]) -> Session:
        """A session in the pool, where something is given up if it is full."""
        while True:
            try:
                return make()
            except UnavailableError:
                room = self.warm is not None and self.warm.make_room()
                if not room and not self._dialogues.make_room():
                    raise
