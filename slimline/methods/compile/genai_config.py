"""genai_config.json, by which onnxruntime-genai loads the same folder; our own runtime never reads it: it can name libraries to load."""

from pathlib import Path
from typing import Any

from slimline.artifact.folder import write_json
from slimline.artifact.generating import GenerationFacts
from slimline.artifact.signature import IDS, MASK
from slimline.methods.compile.saturation import exact_products

CONFIG = "genai_config.json"
DECODER = "llama"
"""What onnxruntime-genai calls a decoder with one graph, positions and a cache that grows, whatever the architecture."""


def write_genai_config(folder: Path, graph: str, facts: GenerationFacts, net: Any) -> bool:
    """Write the file, if the net is uniform: onnxruntime-genai knows one number and one size of heads for all layers.

    `net` is the config of transformers. https://onnxruntime.ai/docs/genai/reference/config.html
    """
    if len(set(facts.layers)) > 1:
        return False
    layer, heads = facts.layers[0], int(net.num_attention_heads)
    ends = net.eos_token_id if isinstance(net.eos_token_id, list) else [net.eos_token_id]
    tokens = {"bos_token_id": net.bos_token_id, "eos_token_id": ends[0], "pad_token_id": net.pad_token_id}
    decoder = {
        "filename": graph,
        "session_options": exact_products(),
        "head_size": layer.size,
        "hidden_size": layer.size * heads,
        "num_attention_heads": heads,
        "num_key_value_heads": layer.heads,
        "num_hidden_layers": len(facts.layers),
        "inputs": {
            **{name: name for name in (IDS, MASK, "position_ids")},
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
    }
    told = {name: int(token or 0) for name, token in tokens.items()}
    model = {"type": DECODER, "vocab_size": facts.vocabulary, "context_length": facts.context, **told, "decoder": decoder}
    search = {"max_length": facts.context, "past_present_share_buffer": False, "do_sample": False}
    write_json(folder / CONFIG, {"model": model, "search": search})
    return True
