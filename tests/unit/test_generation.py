"""Language models go on from prompts: on every engine as transformers itself does, from one set of weights, with and without caches."""

import threading

import numpy as np
import onnxruntime_genai
import pytest
import torch
from torch import nn

from slimline.artifact.arrays import write_arrays
from slimline.artifact.generating import read_generation
from slimline.errors import InputError
from slimline.generation import Sampling
from slimline.generation.answers import Reader, Writing
from slimline.generation.choice import chosen
from slimline.generation.eager import generator_of
from slimline.generation.pace import NEW_TOKENS
from slimline.generation.pace import PROMPT as PROMPT_IDS
from slimline.generation.prompt_cache import BLOCK, PromptCache
from slimline.methods.quantize.dynamic import dynamic
from slimline.methods.quantize.simulate import simulate
from slimline.params.quantize import DynamicParams
from slimline.runtime import load
from slimline.worker import Worker
from tests.generating_nets import CONTEXT, TEXT, WORDS, compiled, language_net, windows

GREEDY = Sampling(max_new_tokens=12)
PROMPT = windows().reader.encode(TEXT).ids[:150]


def transformers_answer(net, prompt, count):
    with torch.no_grad():
        found = net.body.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False, eos_token_id=0, pad_token_id=0)
    return [token for token in found[0, len(prompt) :].tolist() if token != 0]


@pytest.fixture(scope="module", params=["openvino-llama", "onnxruntime-llama", "openvino-gpt2"])
def engine(request, tmp_path_factory):
    target, kind = request.param.split("-")
    net = language_net(kind)
    return net, compiled(tmp_path_factory.mktemp("compiled") / target, target, net)


def test_an_engine_scores_and_generates_from_one_file_as_the_net_does(engine):
    net, folder = engine
    model = load(folder)
    ids = np.random.default_rng(0).integers(0, WORDS, (3, 20))
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    given["attention_mask"][2, 15:] = 0
    with torch.no_grad():
        expected = net(**{name: torch.from_numpy(values) for name, values in given.items()}).numpy()
    for _ in range(2):  # the second call must not see the first one's keys and values
        found = model.predict(given)
        assert np.abs(found[given["attention_mask"] == 1] - expected[given["attention_mask"] == 1]).max() < 1e-4
    assert list(model.generate(PROMPT, GREEDY).tokens) == transformers_answer(net, PROMPT, 12)
    weights = sum(value.nbytes for value in {value.data_ptr(): value for value in net.state_dict().values()}.values())
    stored = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".bin", ".onnx"))
    assert weights * 0.95 < stored < weights * 1.3


def test_batches_threads_and_known_beginnings_change_no_token(engine):
    net, folder = engine
    made = load(folder).generator
    prompts = [PROMPT, PROMPT[:40], PROMPT[:90], PROMPT]
    expected = [tuple(transformers_answer(net, prompt, 12)) for prompt in prompts]
    assert [answer.tokens for answer in made.generate_many(prompts, GREEDY)] == expected
    found = {}

    def ask(number):
        found[number] = made.generate(prompts[number], GREEDY).tokens

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(4)] == expected
    again = made.generate([*PROMPT[:-1], 5], GREEDY)
    assert again.cached_tokens >= 128
    assert list(again.tokens) == transformers_answer(net, [*PROMPT[:-1], 5], 12)


def test_a_process_of_its_own_answers_alike(engine):
    net, folder = engine
    with Worker(folder) as worker:
        assert list(worker.generate([PROMPT], GREEDY)[0].tokens) == transformers_answer(net, PROMPT, 12)


def test_prefill_and_decode_of_all_lengths_are_timed_on_one_engine(engine, tmp_path):
    """An engine a length held the weights as often as there were lengths: 12 GB for a model of 0.5 GB, and that was told as its memory."""
    model = load(engine[1])
    assert model.pacing is model.pacing
    with Worker(engine[1]) as worker:
        for rows in (1, 3):
            prompts = np.resize(np.array(PROMPT), (rows, CONTEXT - 18))
            write_arrays(tmp_path / "answer.npz", {PROMPT_IDS: prompts, NEW_TOKENS: np.array([17])})
            prefill, decode = worker.turns(tmp_path / "answer.npz", 2)
            assert prefill.calls == decode.calls
            assert 0 < decode.cpu_ms < prefill.cpu_ms
            assert 0 < decode.first.cpu_ms < 5 * prefill.first.cpu_ms


def test_bad_prompts_and_settings_are_one_line_each(engine):
    made = load(engine[1]).generator
    for prompt, said in (
        ("", "empty"),
        ([], "empty"),
        ([WORDS], "none of the model's 400"),
        ([1] * CONTEXT, "at least one of them"),
        ([0.5], "whole"),
    ):
        with pytest.raises(InputError, match=said):
            made.generate(prompt, GREEDY)
    with pytest.raises(InputError, match=r"max_new_tokens is 0.*top_p is 2"):
        made.generate("a", Sampling(max_new_tokens=0, top_p=2))
    assert len(made.generate([1] * (CONTEXT - 3), Sampling(max_new_tokens=50)).tokens) <= 3


@pytest.mark.parametrize("token", [WORDS, -1])
def test_tokens_that_the_model_does_not_have_are_told_by_their_place(engine, token):
    given = {"input_ids": np.array([[5, 6], [5, token]]), "attention_mask": np.ones((2, 2), np.int64)}
    with pytest.raises(InputError, match=rf"input 'input_ids': sample 1 holds {token} at place 1; .*\(0 to 399\)"):
        load(engine[1]).predict(given)


@pytest.mark.parametrize("temperature", [1e-7, 1e-310])
def test_a_temperature_next_to_nothing_is_greedy(engine, temperature):
    made = load(engine[1]).generator
    assert made.generate(PROMPT, Sampling(max_new_tokens=12, temperature=temperature)).tokens == made.generate(PROMPT, GREEDY).tokens


def test_onnxruntime_genai_loads_the_same_folder_and_says_the_same(engine):
    net, folder = engine
    if not (folder / "genai_config.json").is_file():
        assert (folder / "openvino_model.xml").is_file()
        return
    params = onnxruntime_genai.GeneratorParams(made := onnxruntime_genai.Model(str(folder)))
    params.set_search_options(max_length=CONTEXT, do_sample=False)
    generator = onnxruntime_genai.Generator(made, params)
    generator.append_tokens(np.array([PROMPT], np.int32))
    found = []
    for _ in range(8):
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    assert found == transformers_answer(net, PROMPT, 8)


def test_the_same_seed_draws_the_same_answer_and_another_one_another():
    made = generator_of(language_net(), windows())
    drawn = [made.generate(PROMPT, Sampling(max_new_tokens=12, temperature=1.0, seed=seed)).tokens for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_of_gpt_2_eager_answers_as_transformers_does():
    net = language_net("gpt2")
    assert list(generator_of(net, windows()).generate(PROMPT, GREEDY).tokens) == transformers_answer(net, PROMPT, 12)


def test_only_tokens_of_the_nucleus_are_drawn():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    draws = np.random.default_rng(0)
    found = {chosen(logits, Sampling(temperature=1.0, top_p=0.7), draws) for _ in range(200)}
    assert found == {0, 1}
    assert chosen(logits, Sampling(), draws) == 0


def test_text_comes_in_whole_characters_and_ends_before_a_stop():
    reader = Reader(windows(), WORDS, CONTEXT)
    pieces: list[str] = []
    writing = Writing(reader, [1], Sampling(max_new_tokens=99, stop=("END",)), lambda piece: bool(pieces.append(piece)))
    for token in windows().reader.encode("naïve 日本 E EN END more").ids:
        if not writing.take(token):
            break
    answer = writing.finished(0)
    assert answer.text == "".join(pieces) == "naïve 日本 E EN "
    assert answer.finish_reason == "stop"
    assert not any("\ufffd" in piece for piece in pieces)


def test_blocks_of_another_release_or_another_beginning_are_never_found(tmp_path):
    block = [np.ones((1, 2, BLOCK, 4), np.float32)]
    tokens = list(range(2 * BLOCK + 5))
    cache = PromptCache("a", tmp_path)
    cache.put(tokens, 0, block)
    cache.put(tokens, BLOCK, [2 * block[0]])
    assert len(cache.found(tokens)) == 2
    assert len(cache.found([*tokens[:BLOCK], 7, *tokens[BLOCK + 1 :]])) == 1
    assert not cache.found([7, *tokens[1:]])
    assert not PromptCache("b", tmp_path).found(tokens)
    kept = PromptCache("a", tmp_path).found(tokens)
    assert [part.max() for part, *_ in kept] == [1, 2]
    small = PromptCache("a", memory_bytes=block[0].nbytes)
    small.put(tokens, 0, block)
    small.put(tokens, BLOCK, block)
    assert small.memory_bytes <= block[0].nbytes


def test_a_prompt_read_in_another_process_is_found_on_disk(tmp_path):
    net = language_net()
    first = generator_of(net, windows(), PromptCache("a", tmp_path)).generate(PROMPT, GREEDY)
    second = generator_of(net, windows(), PromptCache("a", tmp_path)).generate(PROMPT, GREEDY)
    assert (first.cached_tokens, second.cached_tokens) == (0, 2 * BLOCK)
    assert first.tokens == second.tokens


@pytest.mark.slow
def test_a_narrowed_factorized_and_quantized_net_keeps_its_layers_shapes(tmp_path):
    net = uneven(language_net())
    made = dynamic(net, DynamicParams.model_validate({"source": "teacher", "method": "dynamic"}))
    expected = generator_of(simulate(made.model, made.plan, made.grids), windows()).generate(PROMPT[:60], GREEDY)
    folder = compiled(tmp_path / "compiled", "onnxruntime", made.model, made.plan, made.grids)
    assert load(folder).generate(PROMPT[:60], GREEDY).tokens == expected.tokens
    assert [layer.heads for layer in read_generation(folder).layers] == [2, 1]
    assert not (folder / "genai_config.json").exists()


def uneven(net):
    """One layer's MLP narrowed and its first matrix in two factors, the other layer with half of its heads."""
    mlp, attention = net.body.model.layers[0].mlp, net.body.model.layers[1].self_attn
    mlp.gate_proj = nn.Sequential(nn.Linear(32, 8, bias=False), nn.Linear(8, 40, bias=False))
    mlp.up_proj, mlp.down_proj = nn.Linear(32, 40, bias=False), nn.Linear(40, 32, bias=False)
    attention.q_proj, attention.o_proj = nn.Linear(32, 16, bias=False), nn.Linear(16, 32, bias=False)
    attention.k_proj, attention.v_proj = nn.Linear(32, 8, bias=False), nn.Linear(32, 8, bias=False)
    return net
