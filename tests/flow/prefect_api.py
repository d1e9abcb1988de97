"""What a test asks a Prefect server over HTTP: it waits for an answer as long as it takes, since a loaded machine is no failure."""

import httpx

API = httpx.Client(timeout=300, limits=httpx.Limits(max_keepalive_connections=0))
