"""The runtimes that a variant can be compiled for.

A module of its own, since a process that only loads what was compiled does without all that params.yaml may say: 0.3 s of its start.
"""

from typing import Literal

Target = Literal["eager", "torchscript", "inductor", "onnxruntime", "openvino", "xla", "executorch"]
CODE_CARRYING: frozenset[Target] = frozenset({"torchscript", "inductor"})
"""The targets whose files run code when they are loaded."""
GENERATING: frozenset[Target] = frozenset({"eager", "onnxruntime", "openvino"})
"""The targets on which a language model goes on from a prompt; on the others it scores texts alone."""
