"""Choose releases by hand: what a reference means, and pointing an alias at it."""

from slimline.artifact.compiled import RELEASE
from slimline.errors import ArtifactError, InputError, StorageRefused
from slimline.storage.aliases import Alias, Author, Standing, list_aliases, promote
from slimline.storage.client import Store
from slimline.storage.moves import moved_to_whole, require_whole, turn
from slimline.storage.releases import list_releases, verify_stored


def promote_reference(store: Store, base: str, reference: str, said: Author, *, alias: str, source: str) -> tuple[Alias, bool]:
    """Point `alias` at what `reference` means (VARIANT-TARGET: as the alias `source` has it); (alias, whether it moved).

    Raises:
        InputError: the reference means nothing or more than one release.
        StorageRefused: the release is not whole in the store, or any byte of it was altered; or somebody else moved the alias meanwhile.
    """
    standing = resolve(store, base, reference, source)
    require_whole(store, base, standing.release)
    try:
        verify_stored(store, base, standing.release)
    except ArtifactError as error:
        place = f"{store.url(base)}/{standing.release}/"
        what = str(error).partition(": ")[2].partition(";")[0]
        raise StorageRefused(f"{place}: was altered: {what}; delete {place}{RELEASE} and publish again, which uploads all of it") from None
    with turn(store, base):
        require_whole(store, base, standing.release)
        return moved_to_whole(store, base, alias, lambda: promote(store, base, alias, standing, said))


def resolve(store: Store, base: str, reference: str, source: str) -> Standing:
    """What a reference means: an alias, a release id (or its beginning), or VARIANT-TARGET as the alias `source` has it.

    Raises:
        InputError: it means nothing, or more than one release.
    """
    aliases = list_aliases(store, base)
    if reference in aliases:
        return aliases[reference].standing
    current = aliases[source].releases if source in aliases else {}
    releases = {one.release.release: one.release for one in list_releases(store, base)}
    wanted = current.get(reference, reference)
    matches = [identity for identity in releases if identity.startswith(wanted)]
    if len(matches) != 1:
        problem = f"means {len(matches)} releases" if matches else "is no alias, release or VARIANT-TARGET there"
        raise InputError(f"{reference!r} {problem} in {store.url(base)}/; `slimline releases` lists what there is")
    found = releases[matches[0]]
    return Standing(release=found.release, variant=found.variant, target=found.target, releases={**current, found.label: found.release})
