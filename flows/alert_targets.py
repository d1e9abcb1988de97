"""Where alerts go: addresses from the environment or a file that only its owner reads, never from Prefect's database or params.yaml.

SLIMLINE_ALERTS, or .slimline/alerts (mode 0600), holds an address a line: https://… takes {"text": …} as Slack's and Mattermost's incoming
webhooks do; every other one is Apprise's (mailto://, json://, discord://, …: https://github.com/caronc/apprise/wiki).
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import apprise
import httpx

from flows.environment import state_folder
from slimline.errors import InputError

ADDRESSES, FILE = "SLIMLINE_ALERTS", "alerts"
TRIES, PAUSE_S, TIMEOUT_S = 3, 2.0, 10.0
OTHERS = 0o077


def addresses(environment: Mapping[str, str], project: Path) -> tuple[str, ...]:
    """Every address, the environment's before the file's.

    Raises:
        InputError: others can read the file, it is no text, or an address is none; it is named by its kind alone, since the rest is a
            secret.
    """
    _quiet()
    path = state_folder(project) / FILE
    text = environment.get(ADDRESSES, "")
    if not text and path.is_file():
        if path.stat().st_mode & OTHERS:
            raise InputError(f"{path}: others can read it, and it holds secrets; chmod 600 {path}")
        text = path.read_bytes().decode("utf-8", "replace")
    found = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))
    for address in found:
        if not _is_known(address):
            raise InputError(
                f"alerts: an address that begins with {_kind(address)!r} is none that can be sent to; correct {ADDRESSES} or {path}"
            )
    return found


def deliver(places: Sequence[str], title: str, text: str) -> tuple[str, ...]:
    """Send to every address; the kinds (https, mailto, …) of those that did not take it after three tries."""
    return tuple(_kind(address) for address in places if not _sent(address, title, text))


def _sent(address: str, title: str, text: str) -> bool:
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE_S * number)
        if _is_hook(address):
            if _posted(address, f"{title}\n{text}"):
                return True
        elif apprise.Apprise(servers=[address]).notify(title=title, body=text):
            return True
    return False


def _posted(address: str, text: str) -> bool:
    try:
        return httpx.post(address, json={"text": text}, timeout=TIMEOUT_S).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _is_known(address: str) -> bool:
    """Whether it can be sent to; what its parts are wrong in is not told, since libraries quote them whole."""
    try:
        return bool(httpx.URL(address).host) if _is_hook(address) else bool(apprise.Apprise().add(address))
    except (httpx.InvalidURL, ValueError):
        return False


def _is_hook(address: str) -> bool:
    return _kind(address) in ("http", "https")


def _kind(address: str) -> str:
    return address.partition(":")[0][:20].lower()


def _quiet() -> None:
    """Neither library writes an address into a log."""
    for name in ("apprise", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
