"""The service that passes alerts on: `python -m flows.alerts PORT`, started by `make up`.

Prefect's automations call it on loopback: addresses and their secrets stay out of Prefect's database, and an alert goes out though the
worker is dead. Every alert is noted in .slimline/alerts.jsonl; the same one within ten minutes of its arrival is not sent again.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flows.alert_targets import addresses, deliver
from flows.environment import ALERT_TOKEN, now_utc, state_folder
from slimline.errors import SlimlineError
from slimline.project import find_project

NOTED = "alerts.jsonl"
ONCE_WITHIN_S = 600.0
MOST_BYTES = 64_000


class Passing:
    """Takes alerts and passes them on, one after another."""

    def __init__(self, project: Path, token: str) -> None:
        self._project, self._token = project, token
        self._last: dict[tuple[str, str], float] = {}

    async def take(self, request: Request) -> Response:
        """POST /<token> {"title", "text"}: 202, whatever becomes of it; 404 without the token, 400 for what is no alert."""
        if request.path_params["token"] != self._token:
            return Response(status_code=404)
        body = await request.body()
        try:
            content = json.loads(body[:MOST_BYTES])
            alert = str(content["title"]), str(content["text"])
        except (ValueError, KeyError, TypeError):
            return Response(status_code=400)
        if time.monotonic() - self._last.get(alert, -ONCE_WITHIN_S) >= ONCE_WITHIN_S:
            self._last[alert] = time.monotonic()
            if not await asyncio.to_thread(self._pass_on, *alert):
                del self._last[alert]
        return Response(status_code=202)

    def _pass_on(self, title: str, text: str) -> bool:
        """Send and note it; whether all took it whom it was sent to."""
        try:
            places = addresses(os.environ, self._project)
            failed, problem = deliver(places, title, text), ""
        except SlimlineError as error:
            places, failed, problem = (), (), str(error)
        noted = {"at": now_utc(), "title": title, "text": text, "sent": len(places) - len(failed), "failed": failed, "problem": problem}
        with (state_folder(self._project) / NOTED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(noted) + "\n")
        return not (failed or problem)


def main() -> None:
    """Serve until it is ended."""
    project, port = find_project(), int(sys.argv[1])
    passing = Passing(project, os.environ[ALERT_TOKEN])
    app = Starlette(routes=[Route("/{token}", passing.take, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
