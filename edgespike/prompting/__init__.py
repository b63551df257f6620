"""Questions and a picture of the sensors -> blocks of token ids, within token budgets.

A prompt is a sequence of blocks. A *key frame* shows the whole picture, *changes* some channels as
they are now, a *turn* a question with the readings that matter to it. A later block overrides an
earlier one.

Pure: no clock, no files, the same input gives the same block. Text from outside (names, values,
questions) is encoded piece by piece as ordinary characters, so that it can't forge the control
pieces that mark where a reading, a question or an answer begins. The generator of the training
data writes its dialogues with these same functions: a model must be asked as it was trained.
"""

from edgespike.prompting.blocks import (
    Block,
    Prompt,
    answer_part,
    changes,
    key_frame,
    load,
    render,
    turn,
)
from edgespike.prompting.describe import MAX_NAME, clean, describe, describe_age
from edgespike.prompting.relevance import rank
from edgespike.prompting.template import BUNDLED, PLAIN, Encoder, PromptTemplate, default_template

__all__ = [
    "BUNDLED",
    "MAX_NAME",
    "PLAIN",
    "Block",
    "Encoder",
    "Prompt",
    "PromptTemplate",
    "answer_part",
    "changes",
    "clean",
    "default_template",
    "describe",
    "describe_age",
    "key_frame",
    "load",
    "rank",
    "render",
    "turn",
]
