"""Bits per byte and its companions against other ways to compute them, and the net that gives the logits."""

import math

import numpy as np
import pytest
import torch

from slimline.objectives import figures, joined_scores, taken_scores
from slimline.objectives.causal_lm import BYTES, DOCUMENT, TOKENS, causal_lm
from slimline.objectives.readings import IGNORED
from slimline.workloads.huggingface.net import body_of, built

TINY = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def drawn(windows: int = 6, places: int = 7, words: int = 11) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    logits, other = torch.randn(2, windows, places, words, generator=draw)
    wanted = torch.randint(words, (windows, places), generator=draw)
    wanted[:, -1] = IGNORED
    wanted[0, :3] = IGNORED
    return logits, other, {TOKENS: wanted, BYTES: torch.arange(windows) + 9, DOCUMENT: torch.tensor([0, 0, 1, 1, 2, 2])[:windows]}


def test_figures_are_those_of_torch_and_of_the_definitions() -> None:
    logits, other, targets = drawn()
    objective = causal_lm()
    scores = objective.scores(logits, targets) | objective.beside(logits, other, targets)
    found = figures(objective, scores)
    loss = objective.loss(logits, targets).item()
    there = targets[TOKENS] != IGNORED
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(loss * int(there.sum()) / math.log(2) / int(targets[BYTES].sum()), rel=1e-5)
    p, q = (one[there].softmax(1).double() for one in (other, logits))
    assert found["kl_divergence"] == pytest.approx((p * (p / q).log()).sum(1).mean().item(), rel=1e-4)
    assert found["next_token_accuracy"] == pytest.approx((logits.argmax(2) == targets[TOKENS])[there].double().mean().item())
    assert found["next_token_agreement"] == pytest.approx((logits.argmax(2) == other.argmax(2))[there].double().mean().item())


def test_the_whole_is_the_sum_of_documents_and_not_the_mean_of_windows() -> None:
    logits, _, targets = drawn()
    objective = causal_lm()
    scores = objective.scores(logits, targets)
    parts = [taken_scores(scores, np.flatnonzero(scores["cluster"] == document)) for document in (0, 1, 2)]
    assert figures(objective, joined_scores(parts)) == pytest.approx(figures(objective, scores))


def test_beside_itself_a_model_agrees_and_guidance_is_nothing() -> None:
    logits, _, targets = drawn()
    objective = causal_lm()
    own = objective.scores(logits, targets)
    beside = objective.beside(logits, logits, targets)
    assert all(np.allclose(own[name], beside[name]) for name in beside)
    assert objective.guidance(logits, logits, 3.0).item() == pytest.approx(0, abs=1e-6)
    assert objective.same_answers(logits, logits).all()


def test_places_that_are_filled_up_count_nowhere() -> None:
    logits, other, _ = drawn()
    filled, otherwise = logits.clone(), other.clone()
    filled[:, 4:], otherwise[:, 4:] = 0, 0
    objective = causal_lm()
    for compare in (objective.distance, lambda one, two: objective.guidance(one, two, 2.0).item()):
        assert compare(filled, otherwise) == pytest.approx(compare(logits[:, :4], other[:, :4]))
    assert objective.same_answers(filled, otherwise).tolist() == objective.same_answers(logits[:, :4], other[:, :4]).tolist()


def test_frequencies_are_what_ignores_its_inputs() -> None:
    logits, _, targets = drawn()
    constant = causal_lm().constant(targets, logits)
    assert constant.shape == logits.shape
    assert torch.allclose(constant.exp().sum(2), torch.ones(constant.shape[:2]))


def test_padding_behind_a_text_changes_nothing() -> None:
    net = built({"task": "causal-lm", "config": TINY}).eval()
    ids = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.no_grad():
        whole, short = net(ids, mask), net(ids[1:, :6], mask[1:, :6])
    assert whole.shape == (2, 9, 50)
    assert torch.allclose(whole[1, :6], short[0], atol=1e-5)
    assert not whole[1, 6:].any()
    assert body_of(net).lm_head.weight is body_of(net).model.embed_tokens.weight
