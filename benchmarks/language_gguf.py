"""SmolLM2-135M written as GGUF files and loaded back by transformers: bytes of the whole file, bits per byte of Python files.

    python benchmarks/language_gguf.py --directory smollm2 --kinds Q8_0 Q4_1 Q4_0

The weights lie on Q4_1's grids already (groups of 32), so Q4_1 loses little of them and Q4_0, whose groups have a scale alone, more.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch
from language_methods import bits_per_byte, files, loaded, rows_of, samples_of

from slimline.data.windows import Windows
from slimline.workloads.huggingface.gguf_written import write_gguf
from slimline.workloads.huggingface.net import as_plain, built

from transformers import AutoModelForCausalLM  # isort: skip

WIDTH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=["Q8_0", "Q4_1", "Q4_0"])
    parser.add_argument("--test", type=int, default=8, help="files, two windows of 256 tokens of each")
    asked = parser.parse_args()
    net = loaded(asked.directory)
    tokenizer = json.loads((asked.directory / "tokenizer.json").read_text())
    windows = Windows(tokenizer=tokenizer, window=WIDTH, longest=2048, pad_id=2)
    test = samples_of(windows, rows_of(windows, files()[-asked.test :]))
    base = bits_per_byte(net, test)
    print({"run": "float32", "bits_per_byte": base, "bytes": (asked.directory / "model.safetensors").stat().st_size}, flush=True)
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as place:
            told = write_gguf(net, tokenizer, kind, Path(place) / "model.gguf", {name: value[:1] for name, value in test.inputs.items()})
            found = AutoModelForCausalLM.from_pretrained(place, gguf_file="model.gguf", dtype=torch.float32)
            back = built({"task": "causal-lm", "config": as_plain(net.body.config)}, {})
            back.body.load_state_dict(found.state_dict())
            worse = bits_per_byte(back.eval(), test)
        row = {"run": kind, "bits_per_byte": worse, "worse": f"{worse / base - 1:.2%}", "bytes": told["bytes"]}
        print(row | {"same_next_token": told["agreement"], "load": round(os.getloadavg()[0], 1)}, flush=True)


if __name__ == "__main__":
    main()
