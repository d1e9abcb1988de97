"""torch.export keeps the batch free however a forward asks for its size, or says in one line that it cannot."""

import itertools
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as attention

from slimline.data.batch import Batch, joined, take
from slimline.data.signature import InputSignature, Signature, signature_of
from slimline.errors import Impossible, StageError
from slimline.methods.compile.onnx_graph import export_onnx
from slimline.methods.exported import exported
from tests.lowering import graph_of

EXAMPLE = {"x": torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))}


class Net(nn.Module):
    """[N, 4, 6] -> [N, 3], reshaped in one way or another."""

    def __init__(self, reshaped: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.reshaped, self.rnn, self.head = reshaped, nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(1, len(x), 8)
        steps, _ = self.rnn(self.reshaped(x), state)
        return self.head(steps[:, -1])


def by_shape(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], 4, 6)


def by_size(x: Tensor) -> Tensor:
    batch, steps, features = x.size()
    return x.view(batch, steps, features)


def by_len(x: Tensor) -> Tensor:
    return x.reshape(len(x), 4, 6)


def by_zeros(x: Tensor) -> Tensor:
    return x + torch.zeros(len(x), 1, 1)


def by_expand(x: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, 1, 6).expand(len(x), -1, -1), x], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("reshaped", [by_shape, by_size, by_len, by_zeros, by_expand])
def test_the_batch_stays_free(reshaped: Callable[[Tensor], Tensor]) -> None:
    model = Net(reshaped).eval()
    program = exported(model, EXAMPLE).module()
    graph = export_onnx(model, EXAMPLE, signature_of([EXAMPLE], EXAMPLE["x"])).graph
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in itertools.chain(graph.input, graph.output))
    for inputs in (take(EXAMPLE, slice(0, 1)), take(joined([EXAMPLE] * 3), slice(0, 5))):
        torch.testing.assert_close(program(**inputs), model(**inputs))


def one_by_one(x: Tensor) -> Tensor:
    return torch.stack([x[index] for index in range(len(x))])


def by_value(x: Tensor) -> Tensor:
    return x if float(x.sum()) > 0 else x + 1


@pytest.mark.parametrize(
    ("reshaped", "words"), [(one_by_one, "makes a number of the batch size"), (by_value, "Could not guard on data-dependent expression")]
)
def test_what_fixes_the_batch_or_reads_values_is_refused_in_one_line(reshaped: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(StageError, match=r"torch\.export cannot follow Net: ") as refused:
        exported(Net(reshaped), EXAMPLE)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_model_is_left_as_it_is() -> None:
    model = Net(by_len).train()
    exported(model, EXAMPLE)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


class Tokens(nn.Module):
    """ids [N, 3..9] int64, mask [N, 3..9] int64 and other, float [N, 2] -> one tensor of each sample, and one of each token."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(11, 4), nn.Linear(6, 3)

    def forward(self, ids: Tensor, other: Tensor, mask: Tensor) -> dict[str, Tensor]:
        values = self.words(ids) * mask[:, :, None]
        mean = values.sum(1) / mask.sum(1, keepdim=True)
        return {"whole": self.head(torch.cat([mean, other], dim=1)), "tokens": values}


class Anything(Tokens):
    """The same, of a forward that says nothing of its inputs."""

    def forward(self, **given: Tensor) -> dict[str, Tensor]:
        return super().forward(**given)


class Summed(Tokens):
    """A forward that makes a number of how many tokens there are."""

    def forward(self, ids: Tensor, **_: Tensor) -> Tensor:
        return sum((self.words(ids[:, step]) for step in range(ids.shape[1])), torch.zeros(1, 4))


VARYING = Signature(
    inputs=(
        InputSignature(name="mask", dtype="int64", shape=(9,), varies={0: (3, 9)}),
        InputSignature(name="ids", dtype="int64", shape=(9,), varies={0: (3, 9)}),
        InputSignature(name="other", dtype="float32", shape=(2,)),
    )
)


def tokens(samples: int, length: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(11, (samples, length), generator=generator)
    return {
        "mask": (torch.arange(length) < 2).long().expand(samples, -1),
        "ids": ids,
        "other": torch.randn(samples, 2, generator=generator),
    }


@pytest.mark.parametrize("model", [Tokens(), Anything()])
def test_several_inputs_share_their_free_axes_and_come_in_any_order(model: nn.Module) -> None:
    program = exported(model.eval(), tokens(2, 5), signature=VARYING).module()
    for samples, length in ((1, 3), (4, 9)):
        torch.testing.assert_close(program(**tokens(samples, length)), model(**tokens(samples, length)))


def test_an_axis_that_is_not_said_to_vary_is_fixed() -> None:
    program = exported(Tokens().eval(), tokens(2, 5)).module()
    program(**tokens(3, 5))
    with pytest.raises(AssertionError, match="5"):
        program(**tokens(3, 6))


def test_a_forward_that_fixes_a_varying_axis_is_refused_for_that() -> None:
    with pytest.raises(StageError, match="the size of an axis that varies"):
        exported(Summed().eval(), tokens(2, 5), signature=VARYING)


@pytest.mark.parametrize("name", ["code", "graph", "meta"])
def test_a_name_that_the_exporter_keeps_for_itself_is_told(name: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_parameter(name, nn.Parameter(torch.ones(8)))
            self.inner = nn.Sequential(OrderedDict({name: nn.Linear(8, 3)}))

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.inner(x * self.get_parameter(name))
            return made

    with pytest.raises(Impossible, match=f"the model's '{name}' has a name that PyTorch's export to ONNX keeps for itself; rename it"):
        graph_of(Scaled().eval(), torch.zeros(2, 8))
    assert graph_of(nn.Sequential(Scaled().inner).eval(), torch.zeros(2, 8)).graph.node, "further inside it is a name like any other"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["three axes", "three axes and a mask", "five axes", "a mask of each sample"])
def test_attention_of_any_number_of_axes_is_exported(name: str) -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latent, self.key, self.head = nn.Parameter(torch.randn(3, 6)), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            key, query = self.key(x), self.latent.expand(x.shape[0], -1, -1)
            if name == "five axes":
                key, query = (value.unflatten(2, (3, 2)).unsqueeze(1).transpose(2, 3).expand(-1, 2, -1, -1, -1) for value in (key, query))
                found = attention(query, key, key).mean(1).transpose(1, 2).flatten(2)
            else:
                masks = {"three axes and a mask": x.new_zeros(3, 4), "a mask of each sample": x[:, :, 0].unsqueeze(1).expand(-1, 3, -1)}
                found = attention(query, key=key, value=key, attn_mask=masks.get(name))
            made: Tensor = self.head(found.mean(1))
            return made

    torch.manual_seed(0)
    model, batch = Attending().eval(), torch.randn(5, 4, 6)
    session = onnxruntime.InferenceSession(graph_of(model, batch).SerializeToString())
    (found,) = session.run(None, {"x": batch[:3].numpy()})
    assert np.allclose(found, model(batch[:3]).detach().numpy(), atol=1e-5)
