"""`causal-lm`: texts to learn a language from, a small net of our own or a Hugging Face directory, without code."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from slimline.data.table import Source, Table
from slimline.data.windows import LABEL, TOKENS, Windows
from slimline.errors import DataError, WorkloadError
from slimline.objectives.causal_lm import causal_lm
from slimline.objectives.described import described
from slimline.params import DataParams, ModelParams
from slimline.workloads.documents import Documents, cut_documents, find_documents
from slimline.workloads.facts import Facts
from slimline.workloads.huggingface.directory import CONFIG, carried, is_directory, located, read_config, weight_kinds
from slimline.workloads.huggingface.net import CAUSAL, as_plain, body_of, parsed, require_accounted, sketched
from slimline.workloads.huggingface.windows import trained_windows, windows_of
from slimline.workloads.table import SPLITS

WORDS = 2048
"""The vocabulary that is learned where no directory brings one."""
CONFIGURED: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
"""The net of `architecture: default`: a Llama of about two million parameters."""
KEPT_FIRST = ("test", "validation", "calibration", "train")
"""Of equal windows, such as a licence's text, the one of the first of these splits stays."""


class LanguageDoor:
    """The door `causal-lm`; each sample is a window of a document's tokens."""

    def __init__(self, options: DataParams, model: ModelParams) -> None:
        self.options, self.model = options, model
        self.found: Documents | None = None
        self.windows: Windows | None = None
        self.net: dict[str, Any] = {}

    def splits(self, seed: int) -> Mapping[str, Source]:
        """Windows of each split's documents, whole documents apart; equal windows stand in one split."""
        found = self.found = find_documents(self.options)
        cut = cut_documents(found, self.options, seed)
        self.net, self.windows = self._net([found.texts[number] for number in cut["train"]])
        seen: set[bytes] = set()
        rows = {split: list(_rows(self.windows, found.texts, cut[split], seen)) for split in KEPT_FIRST}
        rows["calibration"] = rows["calibration"][: self.options.calibration_samples]
        if lacking := [split for split in SPLITS if not rows[split]]:
            raise DataError(f"{found.where}: the split {lacking[0]} would hold no window of two tokens; give more text")
        return {split: rows[split] for split in SPLITS}

    def facts(self, train: Table) -> Facts:
        """The tokenizer, and the config of the net."""
        found, windows = self.found, self.windows
        assert found is not None
        assert windows is not None
        learned = {"documents": len(found.texts), "bytes": found.size_bytes, "duplicates": found.duplicates, "windows": len(train)}
        vocabulary = int(body_of(sketched(self.net)).get_input_embeddings().num_embeddings)
        asked = described(causal_lm())
        return Facts(preprocessing=windows, objective=asked, outputs=vocabulary, found=learned, net=self.net, carried=self._carried())

    def _carried(self) -> dict[str, str]:
        return carried(located(self.model.architecture)) if is_directory(self.model.architecture) else {}

    def _net(self, texts: Sequence[str]) -> tuple[dict[str, Any], Windows]:
        """The net as plain data, and how texts become its inputs."""
        architecture, window = self.model.architecture, self.options.window
        if is_directory(architecture):
            folder = located(architecture)
            config = parsed(read_config(folder), self.model.config, str(folder / CONFIG))
            net = {"config": as_plain(config), "task": CAUSAL}
            require_accounted(sketched(net), weight_kinds(folder), str(folder))
            return net, windows_of(folder, sketched(net), window, texts)
        if architecture != "default":
            raise WorkloadError(
                f"params.yaml: model.architecture: {architecture!r}; a language model is `default` or hf:DIRECTORY (of a GGUF file make "
                "one: slimline import-gguf FILE DIR)"
            )
        windows = trained_windows(texts, WORDS, window, int(CONFIGURED["max_position_embeddings"]))
        plain = {**CONFIGURED, "vocab_size": windows.reader.get_vocab_size(), "bos_token_id": 0, "eos_token_id": 0}
        config = parsed(plain, {}, "model.architecture: default")
        return {"config": as_plain(config), "task": CAUSAL}, windows


def _rows(windows: Windows, texts: Sequence[str], numbers: Sequence[int], seen: set[bytes]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        for window in windows.cut(texts[number]):
            content = window.tokens.tobytes()
            if content not in seen:
                seen.add(content)
                yield {TOKENS: window.tokens, LABEL: np.array([window.asked, window.size_bytes, number], dtype=np.int64)}
