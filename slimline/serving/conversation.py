"""A conversation as a prompt, by the chat template that a release carries: Jinja in its sandbox, which reaches nothing of Python's.

https://huggingface.co/docs/transformers/chat_templating
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
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
        special = {"bos_token": self.windows.bos_token or "", "eos_token": self.windows.eos_token or ""}
        text = self.template.render(messages=list(messages), add_generation_prompt=True, **special)
        return tuple(self.windows.reader.encode(text, add_special_tokens=False).ids)


class _Marked(Extension):
    """{% generation %} … {% endgeneration %}, by which a training finds the assistant's words: here what stands between."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[Node]:
        """What stands between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


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
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Marked])
    made.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().astimezone().strftime(form)}
    made.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return made


def _refuse(reason: Any) -> NoReturn:
    raise TemplateError(str(reason))
