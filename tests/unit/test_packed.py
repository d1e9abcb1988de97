"""Packed weights: bit for bit the same after loading, fewer bytes, and whatever is torn, altered or too large is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from slimline.artifact.folder import checksums, write_json
from slimline.artifact.manifest import Manifest, Packing
from slimline.artifact.packed import read_stored, write_stored
from slimline.artifact.variant import load_variant, save_variant
from slimline.artifact.weight_header import FILES, weight_shapes
from slimline.errors import ArtifactError

SPARSE, ENTROPY = FILES["sparse"], FILES["entropy"]
packings = pytest.mark.parametrize("pack", ["sparse", "entropy"])


class Tiny:
    """A workload's two builders."""

    name = "tiny"

    def build_teacher(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 50), nn.Linear(50, 3))

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        raise NotImplementedError


def pruned(share: float = 0.9) -> nn.Module:
    torch.manual_seed(0)
    model = Tiny().build_teacher().eval()
    with torch.no_grad():
        weight = model[3].weight
        weight.masked_fill_(torch.rand(weight.shape) < share, 0.0)
    return model


def manifest() -> Manifest:
    facts: dict[str, Any] = {"workload": "tiny", "variant": "v", "stage": "prune", "method": "magnitude", "config": {}, "source": "teacher"}
    return Manifest(**facts, lineage=("v", "teacher"), architecture={}, structure={}, seed=0)


def bits(value: Tensor) -> bytes:
    return value.contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else str(value).encode()


@packings
def test_a_variant_comes_back_bit_for_bit_from_fewer_bytes(in_folder: Path, pack: str) -> None:
    model, inputs = pruned(), torch.randn(5, 1, 8, 8)
    saved = save_variant(in_folder / "v", model, manifest(), Tiny(), pack=pack)
    save_variant(in_folder / "plain", model, manifest(), Tiny())
    loaded = load_variant(in_folder / "v", Tiny())
    assert torch.equal(loaded.model(inputs), model(inputs))
    assert all(bits(value) == bits(model.state_dict()[name]) for name, value in loaded.model.state_dict().items())
    assert (loaded.manifest, set(saved.files)) == (saved, {FILES[pack]})
    plain_bytes = (in_folder / "plain" / FILES["none"]).stat().st_size
    assert saved.packing is not None
    assert saved.packing.plain_bytes == plain_bytes
    assert saved.packing.stored_bytes == (in_folder / "v" / FILES[pack]).stat().st_size < plain_bytes / 4


@packings
def test_the_same_model_gives_the_same_bytes(in_folder: Path, pack: str) -> None:
    for name in ("a", "b"):
        save_variant(in_folder / name, pruned(), manifest(), Tiny(), pack=pack)
    assert checksums(in_folder / "a") == checksums(in_folder / "b")
    assert (in_folder / "a/manifest.json").read_bytes() == (in_folder / "b/manifest.json").read_bytes()


@packings
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_type_shape_and_value_survives(in_folder: Path, pack: str, dtype: torch.dtype) -> None:
    odd = torch.tensor([0.0, float("inf"), float("nan"), -1.5, 0.0, 2e-40, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=dtype)
    tensors = {
        "odd": odd,
        "zeros": torch.zeros(3, 5, dtype=dtype),
        "dense": torch.randn(7, 3, 2, 2).to(dtype),
        "empty": torch.zeros(0, 4, dtype=dtype),
        "scalar": torch.tensor(3.5, dtype=dtype),
        "steps": torch.tensor(7),
        "labels": torch.arange(6).view(2, 3),
    }
    back = read_stored(in_folder, write_stored(in_folder, tensors, pack))
    assert {name: (value.shape, value.dtype) for name, value in back.items()} == {n: (v.shape, v.dtype) for n, v in tensors.items()}
    assert all(bits(back[name]) == bits(value) for name, value in tensors.items())


@packings
def test_a_negative_zero_counts_as_a_zero(in_folder: Path, pack: str) -> None:
    """Training with masks multiplies by 0, which leaves the sign."""
    tensors = {"x": torch.cat([-torch.zeros(1000), torch.ones(8)])}
    packing = write_stored(in_folder, tensors, pack)
    assert (in_folder / FILES[pack]).stat().st_size < 500
    assert torch.equal(read_stored(in_folder, packing)["x"], tensors["x"])


def test_a_dense_tensor_is_stored_as_it_is(in_folder: Path) -> None:
    write_stored(in_folder, {"dense": torch.ones(100), "half": torch.ones(100) * (torch.arange(100) % 2)}, "sparse")
    stored = load_file(in_folder / SPARSE)
    assert {name: tuple(value.shape) for name, value in stored.items()} == {"dense": (100,), "half": (50,), "half:mask": (13,)}


def test_a_file_that_unpacks_to_more_than_the_manifest_says_is_refused_before_it_is_unpacked(in_folder: Path) -> None:
    packing = write_stored(in_folder, {"x": torch.ones(8)}, "entropy")
    assert packing is not None
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    (in_folder / ENTROPY).write_bytes(bomb)
    with pytest.raises(ArtifactError, match=rf"unpacks to 50,000,000 bytes, manifest\.json says {packing.unpacked_bytes}"):
        read_stored(in_folder, packing)


def test_a_frame_that_says_more_than_there_is_memory_for_is_refused(in_folder: Path) -> None:
    size = 1 << 60
    (in_folder / ENTROPY).write_bytes(b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + bytes(16))
    with pytest.raises(ArtifactError, match="more than this machine has memory for"):
        read_stored(in_folder, Packing(kind="entropy", stored_bytes=0, unpacked_bytes=size, plain_bytes=size))


def test_a_frame_that_hides_its_size_is_refused(in_folder: Path) -> None:
    data = save({"x": torch.ones(8)})
    (in_folder / ENTROPY).write_bytes(zstandard.ZstdCompressor(write_content_size=False).compress(data))
    with pytest.raises(ArtifactError, match="unpacks to -1 bytes"):
        read_stored(in_folder, Packing(kind="entropy", stored_bytes=0, unpacked_bytes=len(data), plain_bytes=len(data)))


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"x": {"dtype": "float32", "shape": [1_000_000, 1_000_000]}}, "mask of x does not fit its shape"),
        ({"x": {"dtype": "float32", "shape": [-8, -2]}}, "mask of x does not fit its shape"),
        ({"x": {"dtype": "float16", "shape": [16]}}, "lacks the 4 values"),
        ({"x": {"dtype": "float32", "shape": [11]}}, "lacks the 3 values"),
        ({"y": {"dtype": "float32", "shape": [16]}}, "y:mask"),
        ({"x": {"dtype": "qint8", "shape": [16]}}, "qint8"),
        (["x"], "list"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(in_folder: Path, layout: Any, words: str) -> None:
    mask = torch.tensor([0b00000111, 0b00010000], dtype=torch.uint8)
    save_file({"x": torch.ones(4), "x:mask": mask}, in_folder / SPARSE, metadata={"layout": json.dumps(layout)})
    with pytest.raises(ArtifactError, match=words):
        read_stored(in_folder, Packing(kind="sparse", stored_bytes=0, unpacked_bytes=0, plain_bytes=0))


@packings
@pytest.mark.parametrize("spoil", ["cut", "empty", "gone", "noise"])
def test_a_spoilt_file_is_named(in_folder: Path, pack: str, spoil: str) -> None:
    packing, path = write_stored(in_folder, pruned().state_dict(), pack), in_folder / FILES[pack]
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-20], "empty": b"", "gone": data, "noise": bytes(range(256)) * 4}[spoil])
    if spoil == "gone":
        path.unlink()
    with pytest.raises(ArtifactError, match=f"{pack} weights"):
        read_stored(in_folder, packing)


def test_an_altered_packed_file_is_caught_by_its_checksum(in_folder: Path) -> None:
    save_variant(in_folder / "v", pruned(), manifest(), Tiny(), pack="entropy")
    path = in_folder / "v" / ENTROPY
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="altered or cut short"):
        load_variant(in_folder / "v", Tiny())


def test_a_manifest_from_before_packing_is_read(in_folder: Path) -> None:
    save_variant(in_folder / "v", pruned(), manifest(), Tiny())
    facts = json.loads((in_folder / "v/manifest.json").read_text())
    assert facts.pop("packing") is None
    write_json(in_folder / "v/manifest.json", facts)
    assert load_variant(in_folder / "v", Tiny()).manifest.packing is None


@pytest.mark.parametrize("pack", ["none", "sparse", "entropy"])
def test_shapes_are_read_from_the_header_alone(in_folder: Path, pack: str) -> None:
    model = pruned()
    write_stored(in_folder, model.state_dict(), pack)
    assert weight_shapes(in_folder) == {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x05\0\0\0\0\0\0\0not J", b"\x02\0\0\0\0\0\0\0[]"])
@pytest.mark.parametrize("name", FILES.values())
def test_a_torn_file_has_no_shapes(in_folder: Path, name: str, content: bytes) -> None:
    (in_folder / name).write_bytes(content)
    assert weight_shapes(in_folder) == {}
