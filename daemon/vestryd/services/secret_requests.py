"""What requests about secrets hold: from fields to the domain's terms, checked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from vestry.v1 import secrets_pb2 as pb
from vestryd.domain.errors import InvalidField
from vestryd.domain.names import check_namespace, check_secret
from vestryd.domain.secrets.generators import DEFAULT_SIZE, Base64, Generator, Hex, KeyPair, Password, Uuid
from vestryd.domain.secrets.heads import Label
from vestryd.domain.secrets.rotation import NO_GRACE, RotationPolicy, RotationStep
from vestryd.domain.secrets.settings import FIELDS, Settings
from vestryd.domain.secrets.transfer import ImportConflict, ImportItem
from vestryd.services.call import Call
from vestryd.services.common_requests import span
from vestryd.services.secret_messages import KEY_PAIR_ALGORITHMS

_ALGORITHMS = {number: algorithm for algorithm, number in KEY_PAIR_ALGORITHMS.items()}
_LABELS = {
    pb.SECRET_LABEL_UNSPECIFIED: Label.CURRENT,
    pb.SECRET_LABEL_CURRENT: Label.CURRENT,
    pb.SECRET_LABEL_PREVIOUS: Label.PREVIOUS,
    pb.SECRET_LABEL_PENDING: Label.PENDING,
}
_STEPS = {
    pb.ROTATION_STEP_UNSPECIFIED: RotationStep.ALL,
    pb.ROTATION_STEP_PENDING: RotationStep.PENDING,
    pb.ROTATION_STEP_PROMOTE: RotationStep.PROMOTE,
    pb.ROTATION_STEP_ABANDON: RotationStep.ABANDON,
}
_CONFLICTS = {
    pb.IMPORT_CONFLICT_UNSPECIFIED: ImportConflict.REFUSE,
    pb.IMPORT_CONFLICT_SKIP: ImportConflict.SKIP,
    pb.IMPORT_CONFLICT_REPLACE: ImportConflict.REPLACE,
}

# What names one secret.
Named = (
    pb.PutSecretRequest
    | pb.UpdateSecretRequest
    | pb.GetSecretRequest
    | pb.AccessSecretRequest
    | pb.ListSecretVersionsRequest
    | pb.DeleteSecretRequest
    | pb.UndeleteSecretRequest
    | pb.DestroySecretVersionRequest
    | pb.RotateSecretRequest
)


def namespace_and_name(request: Named, call: Call) -> tuple[str, str]:
    """Return which secret is meant, and note it for the log. Raises InvalidField."""
    found = check_namespace(request.namespace)
    name = check_secret(request.name)
    call.facts.update(namespace=found, name=name)
    return found, name


def namespace(named: str, call: Call) -> str:
    """Return which namespace is meant, and note it for the log. Raises InvalidField."""
    found = check_namespace(named)
    call.facts["namespace"] = found
    return found


def version(number: int, *, smallest: int) -> int:
    """Return a version's number; 0, where that is allowed, means the one with the label. Raises InvalidField."""
    if number < smallest:
        raise InvalidField("version", "a version is 1 or more")
    return number


def expected_version(
    request: pb.PutSecretRequest | pb.RotateSecretRequest | pb.DeleteSecretRequest,
) -> int | None:
    """Return the current version that the caller believes in, None when it doesn't matter. Raises InvalidField."""
    if not request.HasField("expected_version"):
        return None
    if request.expected_version < 0:
        raise InvalidField("expected_version", "a version is 1 or more; 0 means that there is none")
    return request.expected_version


def content(request: pb.PutSecretRequest | pb.RotateSecretRequest) -> bytes | Generator | None:
    """Return the value, or what makes it; None for neither. Raises InvalidField."""
    match request.WhichOneof("content"):
        case "value":
            return request.value
        case "generator":
            return generator("generator", request.generator)
        case _:
            return None


def settings(request: pb.PutSecretRequest | pb.UpdateSecretRequest) -> Settings | None:
    """Return what is to be known of a secret, None when the request doesn't say. Raises InvalidField."""
    if not request.HasField("settings"):
        return None
    said = request.settings
    return Settings(
        description=said.description,
        tags=dict(said.tags),
        rotation=_rotation("settings.rotation", said.rotation) if said.HasField("rotation") else None,
        expire_time=_time("settings.expire_time", said.expire_time) if said.HasField("expire_time") else None,
    )


def fields(mask: FieldMask) -> frozenset[str]:
    """Return the fields of the settings that an update is about. Raises InvalidField."""
    unknown = set(mask.paths) - FIELDS
    if unknown:
        known = ", ".join(sorted(FIELDS))
        raise InvalidField("update_mask", f"{min(unknown)[:80]!r} is none of a secret's settings: they are {known}")
    return frozenset(mask.paths) or FIELDS


def grace(request: pb.RotateSecretRequest) -> timedelta | None:
    """Return how long the current value is to work on, None when the rotation policy says. Raises InvalidField."""
    return span("grace", request.grace) if request.HasField("grace") else None


def label(number: pb.SecretLabel.ValueType) -> Label:
    """Return which of a secret's versions is meant. Raises InvalidField."""
    if number not in _LABELS:
        raise InvalidField("label", f"there is no label {number}")
    return _LABELS[number]


def step(number: pb.RotationStep.ValueType) -> RotationStep:
    """Return how far a rotation is to go. Raises InvalidField."""
    if number not in _STEPS:
        raise InvalidField("step", f"there is no step {number}")
    return _STEPS[number]


def generator(where: str, said: pb.Generator) -> Generator:
    """Return what makes values, of which nobody has yet asked whether it can. Raises InvalidField."""
    match said.WhichOneof("kind"):
        case "password":
            one = said.password
            return Password(one.length or DEFAULT_SIZE, one.lower, one.upper, one.digits, one.symbols, one.exclude)
        case "hex":
            return Hex(said.hex.bytes or DEFAULT_SIZE)
        case "base64":
            return Base64(said.base64.bytes or DEFAULT_SIZE, said.base64.url_safe)
        case "uuid":
            return Uuid()
        case "key_pair":
            return _key_pair(f"{where}.key_pair.algorithm", said.key_pair.algorithm)
        case _:
            raise InvalidField(where, "set one of password, hex, base64, uuid and key_pair")


def names(named: Sequence[str]) -> list[str]:
    """Return which secrets are meant. Raises InvalidField."""
    return [_name(f"names[{number}]", one) for number, one in enumerate(named)]


def imports(request: pb.ImportSecretsRequest) -> list[ImportItem]:
    """Return what is to be taken in. Raises InvalidField."""
    return [_import(f"secrets[{number}]", one) for number, one in enumerate(request.secrets)]


def conflict(number: pb.ImportConflict.ValueType) -> ImportConflict:
    """Return what to do with secrets that are there already. Raises InvalidField."""
    if number not in _CONFLICTS:
        raise InvalidField("conflict", f"there is no such choice as {number}")
    return _CONFLICTS[number]


def _import(where: str, one: pb.ImportedSecret) -> ImportItem:
    match one.WhichOneof("content"):
        case "value":
            return ImportItem(_name(f"{where}.name", one.name), value=one.value)
        case "file":
            return ImportItem(_name(f"{where}.name", one.name) if one.name else "", file=one.file)
        case _:
            raise InvalidField(where, "set value or file")


def _name(where: str, named: str) -> str:
    try:
        return check_secret(named)
    except InvalidField as error:
        raise InvalidField(where, error.problem) from error


def _key_pair(where: str, number: pb.KeyPairAlgorithm.ValueType) -> KeyPair:
    if number not in _ALGORITHMS:
        raise InvalidField(where, f"there is no algorithm {number}" if number else "name one")
    return KeyPair(_ALGORITHMS[number])


def _rotation(where: str, said: pb.RotationPolicy) -> RotationPolicy | None:
    policy = RotationPolicy(
        period=span(f"{where}.period", said.period) if said.HasField("period") else None,
        grace=span(f"{where}.grace", said.grace) if said.HasField("grace") else NO_GRACE,
        generator=generator(f"{where}.generator", said.generator) if said.HasField("generator") else None,
    )
    return None if policy == RotationPolicy() else policy


def _time(where: str, said: Timestamp) -> datetime:
    try:
        return said.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(where, "it is no time between the years 1 and 9999") from error
