"""Many watchers in one process, with a connection each: `python fleet.py <target> <count>`.

It prints `ready` once each has the state. For each line `<version>` that it reads, it prints how many updates have come in
all as soon as each watcher has that version. SIGSTOP makes it a process that never reads.
"""

from __future__ import annotations

import asyncio
import os
import sys

import grpc.aio

from vestry.v1 import config_pb2, config_pb2_grpc

CONNECT_AT_ONCE = 50
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)  # channels to one target share a connection otherwise


class Fleet:
    """The watchers, and how far they have come."""

    def __init__(self, count: int, token: str) -> None:
        self._credentials = (("authorization", f"Bearer {token}"),)
        self.updates = 0
        self._versions = [0] * count  # watcher -> the newest version that it has
        self._wanted = 0
        self._behind: set[int] = set()  # the watchers that don't have the wanted version
        self._arrived = asyncio.Event()
        self._connecting = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def all_at(self, version: int) -> None:
        """Return once each watcher has `version`."""
        self._wanted = version
        self._arrived.clear()
        self._behind = {number for number, reached in enumerate(self._versions) if reached < version}
        if self._behind:
            await self._arrived.wait()

    async def watch(self, target: str, number: int) -> None:
        """Be one watcher."""
        async with grpc.aio.insecure_channel(target, options=OWN_CONNECTION) as channel:
            stub = config_pb2_grpc.ConfigServiceStub(channel)
            call = stub.WatchConfig(config_pb2.WatchConfigRequest(), metadata=self._credentials)
            async with self._connecting:
                self._take(number, await call.read())
            while True:
                self._take(number, await call.read())

    def _take(self, number: int, message: object) -> None:
        """Take what `read` returned, which is a message until the stream ends."""
        assert isinstance(message, config_pb2.WatchConfigResponse)
        if not message.HasField("update"):
            return
        self.updates += 1
        self._versions[number] = message.update.version
        if message.update.version >= self._wanted:
            self._behind.discard(number)
            if not self._behind:
                self._arrived.set()


async def main(target: str, count: int) -> None:
    """Be the fleet until killed, or until the stream of one of the watchers ends."""
    fleet = Fleet(count, os.environ["VESTRY_TOKEN"])
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(fleet.watch(target, number))
        await fleet.all_at(1)
        _say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            await fleet.all_at(int(line))
            _say(fleet.updates)


def _say(what: object) -> None:
    print(what, flush=True)  # noqa: T201 - it is a program, and this is what it says


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
