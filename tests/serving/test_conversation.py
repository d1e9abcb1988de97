"""Chat templates: as the release has them, in a sandbox, with the tokens that they name and no others."""

import json
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from slimline.data.windows import Windows
from slimline.errors import ArtifactError, InputError
from slimline.serving.bodies import Message
from slimline.serving.conversation import Conversation, conversation_of

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def windows(template: str | None, *, begins: bool = False) -> Windows:
    """A byte-level tokenizer with the tokens of ChatML; `begins`: it puts <|bos|> before every text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|end|>", "<|bos|>", "<|im_start|>", "<|im_end|>"]
    made.train_from_iterator(
        ["user assistant system"] * 9,
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
    )
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    if begins:
        made.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 1)])
    named = {"bos_token": "<|bos|>", "eos_token": "<|im_end|>", "chat_template": template}
    return Windows(tokenizer=json.loads(made.to_str()), window=64, longest=128, pad_id=0, ends=(0, 3), **named)


def made_of(template: str, *messages: tuple[str, Any], begins: bool = False) -> str:
    """The prompt as text, special tokens shown."""
    found = conversation_of(windows(template, begins=begins))
    assert isinstance(found, Conversation)
    tokens = found.tokens([Message(role=role, content=content).plain for role, content in messages])
    return str(found.windows.reader.decode(list(tokens), skip_special_tokens=False))


def test_a_conversation_becomes_the_templates_prompt() -> None:
    text = made_of(CHATML, ("developer", "Be brief."), ("user", [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]))
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n"


def test_what_marks_the_assistants_words_for_a_training_is_no_text() -> None:
    marked = "{% for one in messages %}{% generation %}{{ one.content }}{% endgeneration %};{% endfor %}"
    assert made_of(marked, ("user", "Hi"), ("assistant", "Yes")) == "Hi;Yes;"


def test_the_first_token_stands_once_and_only_where_the_template_has_it() -> None:
    assert made_of("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", ("user", "Hi"), begins=True) == "<|bos|>Hi<|im_end|>"
    assert made_of("{{ messages[0].content }}", ("user", "Hi"), begins=True) == "Hi"
    assert made_of("{{ bos_token }}{{ messages[0].content }}", ("user", "Hi")) == "<|bos|>Hi"


def test_what_the_template_refuses_is_the_clients_mistake() -> None:
    last = "{% if messages[-1].role != 'user' %}{{ raise_exception('the last turn must be the user\\'s') }}{% endif %}"
    with pytest.raises(InputError, match="messages: the model's chat template refuses them: the last turn must be the user's"):
        made_of(last + "{{ messages[-1].content }}", ("user", "Hi"), ("assistant", "Hello"))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages[0].content", "chat_template: unexpected end of template"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "is unsafe"),
        ("{{ messages.append(1) }}", "is not safely callable|is unsafe|'append'"),
        ("{% for _ in range(10**9) %}x{% endfor %}", "Range too big"),
        ("{% include '/etc/passwd' %}", "no loader"),
    ],
)
def test_a_template_reaches_nothing_but_its_messages(template: str, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        conversation_of(windows(template))


def test_without_a_template_there_is_no_conversation() -> None:
    assert conversation_of(windows(None)) is None
