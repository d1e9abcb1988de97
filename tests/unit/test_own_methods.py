"""Methods of one's own: the documented one keeps the contract, and what is wrong with one is told in one line as its own."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from slimline.calibration.contract import breaches
from slimline.calibration.contract_nets import small_data, trained
from slimline.commands.methods import methods
from slimline.errors import InputError, MethodError, ParamsError, SlimlineError
from slimline.methods import get_method
from slimline.params import Params
from slimline.params.own import own_config, own_module

PROJECT = Path(__file__).parents[2]
RAW: dict[str, Any] = {"workload": "digits", "deploy": {"variants": ["teacher"], "targets": ["onnxruntime"]}}
QUIET = "methods/quiet.py:quiet"


def documented() -> str:
    """The method of docs/add-a-method.md."""
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/add-a-method.md").read_text(), re.S)
    return str(code)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder whose methods/ holds the documented method."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/quiet.py").write_text(documented())
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text((PROJECT / name).read_text())
    monkeypatch.chdir(tmp_path)
    own_module.cache_clear()
    return tmp_path


def params_with(**entry: Any) -> Params:
    return Params.parse(RAW | {"prune": {"quiet30": {"source": "teacher", "method": QUIET, **entry}}})


def test_the_documented_method_keeps_the_contract(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(documented().splitlines()) <= 40
    methods("test", "methods/quiet.py")
    assert capsys.readouterr().out == "methods/quiet.py: quiet keeps the contract\n"


def test_it_is_a_variant_like_any_other(own: Path) -> None:
    params = params_with(share=0.3, recover={"epochs": 2})
    config = params.variants["quiet30"][1]
    assert params.model_dump(mode="json")["prune"]["quiet30"] == config.model_dump(mode="json")
    made = get_method("prune", config.method)(source := trained("rows"), config, data=small_data("rows", trains=True))
    zeros = [int((layer.weight.abs().sum(1) == 0).sum()) for layer in made.model.modules() if isinstance(layer, torch.nn.Linear)]
    assert zeros == [int(0.3 * 64), int(0.3 * 32), 0]
    assert config.model_dump(mode="json")["recover"]["epochs"] == 2
    assert all(layer.weight.abs().sum() > 0 for layer in source.modules() if isinstance(layer, torch.nn.Linear))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("copy.deepcopy(model)", "model"), "the argument stays as it was"),
        (("std(1)", "std(1).add(torch.rand(len(layer.weight)))"), "equal seeds give equal bytes"),
        (("config.share * len", "(config.share or 0.1) * len"), "strength 0 changes nothing"),
        (("int(config.share * len(order))", "0"), "the effect is there"),
        (("return Edited(made)", "return made"), "gave back Pictures; for prune give Edited"),
        (("order = ", "order = nothing or "), "quiet raised NameError: name 'nothing' is not defined (quiet.py, line 38)"),
    ],
)
def test_each_broken_promise_is_a_line(own: Path, change: tuple[str, str], said: str) -> None:
    (own / "methods/quiet.py").write_text(documented().replace(*change))
    lines = list(breaches(QUIET, own_config(QUIET)))
    assert any(said in line for line in lines)
    assert all("\n" not in line for line in lines)
    with pytest.raises(SlimlineError) as caught:
        methods("test", "methods/quiet.py")
    assert caught.value.exit_code == 1 or "raised" in said


ASKED = re.compile(r"    @property\n    def asked.*?\n\n\n", re.S)


def test_what_a_config_says_of_itself_is_read_by_the_contract(own: Path) -> None:
    """The stage reads `asked` after the training: what it lacks or raises is known before."""
    for asked, said in (
        ("", None),
        ("    @property\n    def asked(self) -> str:\n        return self.nothing\n", "QuietParams.asked raised AttributeError"),
        ("    @property\n    def asked(self) -> str:\n        return 3\n", "`asked` is 3; say in a sentence"),
        ("    @property\n    def idle(self) -> bool:\n        return 1 / 0\n", "QuietParams.idle raised ZeroDivisionError"),
        ("    def refused_by(self, target):\n        return {}[target]\n", "refused_by('eager') raised KeyError"),
    ):
        (own / "methods/quiet.py").write_text(ASKED.sub(lambda _, asked=asked: f"{asked}\n\n", documented()))
        own_module.cache_clear()
        lines = list(breaches(QUIET, own_config(QUIET)))
        if said is not None:
            assert said in lines[0]
        else:
            assert lines == []
            assert own_config(QUIET)(source="teacher", method=QUIET).asked == "Zero what varies least."


@pytest.mark.parametrize(
    ("method", "entry", "said"),
    [
        (QUIET, {"share": 1.5}, "prune.own: share: Input should be less than 1"),
        (QUIET, {"shar": 0.5}, "prune.own: shar: unknown key; did you mean 'share'?"),
        ("methods/none.py:quiet", {}, "no file 'methods/none.py'"),
        ("elsewhere/quiet.py:quiet", {}, "lies outside methods/"),
        ("methods/../quiet.py:quiet", {}, "lies outside methods/"),
        ("methods/quiet.py:loud", {}, "has no function 'loud'"),
        ("methods/broken.py:f", {}, "importing it raised NameError: name 'undefined' is not defined (broken.py, line 1)"),
        ("methods/plain.py:f", {}, "annotate its parameter `config`"),
    ],
)
def test_a_wrong_entry_is_one_line_beside_all_others(own: Path, method: str, entry: dict[str, Any], said: str) -> None:
    (own / "methods/broken.py").write_text("undefined\n")
    (own / "methods/plain.py").write_text("def f(model, config: dict, *, data): ...\n")
    raw = RAW | {"prune": {"own": {"source": "teacher", "method": method, **entry}, "other": {"source": "nix", "method": "channels"}}}
    with pytest.raises(ParamsError) as caught:
        Params.parse(raw)
    assert any(said in line for line in caught.value.problems)
    assert any("prune.other" in line for line in caught.value.problems)


def test_a_config_whose_own_code_raises_is_one_line_everywhere(own: Path) -> None:
    raising = documented().replace(
        "    share: ", '    def model_post_init(self, _: object) -> None:\n        {}["share"]\n\n    share: ', 1
    )
    (own / "methods/quiet.py").write_text(raising)
    said = "making a QuietParams raised KeyError: 'share'"
    (line,) = breaches(QUIET, own_config(QUIET))
    assert said in line
    offered = {"methods": {"quiet": {"stage": "prune", "method": QUIET}}, "trials": 3}
    for raw in ({"search": offered}, {"prune": {"quiet30": {"source": "teacher", "method": QUIET}}}):
        with pytest.raises(ParamsError, match=said):
            Params.parse(RAW | raw)


def test_what_an_own_config_asks_for_is_read_before_anything_starts(own: Path) -> None:
    asked = re.search(r"    @property\n    def asked.*?\n\n", documented(), re.DOTALL)
    assert asked is not None
    (own / "methods/quiet.py").write_text(documented().replace(asked[0], ""))
    assert params_with().variants["quiet30"][1].asked == own_config(QUIET).__doc__.splitlines()[0]
    own_module.cache_clear()
    (own / "methods/quiet.py").write_text(documented().replace("{self.share:.0%}", "{self.shares}"))
    with pytest.raises(ParamsError, match=r"QuietParams\.asked raised AttributeError"):
        params_with()


def test_a_config_for_another_stage_is_refused(own: Path) -> None:
    with pytest.raises(ParamsError, match="QuietParams is no config for distill; make it from StudentTraining"):
        Params.parse(RAW | {"distill": {"own": {"source": "teacher", "method": QUIET}}})


def test_a_search_is_offered_no_config_of_another_stage(own: Path) -> None:
    offered = {"methods": {"quiet": {"stage": "distill", "method": QUIET}}, "trials": 3}
    with pytest.raises(ParamsError, match="QuietParams is no config for distill"):
        Params.parse(RAW | {"search": offered})


def test_no_file_is_imported_because_an_artifact_names_it(own: Path) -> None:
    """A manifest's method is a text: reading one runs nothing."""
    (own / "methods/quiet.py").write_text("raise SystemExit(9)\n")
    code = f"from slimline.artifact.manifest import Architecture, Manifest; m = dict(workload='w', variant='v', stage='prune', method={QUIET!r}, config={{}}, source='teacher', lineage=('v', 'teacher'), architecture=Architecture(), structure={{}}, seed=0); Manifest.model_validate_json(Manifest(**m).model_dump_json())"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", code], cwd=own, env={"PYTHONPATH": str(PROJECT)}, check=False).returncode == 0


def test_the_command_says_what_it_lacks(own: Path) -> None:
    (own / "methods/empty.py").write_text("x = 1\n")
    (own / "outside.py").write_text(documented())
    for file, said in (
        (None, "which file?"),
        ("methods/none.py", "no file"),
        ("outside.py", "outside methods/"),
        ("methods/empty.py", "no function"),
    ):
        with pytest.raises((InputError, MethodError), match=re.escape(said)):
            methods("test", file)


OTHERS = """
from typing import Any, ClassVar

from torch import nn

from slimline.methods.data import MethodData
from slimline.methods.edited import Edited
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.static import static
from slimline.params import StaticParams, StudentTraining, VariantParams
from slimline.training.data import TrainingData


class CoarseParams(VariantParams):
    needs_data: ClassVar[bool] = True


def coarse(model: nn.Module, config: CoarseParams, *, statistics: Any, data: MethodData) -> Quantized:
    return static(model, StaticParams(source=config.source, method="static", granularity="per-tensor"), statistics=statistics, data=data)


class AloneParams(StudentTraining):
    strength_field: ClassVar[str] = "epochs"


def alone(student: nn.Module, teacher: nn.Module, config: AloneParams, *, data: TrainingData) -> Edited:
    return Edited(*data.fitted(student, config))
"""


def test_methods_that_quantize_or_distill_are_tried_as_their_stages_call_them(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "methods/others.py").write_text(OTHERS)
    methods("test", "methods/others.py")
    assert capsys.readouterr().out == "methods/others.py: coarse, alone keep the contract\n"
    kind = own_config("methods/others.py:alone")
    taught = kind.model_validate({"source": "teacher", "method": "methods/others.py:alone", "batch_size": 16})
    assert taught.teacher_passes(96, 10) == 160, "a control of equal compute counts a pass of the teacher in each step"
    (own / "methods/others.py").write_text(OTHERS.replace("*data.fitted(student, config)", "student"))
    own_module.cache_clear()
    with pytest.raises(SlimlineError, match="alone: the effect is there, on rows: it did not train the student"):
        methods("test", "methods/others.py")
