"""What a model's side of the queue makes of several jobs at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

from slimline.serving.batches import Job, Run


def worked_on(run: Run, given: Sequence[Any]) -> list[Any]:
    """What each of them is told: its answer, or why there is none."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        jobs = [Job(one, 1, loop, loop.create_future()) for one in given]
        await asyncio.to_thread(run, jobs)
        return list(await asyncio.gather(*(job.future for job in jobs), return_exceptions=True))

    return asyncio.run(main())
