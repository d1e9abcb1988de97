"""What pruning and factorizing will not bring: each rule was measured once, and tells its figure."""

from slimline.commands.advice_case import Case, Rule


def _packed_elsewhere(case: Case) -> str | None:
    pack, others = getattr(case.config, "pack", "none"), [target for target in case.targets if target != "eager"]
    if pack == "none" or not others:
        return None
    return f"pack: {pack} makes fewer bytes on the target eager alone; on {', '.join(others)} the file is as large as without it"


RULES = (Rule(_packed_elsewhere, "1,644,312 bytes with pack: sparse and 1,644,310 without, on onnxruntime", "tabular, 90 % zeros"),)
