"""A conversation as a prompt, by the chat template that a release carries: Jinja in its sandbox, which reaches nothing of Python's.

https://huggingface.co/docs/transformers/chat_templating
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from slimline.artifact.border import told_as
from slimline.data.windows import Windows
from slimline.errors import ArtifactError, InputError

TRIED = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Conversation:
    """Makes tokens of messages."""

    template: Template
    windows: Windows

    def tokens(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The prompt that asks for the assistant's next turn; what the template writes of special tokens is all there is of them.

        Raises:
            InputError: the template refuses these messages, such as roles out of order.
        """
        with told_as(lambda reason: InputError(f"messages: the model's chat template refuses them: {reason}")):
            return self.rendered(messages)

    def rendered(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The same; what the template raises goes on."""
        text = self.template.render(messages=list(messages), add_generation_prompt=True, **self._special())
        return tuple(self.windows.reader.encode(text, add_special_tokens=False).ids)

    def _special(self) -> dict[str, str]:
        """The tokens that begin and end a text, as far as the tokenizer tells."""
        reader = self.windows.reader
        first = [token for token in reader.encode("").ids if token not in self.windows.ends][:1]
        ends = [reader.id_to_token(token) or "" for token in self.windows.ends[:1]]
        return {"bos_token": (reader.id_to_token(first[0]) if first else None) or "", "eos_token": ends[0] if ends else ""}


def conversation_of(windows: Windows) -> Conversation | None:
    """What makes prompts of messages, None where the release has no template.

    Raises:
        ArtifactError: its template is none, or does not take a single message.
    """
    if windows.chat_template is None:
        return None
    with told_as(lambda reason: ArtifactError(f"preprocessing.json: chat_template: {reason}; take the release from where it was made")):
        found = Conversation(_environment().from_string(windows.chat_template), windows)
        found.rendered(TRIED)
        return found


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    made.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().astimezone().strftime(form)}
    made.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return made


def _refuse(reason: Any) -> NoReturn:
    raise TemplateError(str(reason))
