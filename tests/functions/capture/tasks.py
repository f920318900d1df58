"""asyncio tasks that print and log in turns; one of them fails and nobody looks."""

import asyncio
import gc
import logging

log = logging.getLogger("tasks")
log.setLevel(logging.INFO)


async def work(number):
    for line in range(3):
        print("printed by", number, "line", line)
        await asyncio.sleep(0)
        log.info("logged by %s line %s", number, line, extra={"worker": number})
        await asyncio.sleep(0)


async def fail():
    raise LookupError("in a task")


async def main():
    failing = asyncio.ensure_future(fail())
    await asyncio.gather(*(work(number) for number in range(3)))
    del failing
    gc.collect()


def handler(event, context):
    asyncio.run(main())
