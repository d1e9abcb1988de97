"""The untrained net compiled for one target and run once on real samples, and each deployed plan, in a process of their own.

No stage of the DAG: the stage `look` starts one for each target, since what a target's compiler leaves behind in a process, or how it
ends it, is nothing to the others.

    python -m tasks.exports --target TARGET     prints a trial as JSON once it is over
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from slimline.artifact.manifest import Manifest, write_manifest
from slimline.artifact.variant import Variant, load_variant, save_variant
from slimline.calibration.trials import LATER, REFUSED, WORKS, Trial, Tried
from slimline.data.batch import as_arrays, as_tensors, flat
from slimline.data.samples import Samples
from slimline.data.signature import Signature
from slimline.errors import ArtifactError, Impossible, InputError, StageError
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.exported import REFUSALS, reason_of
from slimline.objectives.described import described
from slimline.params import TEACHER, Params
from slimline.runtime import load
from slimline.stage import Stage, stage_main
from slimline.training.fit import predict
from tasks.compile import manifest_of, run
from tasks.untrained import Untrained, shallow, untrained

WAY_OUT = "take {!r} out of deploy.targets, or change the net"
VARIANT_WAY_OUT = "take it out of deploy.variants, or {!r} out of deploy.targets"


WEIGHTS = 100_000_000
"""Numbers in the weights of all the plans that are compiled for a target: what a further one shows is still found by its stage `compile`.
No clock counts, so that a slow machine writes the same page as a quick one."""
TOO_MUCH = f"not tried: the look compiles as many plans for a target as have {WEIGHTS / 1e6:g} million weights; its stage will tell"


def deployed_plans(params: Params, target: str) -> list[str]:
    """The deployed variants with a plan that a target takes, one of each method first: these differ most in what a compiler is given."""
    named = [name for name in params.deploy.variants if name in params.quantize and params.quantize[name].refused_by(target) is None]
    first = {params.quantize[name].method: name for name in reversed(named)}.values()
    return sorted(named, key=lambda name: name not in first)


def affordable(teacher: nn.Module) -> int:
    """How many plans of a net are compiled for a target."""
    return WEIGHTS // max(sum(value.numel() for value in teacher.parameters()), 1)


@dataclass(frozen=True)
class Exports:
    """What is compiled for one target, from a few samples: `stage` names the params and the workload."""

    stage: Stage
    samples: Samples
    signature: Signature

    def trials(self, found: Untrained) -> Iterator[Trial]:
        """The teacher, stored and read back, and the plans that are deployed, as many as affordable."""
        params, target = self.stage.params, str(self.stage.target)
        with TemporaryDirectory(prefix="slimline-look-") as place:
            yield self._trial(TEACHER, Tried(found.teacher), Path(place))
            names = deployed_plans(params, target)
            lineage = {variant for name in names for variant in params.lineage(name)}
            made = {variant: tried for _, variant, tried in found.trials.of(lineage, found.teacher) if tried is not None}
            for number, name in enumerate(names):
                if number >= affordable(found.teacher):
                    yield Trial(f"deploy.targets.{target} ({name})", LATER, TOO_MUCH, 0.0)
                elif name in made:
                    yield self._trial(name, made[name], Path(place))

    def _trial(self, name: str, tried: Tried, folder: Path) -> Trial:
        began = time.perf_counter()
        save_variant(folder / name, tried.model, self._manifest(name, tried), self.stage.workload, tried.plan, tried.grids)
        outcome, said = self._compiled(name, load_variant(folder / name, self.stage.workload), folder)
        return Trial(f"deploy.targets.{self.stage.target} ({name})", outcome, said, time.perf_counter() - began)

    def _compiled(self, name: str, variant: Variant, folder: Path) -> tuple[str, str]:
        try:
            breach = self._breach(name, variant, folder)
        except (Impossible, InputError) as error:
            breach = " ".join(str(error).removeprefix("compile: ").split())
        except StageError as error:
            return LATER, str(error)
        except REFUSALS as error:
            if name == TEACHER:
                raise
            return LATER, f"{type(error).__name__}: {reason_of(error)}"
        return (REFUSED, refused(name, str(self.stage.target), breach)) if breach else (WORKS, "")

    def _breach(self, name: str, variant: Variant, folder: Path) -> str:
        """Compile, load, run; how the outputs differ from what they should be, empty where they do not."""
        into, inputs, stage, target = folder / f"{name}-compiled", self.samples.inputs, self.stage, str(self.stage.target)
        into.mkdir()
        sizes = (1, stage.params.evaluate.batch_size)
        lowered = run(target, variant, into, example=inputs, calibration=inputs, signature=self.signature, batch_sizes=sizes)
        of_pair = Stage("compile", name, target, stage.params, given=stage.workload)
        write_manifest(into, manifest_of(of_pair, target, variant, lowered, into, self.signature, made_in=folder / name))
        try:
            outputs = load(into, workload=stage.params.workload, trust_code=True).predict(as_arrays(inputs))
        except ArtifactError as error:
            return f"what was compiled does not run: {str(error).removeprefix(f'{into}: ')}"
        if variant.plan is not None:
            return "" if flat(as_tensors(outputs)).isfinite().all() else "its outputs are not finite"
        reference = as_arrays(predict(variant.model, inputs))
        parity = compare_outputs(reference, outputs, objective=stage.workload.objective, exact=True)
        if parity.tolerance is None or parity.max_abs_difference <= parity.tolerance:
            return ""
        return f"outputs differ from eager PyTorch by {parity.max_abs_difference:.3g}, more than {parity.tolerance:.3g}"

    def _manifest(self, name: str, tried: Tried) -> Manifest:
        params = self.stage.params
        section, config = (TEACHER, params.teacher) if name == TEACHER else params.variants[name]
        return Manifest(
            workload=self.stage.workload.name,
            variant=name,
            stage=section,
            method=getattr(config, "method", "untrained"),
            config={},
            source=getattr(config, "source", None) if name != TEACHER else None,
            lineage=params.lineage(name),
            architecture=tried.architecture,
            structure={},
            seed=params.seed,
            signature=self.signature,
            objective=described(self.stage.workload.objective),
        )


def refused(name: str, target: str, breach: str) -> str:
    """What a target cannot take, with its place in params.yaml and the way out."""
    if name == TEACHER:
        return f"params.yaml: deploy.targets: {target!r} cannot take the net of build_teacher(): {breach}; {WAY_OUT.format(target)}"
    return f"params.yaml: deploy: {name!r} cannot run on {target!r}: {breach}; {VARIANT_WAY_OUT.format(target)}"


def main(stage: Stage) -> None:
    """Try the target that the command line names; each trial is told once it is over."""
    stage = shallow(stage)
    found = untrained(stage)
    exports = Exports(stage, found.trials.samples.take(slice(0, 2)), found.signature)
    for trial in exports.trials(found):
        sys.stdout.write(f"\n{json.dumps(asdict(trial))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    stage_main("exports", main, __doc__, per="target")
