"""The picture, read ahead of the questions: a session that knows it before anybody asks.

While nobody asks, a key frame of the picture is fed to a session, and then, block after block, what
changed. A prompt goes on from there and costs only its own tokens, whatever the number of sensors.
What has changed and isn't absorbed yet goes into the prompt. Before the changes crowd out the key
frame, a fresh one is built in a second session, while the first goes on serving.

Used from the inference thread, in small steps: a prompt never waits for more than one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgespike.prompting import Block, Encoder, PromptTemplate, changes, key_frame
from edgespike.sensing import Sensing

if TYPE_CHECKING:
    from edgespike.engine.pool import SessionPool
    from edgespike.engine.session import Mark, Session
    from edgespike.model.config import ModelConfig

STEP_TOKENS = 4
"""Tokens absorbed at a time: about 40 ms at the 0.8B shape, which is what a prompt may wait."""

LEAST_FRAME = 48
"""Tokens of a key frame below which reading ahead gains nothing."""

LEAST_S = 0.1
MULTIPLICATIONS_PER_S = 3e10
"""Seconds of reading below which it gains nothing either, on a core that multiplies so often."""

_LOOK_EVERY_S = 1.0
_FIRST_GAP_S, _LONGEST_GAP_S = 10.0, 1280.0
"""How long after a channel was absorbed its next change waits: twice as long each time, as a
channel that never rests would else keep the processor busy and fill the session."""
_FRAME, _ABSORBED = 0.6, 0.75
"""Shares of the context that a key frame, and it and its changes, may fill."""


@dataclass(slots=True)
class Told:
    """What a session was shown of the picture: the channels, and those that changed since.

    `revision` is that of the sensors up to which `behind` is known; `whole`: no channel was left
    out. `texts` are the blocks as people read them, `ids` as the model does.
    """

    revision: int
    whole: bool = False
    names: set[str] = field(default_factory=set)
    behind: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    def copy(self) -> Told:
        """The same, to go on on its own."""
        return replace(
            self,
            names=set(self.names),
            behind=set(self.behind),
            texts=list(self.texts),
            ids=list(self.ids),
        )

    def look(self, sensing: Sensing, now: float) -> None:
        """Find out what changed: of the channels that were shown, and new alarms of others."""
        self.revision, changed = sensing.changes_since(self.revision, now)
        new = [name for name in changed if name not in self.names]
        known = set(changed) - set(new)
        for view in sensing.picture(now, new).channels if new else ():
            if self.whole or view.limit in ("low", "high"):
                known.add(view.name)
        self.behind |= known

    def tell(self, block: Block) -> None:
        """The session is shown a block."""
        self.names.update(block.used)
        self.behind.difference_update(block.used)
        self.texts.append(block.text)
        self.ids += block.ids


@dataclass(slots=True, eq=False)
class Frame:
    """A session that was shown a key frame, and changes after it.

    `todo` are tokens that it is still to be fed, of the block `telling`; `mark` is where it was
    before them.
    """

    session: Session
    told: Told
    mark: Mark
    todo: list[int]
    telling: Block


class Warm:
    """Keeps a session warm. `budget` is the number of tokens of a whole context."""

    def __init__(
        self,
        pool: SessionPool,
        tokenizer: Encoder,
        template: PromptTemplate,
        sensing: Sensing,
        *,
        budget: int,
        share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`share` of the time may be spent on absorbing; `clock` is monotonic seconds."""
        self._pool = pool
        self._tokenizer = tokenizer
        self._template = template
        self._sensing = sensing
        self._share = share
        self._clock = clock
        self._limits = min(int(budget * _FRAME), template.frame), int(budget * _ABSORBED)
        self._serving: Frame | None = None
        self._building: Frame | None = None
        self._lent = False
        self._gaps: dict[str, tuple[float, float]] = {}
        self._rest_until = 0.0
        self.absorbed = 0
        self.frames = 0

    @property
    def ready(self) -> Frame | None:
        """The frame to serve from, if there is one yet."""
        return self._serving

    def pays(self, model: ModelConfig) -> bool:
        """Whether there is room for a key frame worth the name, and reading it with each prompt
        would take long.
        """
        squares, hidden = 6 * model.embed_dim**2, 2 * model.embed_dim * model.intermediate_dim
        each = model.n_layers * (squares + hidden)
        tokens = self._limits[0]
        return tokens >= LEAST_FRAME and tokens * each > LEAST_S * MULTIPLICATIONS_PER_S

    def facts(self) -> dict[str, int]:
        """For the metrics: tokens and channels that the serving session holds, channels that
        changed since, tokens absorbed and key frames built since the start. From any thread.
        """
        frame = self._serving
        return {
            "tokens": frame.mark.position if frame else 0,
            "sensors": len(frame.told.names) if frame else 0,
            "behind": len(frame.told.behind) if frame else 0,
            "absorbed": self.absorbed,
            "key_frames": self.frames,
        }

    def step(self) -> float:
        """Absorb a little; only while nothing is lent. Seconds until there may be more to do."""
        now = self._clock()
        if now < self._rest_until:
            return self._rest_until - now
        frame = self._building or self._serving
        if frame is None or not frame.todo:
            frame = self._begin(frame, now)
        if frame is None:
            self._rest_until = now + _LOOK_EVERY_S
            return _LOOK_EVERY_S
        self._feed(frame)
        if self._serving is not None:
            # Until there is a frame each prompt reads the whole picture: no time to lose.
            self._rest_until = now + (self._clock() - now) / self._share
        return max(0.0, self._rest_until - self._clock())

    def lend(self, tokens: int) -> Session:
        """A session as `ready` is, to be fed up to `tokens` more and then given to `take_back`.

        It is the frame's own if that comes back unharmed, else a fork of it. Raises
        UnavailableError when the pool is full.
        """
        frame = self._interrupted()
        if self._lent or frame.session.room < tokens:
            return frame.session.fork(self._pool, frame.mark)
        self._lent = True
        return frame.session

    def fork(self) -> Session:
        """A session as `ready` is, to keep. Raises UnavailableError when the pool is full."""
        frame = self._interrupted()
        return frame.session.fork(self._pool, frame.mark)

    def take_back(self, session: Session) -> None:
        """A prompt is done with a session that it was lent."""
        if self._serving is not None and session is self._serving.session:
            self._lent = False
            session.rewind(self._serving.mark)
        else:
            session.close()

    def make_room(self) -> bool:
        """Give up the frame that is being built, so that a prompt has its place; whether it was."""
        if self._building is None:
            return False
        self._building.session.close()
        self._building = None
        return True

    def _interrupted(self) -> Frame:
        """The serving frame, without the block that it was in the middle of: the rest would keep
        the prompt waiting, and what it told goes into the prompt.
        """
        frame = self._serving
        assert frame is not None
        if frame.todo and not self._lent:
            frame.session.rewind(frame.mark)
            frame.todo = []
        return frame

    def _begin(self, frame: Frame | None, now: float) -> Frame | None:
        """A frame with something to feed; None when nothing has changed."""
        if frame is None:
            return self._begin_frame()
        frame.told.look(self._sensing, time.time())
        due = [name for name in frame.told.behind if self._gaps.get(name, (0.0, 0.0))[0] <= now]
        if not due:
            return None
        block = changes(
            self._sensing.picture(time.time(), due),
            due,
            tokenizer=self._tokenizer,
            template=self._template,
            budget=self._limits[1] - frame.session.position,
        )
        if not block.used:
            self._lengthen_gaps(due)
            return self._begin_frame()
        frame.todo, frame.telling = list(block.ids), block
        return frame

    def _begin_frame(self) -> Frame | None:
        told = Told(self._sensing.revision)
        picture = self._sensing.picture(time.time())
        if not picture.channels:
            return None
        block = key_frame(
            picture, tokenizer=self._tokenizer, template=self._template, budget=self._limits[0]
        )
        told.whole = not block.left_out
        session = self._pool.session()
        self._building = Frame(session, told, session.mark(), list(block.ids), block)
        return self._building

    def _feed(self, frame: Frame) -> None:
        part, frame.todo = frame.todo[:STEP_TOKENS], frame.todo[STEP_TOKENS:]
        frame.session.advance(part)
        self.absorbed += len(part)
        if frame.todo:
            return
        frame.told.tell(frame.telling)
        frame.mark = frame.session.mark()
        if frame is not self._building:
            self._lengthen_gaps(frame.telling.used)
            return
        if self._serving is not None:
            self._serving.session.close()
        self._serving, self._building = frame, None
        self.frames += 1

    def _lengthen_gaps(self, names: Collection[str]) -> None:
        now = self._clock()
        for name in names:
            due, gap = self._gaps.get(name, (0.0, 0.0))
            calm = now - due > 2 * gap
            gap = _FIRST_GAP_S if calm or not gap else min(2 * gap, _LONGEST_GAP_S)
            self._gaps[name] = (now + gap, gap)
