"""transformers without a network: imported before it, by every module here that imports it; the one place where its doors are shut.

Remote code is refused where a config is read (directory.py), and by `trust_remote_code=False` wherever a loader would take some.
"""

import logging
import os
from importlib.util import find_spec

from slimline.errors import MachineError
from slimline.workloads.huggingface.directory import NEEDED

IS_ASKED_FOR = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
"""Whether the user had shut them already: then nothing is fetched either."""
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_NO_ADVISORY_WARNINGS="1", TOKENIZERS_PARALLELISM="false")
if missing := [name for name in NEEDED if find_spec(name) is None]:
    raise MachineError(
        f"hf: a Hugging Face directory needs {', '.join(missing)}, which is not installed; pip install 'slimline[huggingface]'"
    )
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it cannot fetch is told once, by us
logging.getLogger("torchao").setLevel(logging.ERROR)  # says that kernels are missing which nothing here uses
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # says what torchao should call otherwise
