"""Stage `compile`: lower a variant to one runtime's graph, and check on real samples that it still computes the same.

in      data/models/{<variant>,teacher}, data/prepared/{calibration,validation}.arrow
out     data/compiled/<variant>-<target>
params  workload, seed, evaluate.batch_size
"""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch

from slimline.artifact.compiled import CompiledManifest, Generations, Parity
from slimline.artifact.folder import checksums, folder_bytes, sha256_of, whole_folder, write_json, write_text
from slimline.artifact.generating import is_language
from slimline.artifact.manifest import Packing, library_versions, write_manifest
from slimline.artifact.packed import repack
from slimline.artifact.variant import Variant, load_variant
from slimline.data.batch import take
from slimline.data.prepared import load_split
from slimline.data.samples import head
from slimline.data.signature import Signature
from slimline.errors import Impossible, MachineError, ParamsError, StageError
from slimline.foreign import library_call
from slimline.methods import get_generating, get_method
from slimline.methods.compile.lowered import Lowered
from slimline.model import PREPROCESSING
from slimline.objectives.described import described
from slimline.params import TEACHER
from slimline.report.numbers import ratio, size
from slimline.report.packing import packing_table
from slimline.report.page import Row, StagePage, Table, write_page
from slimline.stage import Stage, stage_main, write_metrics
from slimline.targets import Target
from tasks.missed import note_miss
from tasks.parity import check, check_language, signature_from

log = logging.getLogger(__name__)
MODELS, COMPILED = Path("data/models"), Path("data/compiled")
LIBRARIES = {
    "eager": ("torch",),
    "torchscript": ("torch",),
    "inductor": ("torch",),
    "onnxruntime": ("torch", "onnx", "onnxruntime"),
    "openvino": ("torch", "onnx", "openvino", "nncf"),
    "xla": ("torch", "torchax", "jax"),
    "executorch": ("torch", "executorch"),
}
BASE = "base_model_{}"
"""How licence and card of the model that everything began with are called in what is deployed, beside its own."""
OUTWEIGHED = "The weights shrank, the file did not: so small a model spends more bytes on describing the graph than it saves."
WORDS = {
    "eager": "eager PyTorch",
    "torchscript": "TorchScript",
    "inductor": "AOTInductor",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "xla": "XLA",
    "executorch": "ExecuTorch",
}


def run(target: str, variant: Variant, folder: Path, **samples: Any) -> Lowered:
    """Write the graph into `folder` and hold it to the plan. `samples` are the compiler's example, calibration, signature and
    batch_sizes.

    Raises:
        Impossible: the target's compiler raises over this model.
        StageError: a planned layer has other weights in the graph, or its constants take no fewer bytes than in float32.
        MachineError: a package that the target needs is not installed.
    """
    try:
        compiler = (get_generating(target) if is_language(variant.manifest.objective) else None) or get_method("compile", target)
        with library_call(lambda reason: Impossible(f"compile: {WORDS[target]} cannot compile this model: {reason}; use another target")):
            lowered: Lowered = compiler(variant.model, variant.plan, folder, grids=variant.grids, **samples)
    except ModuleNotFoundError as error:
        if (package := str(error.name).partition(".")[0]) not in LIBRARIES[target]:
            raise
        way_out = f"pip install 'slimline[{target}]', or remove {target!r} from params.yaml: deploy.targets"
        raise MachineError(f"compile: the target {target} needs {package}, which is not installed; {way_out}") from error
    if variant.plan is None:
        return lowered
    wanted = [name for name, layer in variant.plan["layers"].items() if layer["precision"] != "float32"]
    if missed := sorted(set(wanted) ^ set(lowered.layers)):
        raise Impossible(
            f"compile: {len(lowered.layers)} layers of the {target} graph hold {lowered.precision} weights, the plan has {len(wanted)}; "
            f"they differ at {', '.join(missed)}; name these in keep_float"
        )
    if lowered.weight_bytes >= lowered.float32_weight_bytes:
        before, now = f"{lowered.float32_weight_bytes:,}", f"{lowered.weight_bytes:,}"
        raise StageError(f"compile: on {target} the weights take {now} bytes in {lowered.precision}, {before} in float32: nothing is saved")
    return lowered


def shipped(target: str, variant: Variant, folder: Path, lowered: Lowered) -> tuple[Lowered, Packing | None]:
    """Pack the weights of the target eager as the variant's own are; no other runtime reads packed ones."""
    packing = variant.manifest.packing
    if target != "eager" or packing is None or (packed := repack(folder, packing)) is None:
        return lowered, None
    return dataclasses.replace(lowered, weight_bytes=packed.stored_bytes), packed


def manifest_of(
    stage: Stage, target: str, variant: Variant, lowered: Lowered, folder: Path, signature: Signature, *, made_in: Path
) -> CompiledManifest:
    """The compiled variant's identity, without the parity that is still to be measured; the variant itself lies in `made_in`."""
    source, is_eager = variant.manifest, target == "eager"
    return CompiledManifest(
        workload=stage.params.workload,
        variant=stage.variant,
        target=cast(Target, target),
        precision=lowered.precision,
        computes=lowered.computes,
        stage=source.stage,
        method=source.method,
        source=source.source,
        lineage=source.lineage,
        signature=signature,
        objective=described(stage.workload.objective),
        source_sha256=sha256_of(made_in / "manifest.json"),
        execution=lowered.execution,
        architecture=source.architecture if is_eager else None,
        structure=source.structure if is_eager else None,
        files=checksums(folder),
        versions=library_versions(*LIBRARIES[target]),
    )


def page(stage: Stage, manifest: CompiledManifest, lowered: Lowered, parity: Parity, size_bytes: int) -> StagePage:
    """What the compiler made of the variant."""
    target = WORDS[manifest.target]
    graph_bytes = sum((COMPILED / stage.label / name).stat().st_size for name in manifest.files)
    outweighed = () if variant_saves(lowered, graph_bytes) else (OUTWEIGHED,)
    computed = f"Weights in {lowered.precision}, arithmetic in {lowered.computes}."
    return StagePage(
        stage=stage.name,
        variant=stage.label,
        title=f"{stage.variant} on {target}",
        summary=(f"Compiled for {target}: {size_bytes:,} bytes.", computed, parity_text(parity), *_generating(manifest, parity)),
        comparison=(Row("size on disk", folder_bytes(MODELS / TEACHER), size_bytes, "bytes", "lower"),),
        tables=(
            bytes_table(lowered, graph_bytes),
            *packing_table(manifest.packing),
            operations_table(lowered),
            settings_table(manifest, lowered),
            *answers_table(parity),
        ),
        notes=(*lowered.notes, *outweighed, "What runs is as this machine's CPU has it; another may choose other kernels."),
    )


def _generating(manifest: CompiledManifest, parity: Parity) -> Iterator[str]:
    if parity.generations is not None:
        yield generations_text(parity.generations)
    elif is_language(manifest.objective):
        yield f"On {WORDS[manifest.target]} it scores texts and does not generate; eager, onnxruntime and openvino do both."


def variant_saves(lowered: Lowered, graph_bytes: int) -> bool:
    """Whether the whole graph is smaller than in float32, where that was the aim."""
    return lowered.precision == "float32" or graph_bytes < lowered.float32_bytes


def parity_text(parity: Parity) -> str:
    """The check in a sentence."""
    head = f"On {parity.samples} validation samples it agrees with the {parity.reference} on the answer of {parity.agreement:.1%}"
    if parity.tolerance is not None:
        return f"{head}; the outputs differ by at most {parity.max_abs_difference:.2g} (allowed: {parity.tolerance:.2g})."
    return f"{head} (at least {parity.min_agreement:.0%}), at {parity.sqnr_db:.1f} dB signal to noise (at least {parity.min_sqnr_db:.0f})."


def generations_text(found: Generations) -> str:
    """The greedy answers beside those of what was compiled, in a sentence."""
    parted = [place for place in found.parted_at if place is not None]
    head = f"Of {found.tokens} tokens that are generated greedily for {found.prompts} prompts, {found.equal_share:.1%} are equal"
    if not parted:
        return f"{head} token for token."
    return f"{head} before they part: at token {', '.join(map(str, parted))}; two tokens that are nearly as likely change places there."


def answers_table(parity: Parity) -> Iterator[Table]:
    """Of a language model: what it was compiled from and what it became say, side by side."""
    found = parity.generations
    if found is None:
        return
    rows = tuple(
        (one.prompt, one.reference, "the same" if place is None else one.compiled, place)
        for one, place in zip(found.answers, found.parted_at, strict=True)
    )
    reference = "the source" if parity.tolerance is not None else "the simulation"
    columns = ("prompt (its end)", reference, "as compiled", "parts at token")
    yield Table("Greedy answers side by side", columns, rows, "Beginnings of validation windows, and the likeliest tokens after them.")


def bytes_table(lowered: Lowered, graph_bytes: int) -> Table:
    """What the smaller weights save on this target."""
    pairs = {
        "graph and weights": (lowered.float32_bytes, graph_bytes),
        "weights alone": (lowered.float32_weight_bytes, lowered.weight_bytes),
    }
    rows = tuple((name, size(before), size(now), ratio(before / now)) for name, (before, now) in pairs.items())
    return Table("Beside this variant in float32 on this target", ("", "in float32", "as compiled", "times smaller"), rows)


def operations_table(lowered: Lowered) -> Table:
    """What was exported and what is left of it once the runtime has fused it."""
    names = sorted({*lowered.operations_before, *lowered.operations_after})
    rows = tuple((name, lowered.operations_before.get(name), lowered.operations_after.get(name)) for name in names)
    note = "Where the runtime tells the precision, it stands after the name."
    return Table("What the compiler fused", ("operation", "exported", "as it runs"), rows, note)


def settings_table(manifest: CompiledManifest, lowered: Lowered) -> Table:
    """How it is run, and which layers hold smaller weights."""
    settings = [*manifest.execution.items(), *((f"version of {name}", value) for name, value in manifest.versions.items())]
    layers = [(f"layers with {lowered.precision} weights", ", ".join(lowered.layers))] if lowered.layers else []
    return Table("How it runs", ("setting", "value"), (*settings, *layers))


def main(stage: Stage) -> None:
    """Compile into a new folder, check it, write its manifest, the metrics and the page."""
    if stage.target is None or stage.target not in LIBRARIES:
        raise ParamsError([f"compile: no target {stage.target!r}; there are: {', '.join(LIBRARIES)}"])
    torch.set_num_threads(1)
    variant = load_variant(MODELS / stage.variant, stage.workload)
    samples, validation = (load_split(stage.workload.samples, split) for split in ("calibration", "validation"))
    calibration = head(samples, len(samples)).inputs
    signature, few = signature_from(variant, calibration, validation), take(calibration, slice(0, 2))
    with whole_folder(COMPILED / stage.label) as draft:
        sizes = (1, stage.params.evaluate.batch_size)
        lowered = run(stage.target, variant, draft, example=few, calibration=calibration, signature=signature, batch_sizes=sizes)
        if stage.workload.preprocessing is not None:
            write_json(draft / PREPROCESSING, stage.workload.preprocessing.model_dump(mode="json"))
        for name, text in stage.workload.carried.items():
            write_text(draft / BASE.format(name), text)
        lowered, packing = shipped(stage.target, variant, draft, lowered)
        named = manifest_of(stage, stage.target, variant, lowered, draft, signature, made_in=MODELS / stage.variant)
        unchecked = named.model_copy(update={"packing": packing})
        write_manifest(draft, unchecked)
        checked = (stage.label, variant, draft, validation, stage.workload.objective, stage.params.workload)
        parity = check_language(*checked, stage.target) if is_language(named.objective) else check(*checked)
        manifest = unchecked.model_copy(update={"parity": parity})
        write_manifest(draft, manifest)
    size_bytes = folder_bytes(COMPILED / stage.label)
    write_metrics(stage, metrics_of(manifest, lowered, parity, size_bytes))
    write_page(page(stage, manifest, lowered, parity, size_bytes), stage.page_path)
    log.info("%s: %s bytes, %s, %s", stage.label, f"{size_bytes:,}", lowered.precision, parity_text(parity))


def metrics_of(manifest: CompiledManifest, lowered: Lowered, parity: Parity, size_bytes: int) -> dict[str, object]:
    """The stage's metrics file."""
    return {
        **manifest.model_dump(mode="json", include={"variant", "target", "method", "source", "precision", "computes", "execution"}),
        "stage": "compile",
        "size_bytes": size_bytes,
        "float32_bytes": lowered.float32_bytes,
        "weight_bytes": lowered.weight_bytes,
        "float32_weight_bytes": lowered.float32_weight_bytes,
        "parity": parity.model_dump(mode="json"),
        "layers": list(lowered.layers),
        "operations": {"exported": lowered.operations_before, "running": lowered.operations_after},
    }


if __name__ == "__main__":
    stage_main("compile", main, __doc__, per="pair", on_miss=note_miss)
