"""Which names of a model the patterns of params.yaml mean."""

import fnmatch
from collections.abc import Collection, Sequence

from slimline.errors import InputError


def matching(patterns: Sequence[str], names: Collection[str], where: str, what: str = "layer") -> frozenset[str]:
    """The names that the patterns mean; `*` stands for any part of a name.

    `where` is the option that holds the patterns, as in `prune: keep`, and `what` is what the names are, for the message.

    Raises:
        InputError: a pattern means none of them.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = fnmatch.filter(names, pattern)
        if not hits:
            raise InputError(f"params.yaml: {where}: {pattern!r} matches no {what}; there are: {', '.join(names) or 'none'}")
        found.update(hits)
    return frozenset(found)
