from __future__ import annotations

from typing import Any

import pytest

from services.daemon import Refused, Services, reason_of
from services.secret_calls import CANARY, keeping, put, value_of
from vestry.v1 import secrets_pb2 as pb

PASSPHRASE = "correct horse battery"


async def exported(services: Services, **fields: Any) -> list[pb.ExportSecretsResponse]:
    """Return the files of an export."""
    request = pb.ExportSecretsRequest(**{"passphrase": PASSPHRASE, **fields})
    return [one async for one in services.stream("ExportSecrets", request)]


def imported(*secrets: pb.ImportedSecret, **fields: Any) -> pb.ImportSecretsRequest:
    """Return the request of an import."""
    return pb.ImportSecretsRequest(secrets=secrets, **fields)


async def test_what_is_exported_can_be_imported() -> None:
    """By another daemon too, in the same namespace; without the passphrase the files tell nothing."""
    async with keeping() as services:
        await put(services, "a")
        await put(services, "b", b"new")
        files = await exported(services)
        assert [(one.name, one.version) for one in files] == [("a", 1), ("b", 1)]
        assert CANARY not in b"".join(one.file for one in files)
    async with keeping() as services:
        request = imported(*(pb.ImportedSecret(file=one.file) for one in files), passphrase=PASSPHRASE)
        answer = await services.ask("ImportSecrets", request)
        created = pb.IMPORT_OUTCOME_CREATED
        assert [(one.name, one.outcome, one.version) for one in answer.results] == [
            ("a", created, 1),
            ("b", created, 1),
        ]
        assert await value_of(services, "a") == CANARY
        request.passphrase = "correct horse batterie"
        assert await reason_of(services, "ImportSecrets", request) == "UNLOCK_REFUSED"
        request.passphrase, request.namespace = PASSPHRASE, "other"
        assert await reason_of(services, "ImportSecrets", request) == "INVALID_FIELD"


async def test_names_choose_what_is_exported() -> None:
    """One that isn't there ends the export before it begins."""
    async with keeping() as services:
        await put(services, "a")
        await put(services, "b")
        assert [one.name for one in await exported(services, names=["b"])] == ["b"]
        for names, reason in ((["none"], "SECRET_NOT_FOUND"), (["b", "../a"], "INVALID_FIELD")):
            with pytest.raises(Refused) as caught:
                await exported(services, names=names)
            assert caught.value.reason == reason


@pytest.mark.parametrize("passphrase", ["", "too short"])
async def test_a_weak_passphrase_is_refused(passphrase: str) -> None:
    """Before anything is sent."""
    async with keeping() as services:
        await put(services)
        with pytest.raises(Refused, match="UNLOCK_REFUSED"):
            await exported(services, passphrase=passphrase)


async def test_sealed_nothing_is_exported() -> None:
    """The stream says why."""
    async with keeping() as services:
        await services.kept.vault.seal(services.callers.caller)
        with pytest.raises(Refused, match="SEALED"):
            await exported(services)


@pytest.mark.parametrize(
    ("conflict", "outcome", "version"),
    [
        (pb.IMPORT_CONFLICT_SKIP, pb.IMPORT_OUTCOME_SKIPPED, 1),
        (pb.IMPORT_CONFLICT_REPLACE, pb.IMPORT_OUTCOME_REPLACED, 2),
    ],
)
async def test_a_secret_that_is_there_already(
    conflict: pb.ImportConflict.ValueType, outcome: pb.ImportOutcome.ValueType, version: int
) -> None:
    """Is skipped, replaced, or the reason to refuse all; one with the same value stays in any case."""
    async with keeping() as services:
        await put(services, "there", b"old")
        await put(services, "same", b"same")
        request = imported(
            pb.ImportedSecret(name="there", value=b"new"),
            pb.ImportedSecret(name="same", value=b"same"),
            pb.ImportedSecret(name="fresh", value=b"v"),
        )
        assert await reason_of(services, "ImportSecrets", request) == "VERSION_MISMATCH"
        assert await reason_of(services, "GetSecret", pb.GetSecretRequest(name="fresh")) == "SECRET_NOT_FOUND"
        request.conflict = conflict
        expected = [outcome, pb.IMPORT_OUTCOME_UNCHANGED, pb.IMPORT_OUTCOME_CREATED]
        request.dry_run = True
        assert [one.outcome for one in (await services.ask("ImportSecrets", request)).results] == expected
        assert await reason_of(services, "GetSecret", pb.GetSecretRequest(name="fresh")) == "SECRET_NOT_FOUND"
        request.dry_run = False
        results = (await services.ask("ImportSecrets", request)).results
        assert ([one.outcome for one in results], results[0].version) == (expected, version)


async def test_an_import_has_its_limit() -> None:
    """One commit takes it, or nothing."""
    async with keeping() as services:
        request = imported(*(pb.ImportedSecret(name=f"s{number}", value=b"v") for number in range(31)))
        assert await reason_of(services, "ImportSecrets", request) == "LIMIT_EXCEEDED"
        del request.secrets[30]
        assert len((await services.ask("ImportSecrets", request)).results) == 30
