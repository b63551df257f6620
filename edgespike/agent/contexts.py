"""What a prompt finds when its answer begins: a session, and the tokens that it is still to be fed.

Used from the inference thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgespike.config import Config
from edgespike.messages import PromptRequest
from edgespike.prompting import PromptTemplate, render
from edgespike.sensing.picture import Picture

if TYPE_CHECKING:
    from edgespike.engine.model import Model
    from edgespike.engine.session import Session


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A prompt made ready. `ids` are fed to `session`; `text` is all that it then was shown; `used`
    and `left_out` are names of channels.
    """

    session: Session
    ids: list[int]
    text: str
    used: tuple[str, ...]
    left_out: tuple[str, ...]


class Contexts:
    """Sessions for prompts: as many at a time as the pool was made for."""

    def __init__(
        self,
        model: Model,
        template: PromptTemplate,
        picture: Callable[[float], Picture],
        settings: Callable[[], Config],
    ) -> None:
        """`picture` takes seconds since the epoch; `settings` is asked for each prompt."""
        self._tokenizer = model.tokenizer
        self._template = template
        self._picture = picture
        self._settings = settings
        self._pool = model.pool(settings().parallel)

    def prepare(self, request: PromptRequest) -> Prepared:
        """A session for `request`. Raises DataError when the question exceeds the budget."""
        prompt = render(
            self._picture(time.time()),
            request.prompt,
            tokenizer=self._tokenizer,
            template=self._template,
            budget=min(self._settings().context.budget_tokens, self._template.budget),
        )
        session = self._pool.session()
        return Prepared(session, prompt.ids, prompt.text, prompt.used, prompt.left_out)

    def finish(self, prepared: Prepared) -> None:
        """The answer is made, or given up."""
        prepared.session.close()
