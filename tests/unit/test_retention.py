"""What `slimline gc` keeps and removes, and movers of aliases in every moment of a collection, on a real SeaweedFS server."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from slimline.errors import StorageRefused, StorageUnavailable
from slimline.storage.aliases import Author, Standing, advance, alias_key, pointed, promote, read_alias, rolled_back
from slimline.storage.client import connect
from slimline.storage.moves import moved_to_whole, require_whole, rollback_to_whole, turn
from slimline.storage.objects import listed, put_bytes, read, remove, store_time
from slimline.storage.promotion import promote_reference
from slimline.storage.publish import Draft, Prepared, publish
from slimline.storage.releases import Release, list_releases, release_base, release_id, upload_release
from slimline.storage.retention import collect, needed, retained
from tests.own_store import own_store
from tests.toy_release import compile_toy

SAID = Author(who="someone@somewhere", why="a test")
LATER = timedelta(days=2)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with own_store(tmp_path_factory.mktemp("server")) as added:
        yield added


@pytest.fixture
def store(environment):
    return connect("slimline", environment)


@pytest.fixture
def base(request):
    return release_base(request.node.name)


@pytest.fixture
def draft(store, base, tmp_path):
    """A release of this weight, uploaded."""

    def made(weight):
        name = f"w{weight}"
        folder = compile_toy(tmp_path / name, base, name, float(weight), 0)
        release = Release(release=release_id(folder), workload=base, variant=name, target="onnxruntime", precision="float32", size_bytes=1)
        found = Draft(release, {path.name: path for path in folder.iterdir()}, {"MODEL_CARD.md": b"a card"})
        upload_release(store, base, found.release, found.files, found.papers)
        return found

    return made


def standing(draft):
    one = draft.release
    return Standing(release=one.release, variant=one.variant, target=one.target, releases={one.label: one.release})


def going(store, base, nights=0, rollbacks=5):
    return [one for one in retained(store, base, nights, store_time(store) + LATER, rollbacks) if not one.why]


def test_what_nothing_needs_goes_and_the_rest_stays_whole(store, base, draft):
    old, now, lone = draft(1), draft(2), draft(3)
    put_bytes(store, f"{base}/{'0' * 20}/model.onnx", b"of an upload that was cut off")
    for one in (old, now):
        advance(store, base, "latest", standing(one), SAID)
    reasons = {one.identity: one.why for one in retained(store, base, 0, store_time(store), 5)}
    assert reasons == {
        old.release.release: "rollback of latest",
        now.release.release: "alias latest",
        lone.release.release: "written in the last hour",
        "0" * 20: "may still be uploading",
    }
    assert {one.identity for one in going(store, base)} == {lone.release.release, "0" * 20}
    assert {one.identity for one in going(store, base, nights=1)} == {"0" * 20}
    found = going(store, base, rollbacks=0)
    assert {one.identity for one in found} == {lone.release.release, "0" * 20, old.release.release}
    assert collect(store, base, found, lambda: True) == found
    assert {one.key.split("/")[2] for one in listed(store, f"{base}/")} == {"aliases", now.release.release}
    with pytest.raises(StorageRefused, match="no such release"):
        rollback_to_whole(store, base, "latest", SAID)
    assert read_alias(store, base, "latest").standing == standing(now)


def test_an_unreadable_release_that_an_alias_or_a_night_needs_stays(store, base, draft):
    named, lone = draft(1), draft(2)
    advance(store, base, "latest", standing(named), SAID)
    for one in (named, lone):
        put_bytes(store, f"{base}/{one.release.release}/release.json", b'{"schema": 2}')
    found = {one.identity: one for one in retained(store, base, 1, store_time(store) + LATER, 5)}
    assert (found[named.release.release].why, found[named.release.release].released) == ("alias latest", True)
    assert found[lone.release.release].why.startswith("night of ")
    assert [one.identity for one in going(store, base)] == [lone.release.release]


def test_the_time_is_the_stores_own(store, base):
    put_bytes(store, f"{base}/one", b"1")
    (one,) = listed(store, f"{base}/one")
    assert abs(store_time(store) - one.modified) < timedelta(seconds=5)
    assert store_time(store).tzinfo is not None


def nightly(count, first=date(2026, 11, 1)):
    """An alias that moved every night at two, and the day of each release."""
    alias, days = None, {}
    for number in range(count):
        identity, day = f"{number:020x}", first + timedelta(days=number)
        one = Standing(release=identity, variant="v", target="t", releases={"v-t": identity})
        alias = pointed(alias, one, "publish", SAID, f"{day}T02:00:00.000000+00:00")
        days[identity] = day
    return alias, days


def test_an_alias_that_moves_every_night_keeps_what_stood_in_the_last_nights_and_a_few_rollbacks():
    alias, days = nightly(50)

    def kept(nights, rollbacks):
        return sorted(int(identity, 16) for identity in needed(days, {"latest": alias}, nights, rollbacks))

    assert kept(0, 0) == [49]
    assert kept(0, 5) == list(range(44, 50))
    assert kept(14, 5) == list(range(35, 50)), "of the 14 nights, and what stood when the first of them began"
    assert kept(100, 0) == list(range(50))


def test_what_a_rollback_brought_back_does_not_count_as_left():
    alias, days = nightly(6)
    for _ in range(2):
        alias = rolled_back(alias, SAID, "2026-11-20T00:00:00.000000+00:00")
    days = dict.fromkeys(days, date(2026, 11, 3))
    reasons = needed(days, {"latest": alias}, 0, 1)
    assert {int(identity, 16): why for identity, why in reasons.items()} == {3: "alias latest", 2: "rollback of latest"}


def meanwhile(store, act):
    """Another's `act` begins when the first object is removed; its end, and what it raised."""
    began, raised = threading.Event(), []

    def run():
        try:
            act()
        except StorageRefused as error:
            raised.append(str(error))

    other = threading.Thread(target=run)

    def begin(**_):
        if not began.is_set():
            began.set()
            other.start()
            other.join(2)

    store.client.meta.events.register("before-call.s3.DeleteObject", begin)
    return other, raised


def collected_while(store, base, environment, act):
    """A collection of everything that may go, with another's `act` in the middle of it; what that one was told."""
    collector = connect("slimline", environment)
    other, raised = meanwhile(collector, act)
    with turn(collector, base) as is_ours:
        assert collect(collector, base, going(collector, base), is_ours)
    other.join()
    return raised


def test_a_publication_in_the_middle_of_a_collection_ends_with_a_whole_release(store, base, draft, environment, tmp_path):
    stale, now = draft(1), draft(2)
    advance(store, base, "latest", standing(now), SAID)
    lines = []
    (tmp_path / "reports").mkdir()
    prepared = Prepared(base, (stale,), "commit 0, params 0")
    raised = collected_while(store, base, environment, lambda: publish(tmp_path, store, "latest", prepared, lines.append))
    assert raised == []
    assert read_alias(store, base, "latest").release == stale.release.release
    require_whole(store, base, stale.release.release)


def test_who_promotes_what_is_being_collected_is_told_and_the_alias_stays(store, base, draft, environment):
    stale, now = draft(1), draft(2)
    advance(store, base, "latest", standing(now), SAID)
    identity = stale.release.release
    act = lambda: promote_reference(store, base, identity, SAID, alias="latest", source="latest")  # noqa: E731
    (said,) = collected_while(store, base, environment, act)
    assert "\n" not in said
    assert read_alias(store, base, "latest").release == now.release.release
    assert [one.release.release for one in list_releases(store, base)] == [now.release.release]


def test_a_move_is_taken_back_where_its_release_went_while_the_mover_was_frozen(store, base, draft):
    stale = draft(1)
    identity = stale.release.release

    def thawed():
        collect(store, base, going(store, base), lambda: True)
        return promote(store, base, "latest", standing(stale), SAID)

    with pytest.raises(StorageRefused, match=rf"{identity}.*; the alias latest stays as it was"):
        moved_to_whole(store, base, "latest", thawed)
    assert read(store, alias_key(base, "latest")) is None
    now = draft(2)
    advance(store, base, "latest", standing(now), SAID)
    before = read(store, alias_key(base, "latest"))
    with pytest.raises(StorageRefused, match="stays as it was"):
        moved_to_whole(store, base, "latest", lambda: promote(store, base, "latest", standing(stale), SAID))
    assert read(store, alias_key(base, "latest")).body == before.body


def test_a_collector_that_was_frozen_gives_back_what_is_pointed_at_and_removes_nothing_more(store, base, draft):
    named, lone = draft(1), draft(2)
    found = going(store, base)
    assert len(found) == 2
    advance(store, base, "latest", standing(named), SAID)
    with pytest.raises(StorageUnavailable, match="run `slimline gc` again for the rest"):
        collect(store, base, found, lambda: False)
    require_whole(store, base, named.release.release)
    assert read(store, f"{base}/{lone.release.release}/model.onnx") is not None
    assert [one.identity for one in collect(store, base, going(store, base), lambda: True)] == [lone.release.release]


def test_a_turn_that_was_not_renewed_is_no_longer_surely_ours(store, base):
    with turn(store, base, ttl_s=2.0) as is_ours:
        assert is_ours()
        for name in ("put_object", "get_object"):
            setattr(store.client, name, lambda **_: (_ for _ in ()).throw(KeyError("no answer")))
        threading.Event().wait(2.5)
        assert not is_ours()
        for name in ("put_object", "get_object"):
            delattr(store.client, name)


def test_the_lease_of_a_turn_is_never_forgotten(store, base):
    from slimline.storage.stage_leases import PREFIX, ended

    with turn(store, base):
        pass
    key = f"{PREFIX}moves/{base.removeprefix('releases/')}.json"
    assert read(store, key) is not None
    assert key not in ended(store, datetime.now(UTC) + LATER)
    remove(store, key)
