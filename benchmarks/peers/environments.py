"""The peers: which tool, by which script, for which target, in which environment.

An environment of its own lies over ours: what is pinned here comes from the package registry, all else is ours (torch above all).
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"
OURS = Path(sys.executable)


@dataclass(frozen=True)
class Peer:
    """A tool at its documented defaults: `script` in tools/, the targets that its result is run on, and the packages it needs."""

    script: str
    targets: tuple[str, ...]
    packages: tuple[str, ...] = ()


PEERS: Mapping[str, Peer] = {
    "nncf": Peer("nncf_static", ("openvino",)),
    "nncf-accuracy": Peer("nncf_accuracy_control", ("openvino",)),
    "nncf-weights8": Peer("nncf_weights8", ("openvino",)),
    "nncf-weights4": Peer("nncf_weights4", ("openvino",)),
    "onnxruntime-static": Peer("onnxruntime_static", ("onnxruntime",)),
    "onnxruntime-dynamic": Peer("onnxruntime_dynamic", ("onnxruntime",)),
    "onnxruntime-weights4": Peer("onnxruntime_weights4", ("onnxruntime",)),
    "olive-static": Peer("olive_static", ("onnxruntime",), ("olive-ai==0.13.0", "requests==2.34.2")),
    "olive-dynamic": Peer("olive_dynamic", ("onnxruntime",), ("olive-ai==0.13.0", "requests==2.34.2")),
    "aimet": Peer("aimet_static", ("onnxruntime",), ("aimet-onnx==2.42.0",)),
    "torchao-pt2e": Peer("torchao_pt2e", ("inductor",), ("torchao==0.18.0",)),
    "torchao-dynamic": Peer("torchao_dynamic", ("inductor",), ("torchao==0.18.0",)),
    "neural-compressor": Peer("neural_compressor_static", ("inductor",), ("neural-compressor-pt==3.10",)),
    "torch-pruning": Peer("torch_pruning_half", ("onnxruntime", "openvino"), ("torch-pruning==1.6.1",)),
}


def interpreter(peer: Peer, folder: Path) -> Path:
    """The Python of a peer's environment, made where it is not there; ours where it needs nothing more.

    Raises:
        SystemExit: a package cannot be installed; the message is pip's last line.
    """
    if not peer.packages:
        return OURS
    place = folder / "+".join(peer.packages).replace("==", "-")
    python = place / "bin/python"
    if not (place / "ready").is_file():
        subprocess.run([OURS, "-m", "venv", str(place)], check=True)
        site = next(place.glob("lib/python3*/site-packages"))
        (site / "ours.pth").write_text(f"{next(Path(OURS).parents[1].glob('lib/python3*/site-packages'))}\n", encoding="utf-8")
        (place / "constraints.txt").write_text(f"{TORCH}\n", encoding="utf-8")
        command = [python, "-m", "pip", "install", "--quiet", "--constraint", str(place / "constraints.txt"), *peer.packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{', '.join(peer.packages)} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        (place / "ready").touch()
    return python
