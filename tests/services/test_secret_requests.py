"""What requests about secrets can't say: each is refused, with the field's name, and nothing is written."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.daemon import Services
from services.secret_calls import keeping, put, refusal
from vestry.v1 import secrets_pb2 as pb

NAMES = ["", ".", "..", "a..b", "../a", "a/b", "a\0b", "-a", "a-", "e\u0301", "\ufb01", "x" * 4096]
FOREVER = Duration(seconds=315_576_000_001)  # more than a Duration can hold


def rotation(**fields: Any) -> pb.SecretSettings:
    """Return settings with a rotation policy."""
    return pb.SecretSettings(rotation=pb.RotationPolicy(**fields))


async def blamed(services: Services, method: str, request: Any) -> str:
    """Return the field that is to blame."""
    refused = await refusal(services, method, request)
    assert refused.reason == "INVALID_FIELD"
    return refused.message.partition(":")[0]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_can_not_be_one_is_refused_everywhere(name: str) -> None:
    """Before anybody looks whether it is there."""
    requests: dict[str, Any] = {
        "PutSecret": pb.PutSecretRequest(name=name, value=b"v"),
        "UpdateSecret": pb.UpdateSecretRequest(name=name, settings=pb.SecretSettings()),
        "GetSecret": pb.GetSecretRequest(name=name),
        "AccessSecret": pb.AccessSecretRequest(name=name),
        "ListSecretVersions": pb.ListSecretVersionsRequest(name=name),
        "DeleteSecret": pb.DeleteSecretRequest(name=name),
        "UndeleteSecret": pb.UndeleteSecretRequest(name=name),
        "DestroySecretVersion": pb.DestroySecretVersionRequest(name=name, version=1),
        "RotateSecret": pb.RotateSecretRequest(name=name, value=b"v"),
    }
    async with keeping() as services:
        assert {await blamed(services, method, request) for method, request in requests.items()} == {"name"}


@pytest.mark.parametrize("namespace", ["..", "a/b", "a\0", "Billing", "x" * 64])
async def test_a_namespace_that_can_not_be_one_is_refused(namespace: str) -> None:
    """In lists and imports as well."""
    requests: dict[str, Any] = {
        "GetSecret": pb.GetSecretRequest(namespace=namespace, name="key"),
        "ListSecrets": pb.ListSecretsRequest(namespace=namespace),
        "GetRotationStatus": pb.GetRotationStatusRequest(namespace=namespace),
        "ImportSecrets": pb.ImportSecretsRequest(namespace=namespace),
    }
    async with keeping() as services:
        assert {await blamed(services, method, request) for method, request in requests.items()} == {"namespace"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "content"),
        ({"value": b""}, "value"),
        ({"value": bytes(65_537)}, "value"),
        ({"generator": pb.Generator()}, "generator"),
        ({"generator": pb.Generator(password=pb.PasswordGenerator(length=7))}, "generator.password.length"),
        ({"generator": pb.Generator(password=pb.PasswordGenerator(length=1025))}, "generator.password.length"),
        ({"generator": pb.Generator(password=pb.PasswordGenerator(symbols="é"))}, "generator.password.symbols"),
        (
            {"generator": pb.Generator(password=pb.PasswordGenerator(digits=True, exclude="0123456789"))},
            "generator.password.exclude",
        ),
        ({"generator": pb.Generator(hex=pb.HexGenerator(bytes=-1))}, "generator.hex.bytes"),
        ({"generator": pb.Generator(base64=pb.Base64Generator(bytes=4097))}, "generator.base64.bytes"),
        ({"generator": pb.Generator(key_pair=pb.KeyPairGenerator())}, "generator.key_pair.algorithm"),
        (
            {"generator": pb.Generator(key_pair=pb.KeyPairGenerator(algorithm=pb.KeyPairAlgorithm.ValueType(99)))},
            "generator.key_pair.algorithm",
        ),
        ({"value": b"v", "expected_version": -1}, "expected_version"),
        ({"value": b"v", "request_id": "x" * 129}, "request_id"),
        ({"value": b"v", "request_id": "a\nb"}, "request_id"),
        ({"value": b"v", "settings": pb.SecretSettings(description="x" * 1025)}, "settings.description"),
        ({"value": b"v", "settings": pb.SecretSettings(tags={"": "x"})}, "settings.tags"),
        ({"value": b"v", "settings": pb.SecretSettings(tags={"x": "y" * 257})}, "settings.tags"),
        ({"value": b"v", "settings": pb.SecretSettings(tags={str(n): "" for n in range(33)})}, "settings.tags"),
        (
            {"value": b"v", "settings": pb.SecretSettings(expire_time=Timestamp(seconds=-(10**12)))},
            "settings.expire_time",
        ),
        (
            {"value": b"v", "settings": pb.SecretSettings(expire_time=Timestamp(nanos=-1))},
            "settings.expire_time",
        ),
        ({"value": b"v", "settings": rotation(period=Duration(seconds=59))}, "settings.rotation.period"),
        ({"value": b"v", "settings": rotation(period=Duration(seconds=-1))}, "settings.rotation.period"),
        ({"value": b"v", "settings": rotation(period=FOREVER)}, "settings.rotation.period"),
        ({"value": b"v", "settings": rotation(period=Duration(seconds=2**62))}, "settings.rotation.period"),
        ({"value": b"v", "settings": rotation(grace=Duration(seconds=-1))}, "settings.rotation.grace"),
        ({"value": b"v", "settings": rotation(grace=Duration(seconds=367 * 86_400))}, "settings.rotation.grace"),
        ({"value": b"v", "settings": rotation(generator=pb.Generator())}, "settings.rotation.generator"),
        (
            {"value": b"v", "settings": rotation(generator=pb.Generator(hex=pb.HexGenerator(bytes=1)))},
            "settings.rotation.generator.hex.bytes",
        ),
    ],
)
async def test_what_can_not_be_put(fields: dict[str, Any], field: str) -> None:
    """The field is named by its path, and there is no secret afterwards."""
    async with keeping() as services:
        assert await blamed(services, "PutSecret", pb.PutSecretRequest(name="key", **fields)) == field
        assert (await refusal(services, "GetSecret", pb.GetSecretRequest(name="key"))).reason == "SECRET_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("UpdateSecret", pb.UpdateSecretRequest(name="key"), "settings"),
        (
            "UpdateSecret",
            pb.UpdateSecretRequest(
                name="key", settings=pb.SecretSettings(), update_mask=FieldMask(paths=["tags", "value"])
            ),
            "update_mask",
        ),
        ("AccessSecret", pb.AccessSecretRequest(name="key", version=-1), "version"),
        ("AccessSecret", pb.AccessSecretRequest(name="key", label=pb.SecretLabel.ValueType(9)), "label"),
        ("DestroySecretVersion", pb.DestroySecretVersionRequest(name="key"), "version"),
        ("DeleteSecret", pb.DeleteSecretRequest(name="key", expected_version=-1), "expected_version"),
        ("RotateSecret", pb.RotateSecretRequest(name="key", step=pb.RotationStep.ValueType(9)), "step"),
        ("RotateSecret", pb.RotateSecretRequest(name="key", value=b"v", grace=Duration(seconds=-1)), "grace"),
        ("RotateSecret", pb.RotateSecretRequest(name="key", value=b"v", grace=Duration(seconds=2**62)), "grace"),
        ("RotateSecret", pb.RotateSecretRequest(name="key"), "value"),
        ("RotateSecret", pb.RotateSecretRequest(name="key", value=b""), "value"),
        ("RotateSecret", pb.RotateSecretRequest(name="key", step=pb.ROTATION_STEP_PROMOTE, value=b"v"), "step"),
        ("RotateSecret", pb.RotateSecretRequest(name="key", value=b"v", request_id="é"), "request_id"),
        ("ListSecrets", pb.ListSecretsRequest(page_size=-1), "page_size"),
        ("ListSecretVersions", pb.ListSecretVersionsRequest(name="key", page_size=-1), "page_size"),
        ("GetRotationStatus", pb.GetRotationStatusRequest(page_size=-1), "page_size"),
        ("ImportSecrets", pb.ImportSecretsRequest(), "secrets"),
        ("ImportSecrets", pb.ImportSecretsRequest(secrets=[pb.ImportedSecret(name="a")]), "secrets[0]"),
        (
            "ImportSecrets",
            pb.ImportSecretsRequest(
                secrets=[pb.ImportedSecret(name="a", value=b"v"), pb.ImportedSecret(name="a/b", value=b"v")]
            ),
            "secrets[1].name",
        ),
        (
            "ImportSecrets",
            pb.ImportSecretsRequest(secrets=[pb.ImportedSecret(name="a", value=b"")]),
            "secrets[0].value",
        ),
        (
            "ImportSecrets",
            pb.ImportSecretsRequest(
                secrets=[pb.ImportedSecret(name="a", value=b"v")], conflict=pb.ImportConflict.ValueType(9)
            ),
            "conflict",
        ),
    ],
)
async def test_what_can_not_be_asked(method: str, request_: Any, field: str) -> None:
    """The field is named by its path, and the secret stays as it is."""
    async with keeping() as services:
        before = (await put(services)).secret
        assert await blamed(services, method, request_) == field
        assert (await services.ask("GetSecret", pb.GetSecretRequest(name="key"))).secret == before


@pytest.mark.parametrize("token", ["garbage", "c2VjcmV0cw==", "é"])
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListSecrets", pb.ListSecretsRequest()),
        ("ListSecretVersions", pb.ListSecretVersionsRequest(name="key")),
        ("GetRotationStatus", pb.GetRotationStatusRequest()),
    ],
)
async def test_a_page_token_that_nobody_gave_is_refused(method: str, request_: Any, token: str) -> None:
    """In every list."""
    async with keeping() as services:
        await put(services)
        request_.page_token = token
        assert (await refusal(services, method, request_)).reason == "PAGE_TOKEN_INVALID"
