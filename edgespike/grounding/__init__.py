"""Which numbers and names an answer may hold: those that stand in what the model has read."""

from edgespike.grounding.grounds import Findings, Grounds
from edgespike.grounding.masking import Grounded, Vocabulary
from edgespike.grounding.stated import Stated, enforcing

__all__ = ["Findings", "Grounded", "Grounds", "Stated", "Vocabulary", "enforcing"]
