"""NNCF's weight compression of a language model to int8, at its defaults: https://docs.openvino.ai, "LLM Weight Compression"."""

import nncf
from weights import compressed

compressed(mode=nncf.CompressWeightsMode.INT8_ASYM)
