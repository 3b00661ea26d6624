"""Writers that remember what they were promised, and the check that the promises were kept."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from vestry.errors import Unavailable, from_rpc_error
from vestry.v1 import config_pb2, config_pb2_grpc

PAGE = 200
TIMEOUT_SECONDS = 20.0

Stub = config_pb2_grpc.ConfigServiceStub


@dataclass
class Writer:
    """Counts upwards in one namespace, each number a version and a request id of its own, as long as the daemon lives.

    A number whose write was not acknowledged is written again, under the same request id, at the next `write`.
    """

    namespace: str
    name: str
    number: int = 1
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    acknowledged: list[tuple[int, int]] = field(default_factory=list)  # numbers, and the versions that they became
    failure: str = ""

    def write(self, stub: Stub) -> None:
        """Write until the daemon is gone. Any other failure than that ends it for good."""
        while not self.failure:
            request = config_pb2.UpdateConfigRequest(
                namespace=self.namespace,
                merge_patch=json.dumps({self.name: self.number}).encode(),
                message=f"{self.name} {self.number}",
                request_id=self.request_id,
            )
            try:
                answer = stub.UpdateConfig(request, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                if not isinstance(from_rpc_error(error), Unavailable):
                    self.failure = str(error)
                return
            self.acknowledged.append((self.number, answer.version))
            self.number += 1
            self.request_id = str(uuid.uuid4())


@dataclass
class History:
    """A namespace's versions: replayed, and checked against what its writers were promised."""

    namespace: str
    writers: Sequence[Writer]
    version: int = 1
    document: dict[str, int] = field(default_factory=dict)  # writer's name -> its last number
    places: dict[tuple[str, int], int] = field(default_factory=dict)  # writer's name and its number -> the version

    def check(self, stub: Stub) -> None:
        """Replay the versions that are new.

        Each must be the next one, and its content what its predecessor and its message make of it. The numbers of each
        writer must follow each other: a write that was lost leaves a gap, one that was done twice repeats its number.
        """
        for version in self._new_versions(stub):
            name, _, text = version.message.partition(" ")
            number = int(text)
            assert version.version == self.version + 1
            assert number == self.document.get(name, 0) + 1
            self.version = self.places[name, number] = version.version
            self.document[name] = number
            assert version.checksum == _checksum(self.document)
        for writer in self.writers:
            for number, promised in writer.acknowledged:
                assert self.places.get((writer.name, number)) == promised
            writer.acknowledged.clear()

    def _new_versions(self, stub: Stub) -> list[config_pb2.ConfigVersion]:
        found: list[config_pb2.ConfigVersion] = []
        request = config_pb2.ListConfigVersionsRequest(namespace=self.namespace, page_size=PAGE)
        while True:
            page = stub.ListConfigVersions(request, timeout=TIMEOUT_SECONDS)
            found += [one for one in page.versions if one.version > self.version]
            request.page_token = page.next_page_token
            if not request.page_token or page.versions[-1].version <= self.version:
                return found[::-1]


def _checksum(document: dict[str, int]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
