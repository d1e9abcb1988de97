"""Where alerts go: webhooks and mail on loopback, addresses from the environment or a file that its owner alone reads."""

import asyncio
import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from flows import alert_targets
from flows.alert_targets import addresses, deliver
from flows.alerts import Passing
from slimline.errors import InputError
from tests.alert_sinks import MailSink, WebhookSink


@pytest.fixture
def webhook():
    sink = WebhookSink()
    yield sink
    sink.close()


@pytest.fixture
def mail():
    sink = MailSink()
    yield sink
    sink.close()


def test_a_webhook_and_a_mail_server_get_the_same_alert(webhook, mail):
    places = (f"{webhook.url}/services/T0/B0/x", f"mailto://127.0.0.1:{mail.port}?from=line@here.org&to=team@here.org&mode=insecure")
    assert deliver(places, "a run failed", "able-ant: 1 failed") == ()
    assert webhook.taken == [{"text": "a run failed\nable-ant: 1 failed"}]
    assert webhook.paths == ["/services/T0/B0/x"]
    (sent,) = mail.taken
    assert "Subject: a run failed" in sent
    assert "able-ant: 1 failed" in sent


def test_what_does_not_take_it_is_tried_three_times_and_named_by_its_kind(monkeypatch, webhook):
    monkeypatch.setattr(alert_targets, "PAUSE_S", 0.01)
    refusing = WebhookSink(500)
    assert deliver((f"{refusing.url}/secret", f"{webhook.url}/"), "t", "x") == ("http",)
    assert (len(refusing.taken), len(webhook.taken)) == (3, 1)
    refusing.close()


def test_the_file_must_be_its_owners_alone_and_the_environment_comes_first(tmp_path):
    path = tmp_path / ".slimline/alerts"
    path.parent.mkdir()
    path.write_text("# the team\nhttps://hooks.example.org/secret\n\nmailto://u:p@example.org\n")
    path.chmod(0o640)
    with pytest.raises(InputError, match="others can read it") as refused:
        addresses({}, tmp_path)
    assert "hooks" not in str(refused.value)
    path.chmod(0o600)
    assert addresses({}, tmp_path) == ("https://hooks.example.org/secret", "mailto://u:p@example.org")
    assert addresses({"SLIMLINE_ALERTS": "https://other.example.org/x"}, tmp_path) == ("https://other.example.org/x",)
    assert addresses({}, tmp_path / "elsewhere") == ()


def test_an_address_that_is_none_is_told_without_its_secret(tmp_path):
    for address in ("carrierpigeon://user:secret@roof", "mailto://user:secret℀@roof", "https://roof℀/secret", "http:///secret"):
        kind = address.partition(":")[0]
        with pytest.raises(InputError, match=f"begins with '{kind}' is none that can be sent to") as refused:
            addresses({"SLIMLINE_ALERTS": address}, tmp_path)
        assert "secret" not in str(refused.value)


def test_a_file_that_is_no_text_is_told_without_its_bytes(tmp_path):
    path = tmp_path / ".slimline/alerts"
    path.parent.mkdir()
    path.write_bytes(b"mailto\xff://secret")
    path.chmod(0o600)
    with pytest.raises(InputError, match="none that can be sent to") as refused:
        addresses({}, tmp_path)
    assert "secret" not in str(refused.value)


def test_an_alert_that_nobody_took_is_sent_again_when_it_comes_again(monkeypatch, tmp_path, webhook):
    monkeypatch.setattr(alert_targets, "PAUSE_S", 0.01)
    (tmp_path / ".slimline").mkdir()
    passing = Passing(tmp_path, "word")
    app = Starlette(routes=[Route("/{token}", passing.take, methods=["POST"])])

    async def told(times: int) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            for _ in range(times):
                assert (await client.post("/word", json={"title": "a run failed", "text": "able-ant"})).status_code == 202

    monkeypatch.setenv("SLIMLINE_ALERTS", "http://127.0.0.1:9/secret")
    asyncio.run(told(1))
    assert webhook.taken == []
    monkeypatch.setenv("SLIMLINE_ALERTS", f"{webhook.url}/x")
    asyncio.run(told(3))
    assert webhook.taken == [{"text": "a run failed\nable-ant"}]
    noted = [json.loads(line) for line in (tmp_path / ".slimline/alerts.jsonl").read_text().splitlines()]
    assert [(one["sent"], one["failed"]) for one in noted] == [(0, ["http"]), (1, [])]
