"""`slimline export-gguf`: a language model as one file for llama.cpp."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from slimline.commands.completion import variants
from slimline.commands.export_hf import net_of
from slimline.errors import InputError
from slimline.params import Params
from slimline.project import find_project

SAMPLES = 2
Kind = Literal["F32", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]


def export_gguf(
    variant: Annotated[str, typer.Argument(help="A variant of params.yaml that was made, or teacher.", autocompletion=variants)],
    file: Annotated[Path, typer.Argument(help="A new file.")],
    kind: Annotated[Kind, typer.Option(help="What matrices are rounded to.")] = "Q8_0",
    as_json: Annotated[bool, typer.Option("--json", help="Print {file, variant, kind, bytes, agreement} for a machine.")] = False,
) -> None:
    """Write a language model of the Llama family as a GGUF file, for llama.cpp; a quantized variant with the weights that its plan leaves.

    Example: `slimline export-gguf gptq4 model.gguf --kind Q4_1`
    """
    if file.exists():
        raise InputError(f"{file}: is there already; name a new file")
    target = file.absolute()
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: is no folder; make it first")
    os.chdir(root := find_project())
    params = Params.load(root / "params.yaml")
    from slimline.artifact.variant import load_variant
    from slimline.data.prepared import load_split
    from slimline.data.samples import head
    from slimline.data.windows import Windows
    from slimline.methods.quantize.simulate import simulate
    from slimline.workloads import get_workload
    from slimline.workloads.huggingface.gguf_written import write_gguf
    from slimline.workloads.huggingface.written import described

    workload = get_workload(params.workload)
    windows = workload.preprocessing
    if params.workload != "causal-lm" or not isinstance(windows, Windows):
        raise InputError(f"params.yaml: workload: {params.workload} is no language model; GGUF files hold such alone")
    found = load_variant(Path("data/models") / variant, workload)
    model = found.model if found.plan is None else simulate(found.model, found.plan, found.grids)
    samples = head(load_split(workload.samples, "validation"), SAMPLES).inputs
    whole, _ = described(model, net_of(found.manifest, workload.their.net, params))
    told = write_gguf(whole, windows.tokenizer, kind, target, samples, ends=windows.ends, chat_template=windows.chat_template)
    if as_json:
        sys.stdout.write(json.dumps({"file": str(target), "variant": variant, "kind": kind, **told}) + "\n")
        return
    sys.stdout.write(
        f"{file}: {variant} as {kind}, {told['bytes']:,} bytes; the same next token as the variant at {told['agreement']:.1%} of places\n"
    )
