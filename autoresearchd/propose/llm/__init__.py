"""`llm`: a language model that reads the code of best and the lab's history, and proposes one experiment at a time."""

from autoresearchd.propose.llm.key import NO_KEY, Key, find_key, take_key
from autoresearchd.propose.llm.researcher import Llm

__all__ = ["NO_KEY", "Key", "Llm", "find_key", "take_key"]
