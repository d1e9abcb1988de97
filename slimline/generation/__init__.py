"""Language models that answer: what `slimline.runtime.load(…)` gives for one, whichever engine runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Prompt = str | Sequence[int]
"""A text, or the numbers of its tokens."""
OnText = Callable[[str], bool]
"""Called with each new piece of the answer as it comes; True stops it."""
LEAST_TEMPERATURE = 1e-6
"""Below it the likeliest token is taken: nothing else is ever drawn there, and engines divide by it."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn among the likeliest that hold `top_p` of the mass."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts that end the answer, and are no part of it."""

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken and none is drawn."""
        return self.temperature < LEAST_TEMPERATURE


@dataclass(frozen=True)
class Generation:
    """An answer: its text and tokens, why it ended, and what it cost."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    """Of the prompt, those whose keys and values were there already."""
    first_token_ms: float
    seconds: float
    first_token_cpu_ms: float = 0.0
    cpu_seconds: float = 0.0
    """CPU time of the process until the first token, and until the end: what was done for others meanwhile is part of it."""


class Generator(Protocol):
    """Implemented by every engine; a generator may be called from several threads at once."""

    context: int
    """The most tokens of prompt and answer together."""
    unkept: str | None
    """Why nothing of a prompt is kept for another one that begins alike; None where that is done."""
    takes_many: bool
    """Whether calls from several threads are worked on at the same time; else each waits for the one before."""

    def tokens(self, text: str) -> tuple[int, ...]:
        """The numbers of a text's tokens, as the model was trained on them."""

    def known(self, prompt: Prompt) -> tuple[int, ...]:
        """A prompt's tokens; whether they leave room for an answer is not asked.

        Raises:
            InputError: it is empty, or has tokens that the model does not know.
        """

    def generate(self, prompt: Prompt, sampling: Sampling = Sampling(), *, on_text: OnText | None = None) -> Generation:
        """Go on from a prompt.

        Raises:
            InputError: the prompt is empty, has tokens that the model does not know, or is longer than `context` leaves room for.
        """

    def generate_many(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Generation]:
        """The same for several at once, as one batch where the engine can."""


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place at which two answers have other tokens, or one has ended; None where they are equal."""
    if tuple(one) == tuple(other):
        return None
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
