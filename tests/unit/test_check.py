"""`slimline check`: what goes beyond the text of params.yaml."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from slimline.artifact.folder import write_json
from slimline.commands.check import checked_params
from slimline.commands.refusals import refusals
from slimline.errors import ParamsError
from slimline.params import Params


def test_a_target_whose_packages_are_missing_is_named_with_its_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "openvino" in checked_params(project).deploy.targets
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ParamsError, match=r"deploy\.targets: 'openvino' needs nncf; pip install 'slimline\[openvino\]'"):
        checked_params(project)


def test_a_section_that_dvc_reads_and_params_lack_is_named(project: Path, in_folder: Path) -> None:
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    raw = yaml.safe_load((project / "params.yaml").read_text()) | {"factorize": {}, "gate": {"metric": "accuracy"}}
    raw["deploy"]["variants"] = ["teacher", "int8"]
    del raw["prune"], raw["seed"], raw["quantize"]["small-int8"]
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError) as caught:
        checked_params(in_folder)
    assert [problem.split(":")[1].strip() for problem in caught.value.problems] == ["gate.confidence", "prune", "seed"]
    assert "add `prune: {}`" in caught.value.problems[1]


CACHES = {
    "cache.int9-onnxruntime.variant: 'int9' is not in deploy.variants": {"int9-onnxruntime": ("int9", "onnxruntime")},
    "cache.int8: is of int8 on onnxruntime; call it int8-onnxruntime": {"int8": ("int8", "onnxruntime")},
    "cache.int8-inductor.target: 'inductor' scores texts and goes on from none": {"int8-inductor": ("int8", "inductor")},
    "cache: workload: digits generates nothing": {"int8-onnxruntime": ("int8", "onnxruntime")},
}


@pytest.mark.parametrize(("said", "cache"), CACHES.items())
def test_caches_are_tried_on_what_is_deployed_and_generates(
    project: Path, in_folder: Path, said: str, cache: dict[str, tuple[str, str]]
) -> None:
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    raw = yaml.safe_load((project / "params.yaml").read_text())
    written = {name: {"variant": variant, "target": target} for name, (variant, target) in cache.items()}
    raw |= {"deploy": {"variants": ["teacher", "int8"], "targets": ["onnxruntime", "inductor"]}, "cache": written}
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError, match=said):
        checked_params(in_folder)


def test_sections_that_dvc_yaml_has_defaults_for_may_be_left_out(project: Path, in_folder: Path) -> None:
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    raw = yaml.safe_load((project / "params.yaml").read_text())
    assert {"cache", "harness"}.isdisjoint(raw)
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    assert checked_params(in_folder).cache == {}


WHERE = {
    "file:data/models/teacher/weights.safetensors": True,
    "file:data/models/mine.safetensors": True,
    "file:./data/../data/compiled/x/w.safetensors": True,
    "file:{root}/data/prepared/w.safetensors": True,
    "file:linked/w.safetensors": True,
    "hf:reports/stages/mine": True,
    "file:weights/w.safetensors": False,
    "file:data/mine/w.safetensors": False,
    "file:/elsewhere/data/models/w.safetensors": False,
    "hf:data/hub": False,
    "s3://data/models/w": False,
}


@pytest.mark.parametrize(("source", "refused"), WHERE.items())
def test_a_teacher_where_stages_write_is_refused(project: Path, in_folder: Path, source: str, refused: bool) -> None:
    """DVC removes those folders before their stage runs."""
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    (in_folder / "data/models").mkdir(parents=True)
    (in_folder / "linked").symlink_to("data/models")
    teacher = {"source": source.format(root=in_folder), "sha256": "0" * 64}
    (in_folder / "params.yaml").write_text(yaml.safe_dump(yaml.safe_load((project / "params.yaml").read_text()) | {"teacher": teacher}))
    if not refused:
        checked_params(in_folder)
        return
    with pytest.raises(ParamsError, match=r"teacher\.source: .* lies in (data|reports)/\w+, where stages make .* move it elsewhere"):
        checked_params(in_folder)


def stored(root: Path, *, workload: str = "digits") -> None:
    """A teacher with two convolutions, an LSTM, two Linear layers and a layer norm over images, calibrated."""
    shapes = {
        "stem.weight": (8, 1, 3, 3),
        "deep.weight": (8, 8, 3),
        "rows.weight_hh_l0": (32, 8),
        "mix.weight": (8, 8),
        "head.weight": (10, 8),
    }
    folder = root / "data/models/teacher"
    folder.mkdir(parents=True)
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, folder / "weights.safetensors")
    write_json(folder / "manifest.json", {"workload": workload, "config": {}})
    types = {"stem": "Conv2d", "deep": "Conv1d", "rows": "LSTM", "mix": "Linear", "head": "Linear"}
    write_json(root / "data/calibration/statistics.json", {"layers": {name: {"type": kind} for name, kind in types.items()}})


def on_executorch(**settings: object) -> Params:
    small = {"source": "teacher", "method": "dynamic", **settings}
    deploy = {"variants": ["teacher", "small"], "targets": ["onnxruntime", "executorch"]}
    return Params.parse({"workload": "digits", "quantize": {"small": small}, "deploy": deploy})


@pytest.mark.parametrize(
    ("keep", "said"),
    [((), r"3 layers \(deep, rows, stem\)"), (("stem",), r"2 layers \(deep, rows\)"), (("s*", "d*"), r"1 layer \(rows\)")],
)
def test_dynamic_on_executorch_is_refused_where_stored_layers_show_it(keep: tuple[str, ...], said: str, tmp_path: Path) -> None:
    stored(tmp_path)
    (line,) = refusals(on_executorch(keep_float=keep), tmp_path)
    assert re.search(rf"'small' cannot run on 'executorch': .* it has {said} of another kind; name .* in quantize\.small\.keep_float", line)


def test_what_is_kept_in_float_unknown_or_of_other_params_is_not_refused(tmp_path: Path) -> None:
    assert list(refusals(on_executorch(), tmp_path)) == []
    stored(tmp_path)
    assert list(refusals(on_executorch(keep_float=("stem", "deep", "rows")), tmp_path)) == []
    static = on_executorch().model_dump(mode="json", exclude_unset=True)
    assert list(refusals(Params.parse(static | {"quantize": {"small": {"source": "teacher", "method": "static"}}}), tmp_path)) == []
    write_json(tmp_path / "data/models/teacher/manifest.json", {"workload": "tabular", "config": {}})
    assert list(refusals(on_executorch(), tmp_path)) == []


def test_check_refuses_it_in_one_line(project: Path, in_folder: Path) -> None:
    stored(in_folder)
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["deploy"] = {"variants": ["teacher", "ranged"], "targets": ["executorch"]}
    raw["quantize"] = {"ranged": {"source": "teacher", "method": "dynamic"}}
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError, match="'ranged' cannot run on 'executorch'"):
        checked_params(in_folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")
def test_a_gpu_that_is_not_there_is_named_wherever_it_is_asked_for_with_all_other_problems(project: Path, in_folder: Path) -> None:
    (in_folder / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["calibrate"]["device"] = raw["distill"]["small"]["device"] = raw["prune"]["channels50"]["recover"]["device"] = "cuda"
    raw["teacher"] |= {"device": "auto", "source": "hf:data/models/mine", "sha256": "0" * 64}
    (in_folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError) as caught:
        checked_params(in_folder)
    named = [problem.split(":")[1].strip() for problem in caught.value.problems]
    assert named == ["calibrate.device", "prune.channels50.recover.device", "distill.small.device", "teacher.source"]
    assert "give auto or cpu" in caught.value.problems[0]
