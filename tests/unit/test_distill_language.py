"""Distillation of language models: the likeliest tokens, hidden states, written texts, fewer layers, and what a training costs."""

import pytest
import torch
from torch import Tensor, nn

from slimline.data.batch import take
from slimline.data.samples import Samples
from slimline.errors import Impossible, InputError
from slimline.methods.distill.cost import step_macs, steps_of_equal_compute
from slimline.methods.distill.features import run_noting
from slimline.methods.distill.fewer_layers import fewer_layers
from slimline.methods.distill.generated import written
from slimline.methods.distill.hidden_states import hidden_states
from slimline.methods.distill.pairing import longest_list
from slimline.methods.distill.sequence import sequence
from slimline.methods.distill.soft_targets import soft_targets
from slimline.methods.distill.top_answers import KEPT, LOG_PROBABILITIES, TOKENS, answers_for_any, softened, top_answers, top_divergence
from slimline.methods.macs import macs
from slimline.objectives.causal_lm import CausalLM
from slimline.objectives.readings import IGNORED
from slimline.params import HiddenStatesParams, SequenceParams, SoftTargetsParams
from slimline.training.data import TrainingData
from slimline.training.fit import scored
from tests.language_nets import language_net, tokens

GUIDED = {"source": "teacher", "epochs": 8, "batch_size": 8, "learning_rate": 0.01}


def windows(rows: int, seed: int, length: int = 16) -> Samples:
    """Random tokens; each is asked for but the first, and padding is not."""
    inputs = tokens(rows, length, seed)
    following = torch.full_like(inputs["input_ids"], IGNORED)
    there = inputs["attention_mask"][:, 1:].bool()
    following[:, :-1][there] = inputs["input_ids"][:, 1:][there]
    sizes = there.sum(1)
    return Samples(inputs, {"tokens": following, "bytes": sizes, "document": torch.arange(rows)})


TRAIN, VALIDATION, TEST = windows(32, 1), windows(8, 2), windows(8, 3)
DATA = TrainingData(train=TRAIN, validation=VALIDATION, objective=CausalLM(), metric="bits_per_byte", held_out=TEST)


def student() -> nn.Module:
    torch.manual_seed(7)
    return language_net("llama", num_hidden_layers=1, hidden_size=16, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1)


def away(one: nn.Module, other: nn.Module) -> float:
    return CausalLM().distance(logits(one), logits(other))


def logits(net: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = net.eval()(**VALIDATION.inputs)
    return found


def test_a_batch_in_which_nothing_is_asked_for_costs_nothing() -> None:
    own, theirs = torch.randn(2, 8, 16, 96, generator=torch.Generator().manual_seed(0))
    unasked = torch.full((8, 16), IGNORED)
    assert float(top_divergence(own, top_answers(theirs, 2.0, 96), unasked, 2.0)) == float(CausalLM().loss(own, unasked)) == 0


def test_with_all_tokens_kept_it_is_the_divergence_at_the_places_that_are_asked_for() -> None:
    own, theirs = torch.randn(2, 8, 16, 96, generator=torch.Generator().manual_seed(0))
    asked = VALIDATION.targets["tokens"] != IGNORED
    p, q = (values[asked].double().div(2).log_softmax(1) for values in (theirs, own))
    expected = 4 * float((p.exp() * (p - q)).sum(1).mean())
    whole = top_divergence(own, top_answers(theirs, 2.0, 96), VALIDATION.targets, 2.0)
    few = top_divergence(own, top_answers(theirs, 2.0, 8), VALIDATION.targets, 2.0)
    assert float(whole) == pytest.approx(expected, rel=1e-3)
    assert 0 < float(few) < expected  # what is one in both differs less
    kept = top_answers(theirs, 2.0, 8)
    assert sum(value.nbytes for value in kept.values()) == 8 * 16 * 8 * 6


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 8), (2.0, KEPT), (4.0, 16)])
def test_answers_kept_for_any_temperature_are_softened_as_fresh_ones_are(temperature: float, top_k: int) -> None:
    logits = 5 * torch.randn(4, 16, 96, generator=torch.Generator().manual_seed(0))
    fresh, known = top_answers(logits, temperature, top_k), softened(answers_for_any(logits), temperature, top_k)
    assert known is not None
    assert torch.equal(known[TOKENS], fresh[TOKENS])
    assert torch.allclose(known[LOG_PROBABILITIES].float(), fresh[LOG_PROBABILITIES].float(), atol=0.02)


def test_answers_that_were_not_kept_are_asked_for_anew() -> None:
    known = answers_for_any(torch.randn(2, 4, 96))
    assert softened(known, 7.0, 8) is None
    assert softened(known, 2.0, KEPT + 1) is None
    whole = answers_for_any(torch.randn(2, 4, 32))
    assert softened(whole, 2.0, KEPT + 1) is not None, "the vocabulary has no more tokens"


def test_the_teacher_is_asked_once_and_its_likeliest_tokens_bring_the_student_near() -> None:
    asked: list[int] = []
    teacher = language_net("llama")
    teacher.register_forward_hook(lambda _module, _given, output: asked.append(len(output)))
    made = soft_targets(student(), teacher, SoftTargetsParams(method="soft_targets", alpha=0.0, top_k=16, **GUIDED), data=DATA)
    assert sum(asked) <= 32 + 8 + 2  # each sample once, and one of each split to see how large answers are
    assert away(teacher, made.model) < 0.9 * away(teacher, student())


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_hidden_states_come_near_those_of_the_teacher_by_the_projection(distance: str) -> None:
    teacher = language_net("llama")
    config = HiddenStatesParams(method="hidden_states", distance=distance, hidden_weight=5.0, **GUIDED | {"epochs": 12})
    made = hidden_states(student(), teacher, config, data=DATA)
    assert made.listings[0].rows == (("body.model.layers.0", "body.model.layers.1", 16, 32),)
    assert type(made.model) is type(teacher)

    def unexplained(net: nn.Module) -> float:
        """The share of the teacher's states that no projection of the student's gives, on validation."""
        states = [
            run_noting(model, [name], TRAIN.inputs)[1][0].detach()[TRAIN.inputs["attention_mask"].bool()].double()
            for model, name in ((net, "body.model.layers.0"), (teacher, "body.model.layers.1"))
        ]
        fitted = torch.linalg.lstsq(*states).solution
        return float((states[0] @ fitted - states[1]).square().sum() / states[1].square().sum())

    plain = soft_targets(student(), teacher, SoftTargetsParams(method="soft_targets", **GUIDED | {"epochs": 12}), data=DATA)
    assert unexplained(made.model) < unexplained(plain.model)


def test_unknown_layers_are_named() -> None:
    config = HiddenStatesParams(method="hidden_states", student_layers=("body.x",), teacher_layers=("body.model",), **GUIDED)
    with pytest.raises(InputError, match=r"student_layers: 'body\.x' names no module of the student"):
        hidden_states(student(), language_net("llama"), config, data=DATA)


def writing(**more: object) -> SequenceParams:
    return SequenceParams(**{"source": "teacher", "method": "sequence", "texts": 24, "prompt_tokens": 4, **more})


def test_written_texts_begin_as_training_windows_do_and_are_told_of() -> None:
    teacher = language_net("llama")
    found = written(teacher, writing(), TRAIN, TEST, seed=0)
    assert found.rows.shape == (24, 16)
    beginnings = {tuple(row[:4]) for row in TRAIN.inputs["input_ids"].tolist()}
    assert {tuple(row[:4]) for row in found.rows.tolist()} <= beginnings
    asked = found.samples.targets["tokens"] != IGNORED
    assert bool(asked[:, 3:15].all())
    assert not bool(asked[:, :3].any() or asked[:, 15].any())
    assert found.findings["distinct 1-grams"] < found.findings["distinct 3-grams"] <= 1
    again = written(teacher, writing(), TRAIN, TEST, seed=0)
    assert (again.rows == found.rows).all()
    cold = written(teacher, writing(temperature=0.1), TRAIN, TEST, seed=0)
    assert cold.findings["distinct 1-grams"] < found.findings["distinct 1-grams"]


def test_nothing_of_test_is_written_back() -> None:
    teacher = language_net("llama")
    free = written(teacher, writing(), TRAIN, None, seed=0)
    ids = torch.from_numpy(free.rows[:5])
    told = Samples({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, take(TEST.targets, slice(0, 5)))
    found = written(teacher, writing(overlap_tokens=8), TRAIN, told, seed=0)
    assert found.findings["thrown away"] >= 5
    assert not {row.tobytes() for row in found.rows} & {row.tobytes() for row in free.rows[:5]}
    with pytest.raises(Impossible, match="every text that the teacher wrote holds a stretch of test"):
        written(teacher, writing(overlap_tokens=1), TRAIN, told, seed=0)


def test_a_student_learns_from_what_was_written_and_from_real_windows_among_it() -> None:
    teacher = language_net("llama")
    config = writing(texts=32, real=0.25, epochs=6, batch_size=8, learning_rate=0.01, temperature=0.7)
    made = sequence(student(), teacher, config, data=DATA)
    assert made.details["written"]["texts"] == 32
    own = written(teacher, writing(texts=16, temperature=0.7), VALIDATION, TEST, seed=5).samples

    def bits(net: nn.Module) -> float:
        return float(scored(net, own, CausalLM())["nats"].sum())

    assert bits(made.model) < bits(student())


def test_fewer_layers_are_those_of_the_source() -> None:
    net = language_net("llama", num_hidden_layers=5)
    assert longest_list(net) == [f"body.model.layers.{number}" for number in range(5)]
    for asked, left in ((3, [0, 2, 4]), ((1, 3), [1, 3]), (2, [0, 4])):
        made = fewer_layers(net, asked, take(VALIDATION.inputs, slice(0, 2)))
        wanted = language_net("llama", num_hidden_layers=len(left))
        kept = net.state_dict()
        for place, number in enumerate(left):
            kept |= {
                key.replace(f"layers.{number}.", f"layers.{place}."): value
                for key, value in net.state_dict().items()
                if f"layers.{number}." in key
            }
        wanted.load_state_dict({name: kept[name] for name in wanted.state_dict()})
        assert torch.equal(logits(made), logits(wanted))
    with pytest.raises(InputError, match="the source has 5 layers, 0 to 4"):
        fewer_layers(net, (0, 5), VALIDATION.inputs)


def test_equal_compute_is_as_many_multiply_accumulates() -> None:
    small, teacher = student(), language_net("llama")
    one = TRAIN.take(slice(0, 1))
    step = step_macs(small, one, CausalLM())
    assert 2.5 * macs(small, one.inputs) < step <= 3 * macs(small, one.inputs)
    config = SoftTargetsParams(method="soft_targets", **GUIDED)
    steps = steps_of_equal_compute(small, teacher, config, one, CausalLM(), 32, anew=False)
    assert steps == pytest.approx(8 * 4 + macs(teacher, one.inputs) * 32 / (step * 8), abs=1)
    few = config.model_copy(update={"steps": 3, "epochs": 1})
    assert steps_of_equal_compute(small, teacher, few, one, CausalLM(), 32, anew=False) == pytest.approx(
        3 + macs(teacher, one.inputs) * 24 / (step * 8), abs=1
    )
