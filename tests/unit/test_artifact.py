"""A variant on disk: round trips are equal, and whatever is unsafe, altered or cut short is refused unread."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from slimline.artifact.folder import whole_folder, write_json
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.structure import replay, structure_edits
from slimline.artifact.variant import load_variant, save_variant
from slimline.artifact.weight_header import stored_kinds
from slimline.artifact.weights import load_weights, read_weights, write_weights
from slimline.errors import ArtifactError
from slimline.params.section import Pack


class Tiny:
    """A workload's two builders."""

    name = "tiny"

    def build_teacher(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 3))

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, config["width"]), nn.Linear(config["width"], 3))


def manifest(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {"workload": "tiny", "variant": "v", "stage": "prune", "method": "channels", "config": {}, "source": "teacher"}
    facts |= {"lineage": ("v", "teacher"), "architecture": Architecture(), "structure": {}, "seed": 0}
    return Manifest(**facts | changes)


def smaller() -> nn.Module:
    model = Tiny().build_teacher()
    model[0], model[1] = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4)
    model[3] = nn.Sequential(nn.Linear(4 * 36, 2, bias=False), nn.Linear(2, 3))
    return model.eval()


def test_round_trip_of_an_edited_model_is_equal(in_folder: Path) -> None:
    model, inputs = smaller(), torch.randn(5, 1, 8, 8)
    saved = save_variant(in_folder / "v", model, manifest(), Tiny())
    loaded = load_variant(in_folder / "v", Tiny())
    assert saved.structure.keys() == {"0", "1", "3"}
    assert torch.equal(loaded.model(inputs), model(inputs))
    assert loaded.manifest == saved


def test_same_model_gives_same_bytes(in_folder: Path) -> None:
    model = smaller()
    for name in ("a", "b"):
        save_variant(in_folder / name, model, manifest(), Tiny(), plan={"layers": {}})
    first, second = ({path.name: path.read_bytes() for path in (in_folder / name).iterdir()} for name in ("a", "b"))
    assert first == second
    assert first.keys() == {"manifest.json", "weights.safetensors", "quantization.json"}


def test_a_student_is_built_from_its_config(in_folder: Path) -> None:
    model = Tiny().build_student({"width": 5})
    save_variant(in_folder / "s", model, manifest(architecture=Architecture(role="student", config={"width": 5})), Tiny())
    assert load_variant(in_folder / "s", Tiny()).model[1].out_features == 5


def test_a_change_that_no_spec_describes_is_refused() -> None:
    model = Tiny().build_teacher()
    model[3] = nn.RNN(2, 2)
    with pytest.raises(ArtifactError, match="layer '3' changed from Linear to RNN"):
        structure_edits(Tiny().build_teacher(), model)


def test_edits_of_another_architecture_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"'9\.conv' does not fit"):
        replay(Tiny().build_teacher(), {"9.conv": {"type": "Identity"}})
    with pytest.raises(ArtifactError, match="layer type 'Exec'"):
        replay(Tiny().build_teacher(), {"0": {"type": "Exec"}})


@pytest.mark.parametrize("pack", ["none", "sparse", "entropy"])
def test_a_manifest_cannot_ask_for_more_memory_than_its_weights_fill(in_folder: Path, pack: Pack) -> None:
    folder = in_folder / "v"
    save_variant(folder, smaller(), manifest(), Tiny(), pack=pack)
    facts = json.loads((folder / "manifest.json").read_text())
    terabytes = {"type": "Linear", "in_features": 10**6, "out_features": 10**6, "bias": False}
    write_json(folder / "manifest.json", facts | {"structure": facts["structure"] | {"3": terabytes}})
    with pytest.raises(ArtifactError, match=r"tensors do not fit the model; first: 3\."):
        load_variant(folder, Tiny())


@pytest.mark.parametrize("spoil", ["cut", "flip", "extra", "gone", "workload"])
def test_a_spoilt_artifact_is_refused(in_folder: Path, spoil: str) -> None:
    folder = in_folder / "v"
    save_variant(folder, smaller(), manifest(), Tiny())
    weights = folder / "weights.safetensors"
    data = weights.read_bytes()
    if spoil == "cut":
        weights.write_bytes(data[:-10])
    elif spoil == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif spoil == "extra":
        (folder / "more.txt").write_text("?")
    elif spoil == "gone":
        weights.unlink()
    else:
        facts = json.loads((folder / "manifest.json").read_text())
        write_json(folder / "manifest.json", facts | {"workload": "other"})
    with pytest.raises(ArtifactError, match=r"altered or cut short|not listed|missing|made for workload 'other'"):
        load_variant(folder, Tiny())


def test_a_pickle_is_refused_unread(in_folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (in_folder / "sprung",)

    for name in ("model.pt", "disguised.safetensors"):
        (in_folder / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ArtifactError, match="is a pickle, which can run any code"):
            read_weights(in_folder / name)
    assert not (in_folder / "sprung").exists()


def test_a_safetensors_header_that_starts_like_a_pickle_is_read(in_folder: Path) -> None:
    path, tensor = in_folder / "weights.safetensors", torch.arange(4.0)
    for length in range(1000, 1200):
        save_file({"x": tensor}, path, metadata={"note": "n" * length})
        if path.read_bytes()[:2] == b"\x80\x04":  # a header of 1152 bytes
            break
    else:
        pytest.fail("no header of 1152 bytes was made")
    assert torch.equal(read_weights(path)["x"], tensor)


def test_a_truncated_weights_file_is_named(in_folder: Path) -> None:
    path = in_folder / "w.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="may be cut short"):
        read_weights(path)


def test_wrong_shapes_are_counted_and_shown() -> None:
    model = Tiny().build_teacher()
    weights = model.state_dict() | {"3.weight": torch.zeros(3, 7)}
    with pytest.raises(ArtifactError, match=r"1 of 9 tensors do not fit.*3\.weight is \(3, 7\), expected \(3, 288\)"):
        load_weights(model, weights, Path("w"))


def test_a_folder_that_fails_half_way_leaves_the_old_one(in_folder: Path) -> None:
    target = in_folder / "out"
    target.mkdir()
    (target / "old").write_text("kept")

    def fail_half_way() -> None:
        with whole_folder(target) as draft:
            (draft / "new").write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert [path.name for path in in_folder.iterdir()] == ["out"]
    assert (target / "old").read_text() == "kept"


def test_tied_weights_are_stored_once_and_come_back(tmp_path: Path) -> None:
    table, head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
    head.weight = table.weight
    net = nn.ModuleDict({"table": table, "head": head})
    path = tmp_path / "weights.safetensors"
    write_weights(path, net.state_dict())
    assert path.stat().st_size < 1.2 * table.weight.nbytes
    found = read_weights(path)
    assert found.keys() == net.state_dict().keys() == stored_kinds(path).keys()
    assert torch.equal(found["head.weight"], table.weight)
