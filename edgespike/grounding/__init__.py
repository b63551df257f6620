"""Which numbers and names an answer may hold: those that stand in what the model has read."""

from edgespike.grounding.grounds import Findings, Grounds
from edgespike.grounding.masking import Grounded, Vocabulary

__all__ = ["Findings", "Grounded", "Grounds", "Vocabulary"]
