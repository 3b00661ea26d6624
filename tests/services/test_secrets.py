from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from structlog.testing import capture_logs

from services.daemon import reason_of
from services.secret_calls import CANARY, keeping, put, refusal, value_of
from vestry.v1 import secrets_pb2 as pb

HOUR = Duration(seconds=3600)


class TestValues:
    """Writing and reading."""

    async def test_what_is_written_can_be_read(self) -> None:
        """To the byte, with its version and the time that it was made."""
        async with keeping() as services:
            written = await put(services, value=bytes(range(256)))
            assert (written.version, written.secret.current_version, written.secret.author) == (1, 1, "user:tester")
            assert written.revision.store_id == services.engine.store.store_id
            read = await services.ask("AccessSecret", pb.AccessSecretRequest(name="key"))
            assert (read.value, read.version, read.HasField("expire_time")) == (bytes(range(256)), 1, False)
            assert read.create_time.ToDatetime(UTC) == services.engine.clock.now()

    async def test_a_secret_is_told_whole(self) -> None:
        """Each setting that was written comes back; nothing of the value does."""
        settings = pb.SecretSettings(
            description="for the tests",
            tags={"team": "billing"},
            rotation=pb.RotationPolicy(period=HOUR, grace=Duration(seconds=60), generator=_hex(16)),
        )
        settings.expire_time.FromDatetime(datetime(2030, 1, 1, tzinfo=UTC))
        async with keeping() as services:
            await put(services, settings=settings, namespace="billing")
            answer = await services.ask("GetSecret", pb.GetSecretRequest(namespace="billing", name="key"))
            told = answer.secret
            assert (told.namespace, told.name, told.description) == ("billing", "key", "for the tests")
            assert (dict(told.tags), told.rotation, told.expire_time) == (
                {"team": "billing"},
                settings.rotation,
                settings.expire_time,
            )
            assert told.rotation_state == pb.ROTATION_STATE_SCHEDULED
            due = services.engine.clock.now() + timedelta(hours=1)
            assert told.next_rotation_time.ToDatetime(UTC) == due
            assert answer.revision.revision == services.kept.secrets.revision
            assert CANARY not in answer.SerializeToString()

    @pytest.mark.parametrize(
        ("generator", "size"),
        [
            (pb.Generator(password=pb.PasswordGenerator()), 32),
            (pb.Generator(password=pb.PasswordGenerator(length=8, digits=True, symbols="+-", exclude="0")), 8),
            (pb.Generator(hex=pb.HexGenerator()), 64),
            (pb.Generator(base64=pb.Base64Generator(bytes=8, url_safe=True)), 11),
            (pb.Generator(uuid=pb.UuidGenerator()), 36),
        ],
    )
    async def test_a_value_can_be_made(self, generator: pb.Generator, size: int) -> None:
        """By any generator; 0 means its usual size."""
        async with keeping() as services:
            await services.ask("PutSecret", pb.PutSecretRequest(name="key", generator=generator))
            assert len(await value_of(services)) == size

    async def test_the_public_key_of_a_pair_is_known(self) -> None:
        """Of the version; the private one is the value."""
        pair = pb.Generator(key_pair=pb.KeyPairGenerator(algorithm=pb.KEY_PAIR_ALGORITHM_ED25519))
        async with keeping() as services:
            await services.ask("PutSecret", pb.PutSecretRequest(name="key", generator=pair))
            (version,) = (await services.ask("ListSecretVersions", _versions())).versions
            assert version.public_key.startswith("-----BEGIN PUBLIC KEY-----")
            assert (await value_of(services)).startswith(b"-----BEGIN PRIVATE KEY-----")

    async def test_a_repeated_request_is_answered_again(self) -> None:
        """And its id can't stand for another one."""
        async with keeping() as services:
            first, second = await put(services, request_id="r"), await put(services, request_id="r")
            assert (first.version, second.version) == (1, 1)
            other = pb.PutSecretRequest(name="key", value=b"other", request_id="r")
            assert await reason_of(services, "PutSecret", other) == "REQUEST_ID_REUSED"

    @pytest.mark.parametrize("expected", [0, 2])
    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("PutSecret", pb.PutSecretRequest(name="key", value=b"v")),
            ("RotateSecret", pb.RotateSecretRequest(name="key", value=b"v")),
            ("DeleteSecret", pb.DeleteSecretRequest(name="key")),
        ],
    )
    async def test_a_writer_may_say_which_version_it_believes_in(
        self, method: str, request_: Any, expected: int
    ) -> None:
        """0 is said, too: it means that there is none."""
        async with keeping() as services:
            await put(services)
            request_.expected_version = expected
            assert await reason_of(services, method, request_) == "VERSION_MISMATCH"
            request_.expected_version = 1
            await services.ask(method, request_)


class TestTheLife:
    """What becomes of a secret."""

    async def test_settings_change_by_field(self) -> None:
        """Those in the mask; without one, all."""
        async with keeping() as services:
            await put(services, settings=pb.SecretSettings(description="old", tags={"a": "b"}))
            request = pb.UpdateSecretRequest(
                name="key",
                settings=pb.SecretSettings(description="new"),
                update_mask=FieldMask(paths=["description"]),
            )
            told = (await services.ask("UpdateSecret", request)).secret
            assert (told.description, dict(told.tags)) == ("new", {"a": "b"})
            request.ClearField("update_mask")
            told = (await services.ask("UpdateSecret", request)).secret
            assert (told.description, dict(told.tags), told.current_version) == ("new", {}, 1)

    async def test_a_rotation_in_two_steps(self) -> None:
        """Pending, current, and the one before works on for the grace period that the call says."""
        async with keeping() as services:
            await put(services, value=b"old")
            request = pb.RotateSecretRequest(name="key", step=pb.ROTATION_STEP_PENDING, value=b"new")
            assert (await services.ask("RotateSecret", request)).secret.pending_version == 2
            assert await value_of(services, label=pb.SECRET_LABEL_PENDING) == b"new"
            request = pb.RotateSecretRequest(name="key", step=pb.ROTATION_STEP_PROMOTE, grace=HOUR)
            told = (await services.ask("RotateSecret", request)).secret
            assert (told.current_version, told.previous_version, told.pending_version) == (2, 1, 0)
            until = services.engine.clock.now() + timedelta(hours=1)
            assert told.previous_until_time.ToDatetime(UTC) == until
            assert await value_of(services, label=pb.SECRET_LABEL_PREVIOUS) == b"old"
            services.engine.clock.advance(hours=1)
            told = (await services.ask("GetSecret", pb.GetSecretRequest(name="key"))).secret
            assert not told.HasField("previous_until_time")
            gone = pb.AccessSecretRequest(name="key", label=pb.SECRET_LABEL_PREVIOUS)
            assert await reason_of(services, "AccessSecret", gone) == "SECRET_UNUSABLE"

    async def test_a_secret_makes_its_own_new_value(self) -> None:
        """By the generator of its policy."""
        async with keeping() as services:
            await put(services, settings=pb.SecretSettings(rotation=pb.RotationPolicy(generator=_hex(16))))
            assert (await services.ask("RotateSecret", pb.RotateSecretRequest(name="key"))).version == 2
            assert len(await value_of(services)) == 32

    async def test_deleted_and_undeleted(self) -> None:
        """It is known still, but can't be had; and then it can."""
        async with keeping() as services:
            await put(services)
            await services.ask("DeleteSecret", pb.DeleteSecretRequest(name="key"))
            assert await reason_of(services, "AccessSecret", pb.AccessSecretRequest(name="key")) == "SECRET_NOT_FOUND"
            assert (await services.ask("GetSecret", pb.GetSecretRequest(name="key"))).secret.HasField("delete_time")
            await services.ask("UndeleteSecret", pb.UndeleteSecretRequest(name="key"))
            assert await value_of(services) == CANARY

    async def test_a_destroyed_version_is_gone(self) -> None:
        """What is known of it stays."""
        async with keeping() as services:
            await put(services)
            await put(services, value=b"new")
            await services.ask("DestroySecretVersion", pb.DestroySecretVersionRequest(name="key", version=1))
            new, old = (await services.ask("ListSecretVersions", _versions())).versions
            assert (new.state, new.size, new.term) == (pb.SECRET_VERSION_STATE_CURRENT, 3, 1)
            assert (old.state, old.size, old.term) == (pb.SECRET_VERSION_STATE_DESTROYED, len(CANARY), 0)
            assert old.HasField("destroy_time")
            gone = pb.AccessSecretRequest(name="key", version=1)
            assert await reason_of(services, "AccessSecret", gone) == "SECRET_UNUSABLE"

    async def test_the_keyring_rotates(self) -> None:
        """A new term is active at once, and the versions of the old one are left to be wrapped again."""
        async with keeping() as services:
            await put(services)
            assert (await services.ask("RotateKeyring", pb.RotateKeyringRequest())).term == 2
            status = await services.ask("RewrapStatus", pb.RewrapStatusRequest())
            assert (status.remaining, status.done, status.running) == (1, 0, False)
            assert [(one.term, one.state, one.versions, one.wraps) for one in status.terms] == [
                (1, pb.KEYRING_TERM_STATE_DECRYPT_ONLY, 1, 1),
                (2, pb.KEYRING_TERM_STATE_ACTIVE, 0, 0),
            ]


class TestSilence:
    """What nobody is told."""

    async def test_no_value_is_in_a_log_or_an_error(self) -> None:
        """Whether it is written, read, repeated, or refused; and the log says which secret it was."""
        with capture_logs() as logs:
            async with keeping() as services:
                refusals = [
                    await refusal(services, "PutSecret", pb.PutSecretRequest(name="..", value=CANARY)),
                    await refusal(services, "PutSecret", pb.PutSecretRequest(name="key", value=CANARY * 4096)),
                    await refusal(services, "RotateSecret", pb.RotateSecretRequest(name="key", value=CANARY)),
                ]
                await put(services)
                await services.ask("RotateSecret", pb.RotateSecretRequest(name="key", value=CANARY))
                await value_of(services)
                promote = pb.RotateSecretRequest(name="key", step=pb.ROTATION_STEP_PROMOTE, value=CANARY)
                refusals.append(await refusal(services, "RotateSecret", promote))
                records = await services.audit.read(after=0, limit=1000)
        told = repr(logs) + repr([one.message for one in refusals]) + repr(records)
        assert CANARY.decode() not in told
        (access,) = (one for one in logs if "AccessSecret" in one.get("method", ""))
        assert (access["namespace"], access["name"], access["version"]) == ("default", "key", 2)

    async def test_an_access_is_in_the_audit_log_under_the_calls_own_id(self) -> None:
        """So that the two can be put side by side."""
        async with keeping() as services:
            await put(services)
            with capture_logs() as logs:
                await value_of(services)
            record = (await services.audit.read(after=0, limit=1000))[-1]
            assert (record.action, record.resource) == ("secrets.access", "namespaces/default/secrets/key")
            assert record.request_id == logs[-1]["request_id"]

    async def test_who_may_not_is_told_nothing_of_it(self) -> None:
        """Not even whether it is there."""
        async with keeping() as services:
            await put(services)
            for name in ("key", "none"):
                services.door.closed.add(("secrets.access", f"namespaces/default/secrets/{name}"))
            here = await refusal(services, "AccessSecret", pb.AccessSecretRequest(name="key"))
            there = await refusal(services, "AccessSecret", pb.AccessSecretRequest(name="none"))
            assert here.reason == there.reason == "PERMISSION_DENIED"
            assert here.message == there.message


SEALED: list[tuple[str, Any]] = [
    ("PutSecret", pb.PutSecretRequest(name="key", value=b"v")),
    ("UpdateSecret", pb.UpdateSecretRequest(name="key", settings=pb.SecretSettings())),
    ("GetSecret", pb.GetSecretRequest(name="key")),
    ("AccessSecret", pb.AccessSecretRequest(name="key")),
    ("ListSecrets", pb.ListSecretsRequest()),
    ("ListSecretVersions", pb.ListSecretVersionsRequest(name="key")),
    ("DeleteSecret", pb.DeleteSecretRequest(name="key")),
    ("UndeleteSecret", pb.UndeleteSecretRequest(name="key")),
    ("DestroySecretVersion", pb.DestroySecretVersionRequest(name="key", version=1)),
    ("RotateSecret", pb.RotateSecretRequest(name="key", value=b"v")),
    ("GetRotationStatus", pb.GetRotationStatusRequest()),
    ("RotateKeyring", pb.RotateKeyringRequest()),
    ("RewrapStatus", pb.RewrapStatusRequest()),
    (
        "ImportSecrets",
        pb.ImportSecretsRequest(secrets=[pb.ImportedSecret(name="key", value=b"v")]),
    ),
]


@pytest.mark.parametrize(("method", "request_"), SEALED, ids=[method for method, _ in SEALED])
async def test_sealed_every_method_says_so(method: str, request_: Any) -> None:
    """And nothing of what was known before."""
    async with keeping() as services:
        await put(services)
        await services.kept.vault.seal(services.callers.caller)
        assert await reason_of(services, method, request_) == "SEALED"


def _versions() -> pb.ListSecretVersionsRequest:
    return pb.ListSecretVersionsRequest(name="key")


def _hex(size: int) -> pb.Generator:
    return pb.Generator(hex=pb.HexGenerator(bytes=size))
