"""Secrets as the wire tells them: from the domain's facts to messages. Nothing here ever sees a value."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from vestry.v1 import secrets_pb2 as pb
from vestryd.domain.sealing.keyring import TermState
from vestryd.domain.secrets.events import Change, SecretEvent
from vestryd.domain.secrets.generators import Base64, Generator, Hex, KeyPair, KeyPairAlgorithm, Password, Uuid
from vestryd.domain.secrets.heads import Head, Version, VersionState
from vestryd.domain.secrets.rewrap import TermProgress
from vestryd.domain.secrets.rotation import NO_GRACE, RotationPolicy, RotationState
from vestryd.domain.secrets.transfer import Imported, ImportOutcome
from vestryd.services.common_messages import timestamp

_STATES = {
    VersionState.CURRENT: pb.SECRET_VERSION_STATE_CURRENT,
    VersionState.PREVIOUS: pb.SECRET_VERSION_STATE_PREVIOUS,
    VersionState.PENDING: pb.SECRET_VERSION_STATE_PENDING,
    VersionState.OLD: pb.SECRET_VERSION_STATE_OLD,
    VersionState.DESTROYED: pb.SECRET_VERSION_STATE_DESTROYED,
}
_ROTATION_STATES = {
    RotationState.NONE: pb.ROTATION_STATE_UNSPECIFIED,
    RotationState.SCHEDULED: pb.ROTATION_STATE_SCHEDULED,
    RotationState.DUE: pb.ROTATION_STATE_DUE,
    RotationState.OVERDUE: pb.ROTATION_STATE_OVERDUE,
}
_EVENTS = {
    SecretEvent.CHANGED: pb.SECRET_EVENT_UNSPECIFIED,
    SecretEvent.CURRENT_CHANGED: pb.SECRET_EVENT_CURRENT_CHANGED,
    SecretEvent.PENDING_CHANGED: pb.SECRET_EVENT_PENDING_CHANGED,
    SecretEvent.DELETED: pb.SECRET_EVENT_DELETED,
    SecretEvent.UNDELETED: pb.SECRET_EVENT_UNDELETED,
    SecretEvent.VERSION_DESTROYED: pb.SECRET_EVENT_VERSION_DESTROYED,
    SecretEvent.ROTATION_DUE: pb.SECRET_EVENT_ROTATION_DUE,
}
_TERM_STATES = {
    TermState.PENDING: pb.KEYRING_TERM_STATE_PENDING,
    TermState.ACTIVE: pb.KEYRING_TERM_STATE_ACTIVE,
    TermState.DECRYPT_ONLY: pb.KEYRING_TERM_STATE_DECRYPT_ONLY,
    TermState.RETIRED: pb.KEYRING_TERM_STATE_RETIRED,
}
_OUTCOMES = {
    ImportOutcome.CREATED: pb.IMPORT_OUTCOME_CREATED,
    ImportOutcome.REPLACED: pb.IMPORT_OUTCOME_REPLACED,
    ImportOutcome.UNCHANGED: pb.IMPORT_OUTCOME_UNCHANGED,
    ImportOutcome.SKIPPED: pb.IMPORT_OUTCOME_SKIPPED,
}
KEY_PAIR_ALGORITHMS = {
    KeyPairAlgorithm.RSA_3072: pb.KEY_PAIR_ALGORITHM_RSA_3072,
    KeyPairAlgorithm.RSA_4096: pb.KEY_PAIR_ALGORITHM_RSA_4096,
    KeyPairAlgorithm.EC_P256: pb.KEY_PAIR_ALGORITHM_EC_P256,
    KeyPairAlgorithm.EC_P384: pb.KEY_PAIR_ALGORITHM_EC_P384,
    KeyPairAlgorithm.ED25519: pb.KEY_PAIR_ALGORITHM_ED25519,
}


def secret(head: Head, now: datetime) -> pb.Secret:
    """Return what is known of a secret; how it stands to its rotation and its grace period is true at `now`."""
    settings = head.settings
    told = pb.Secret(
        namespace=head.namespace,
        name=head.name,
        description=settings.description,
        tags=settings.tags,
        current_version=head.current,
        previous_version=head.previous,
        pending_version=head.pending,
        newest_version=head.newest,
        create_time=timestamp(head.create_time),
        update_time=timestamp(head.update_time),
        author=head.author,
        rotation=rotation_policy(settings.rotation) if settings.rotation else None,
        rotation_state=_ROTATION_STATES[head.rotation_state(now)],
    )
    if head.previous and head.previous_until and head.previous_until > now:
        told.previous_until_time.FromDatetime(head.previous_until)
    if settings.expire_time:
        told.expire_time.FromDatetime(settings.expire_time)
    if head.delete_time:
        told.delete_time.FromDatetime(head.delete_time)
    if due := head.next_rotation_time:
        told.next_rotation_time.FromDatetime(due)
    return told


def rotation_policy(policy: RotationPolicy) -> pb.RotationPolicy:
    """Return how a secret is rotated."""
    return pb.RotationPolicy(
        period=_duration(policy.period) if policy.period else None,
        grace=_duration(policy.grace) if policy.grace != NO_GRACE else None,
        generator=generator(policy.generator) if policy.generator else None,
    )


def generator(one: Generator) -> pb.Generator:
    """Return what makes a value."""
    match one:
        case Password(length=length, lower=lower, upper=upper, digits=digits, symbols=symbols, exclude=exclude):
            password = pb.PasswordGenerator(
                length=length, lower=lower, upper=upper, digits=digits, symbols=symbols, exclude=exclude
            )
            return pb.Generator(password=password)
        case Hex(bytes=size):
            return pb.Generator(hex=pb.HexGenerator(bytes=size))
        case Base64(bytes=size, url_safe=url_safe):
            return pb.Generator(base64=pb.Base64Generator(bytes=size, url_safe=url_safe))
        case Uuid():
            return pb.Generator(uuid=pb.UuidGenerator())
        case KeyPair(algorithm=algorithm):
            return pb.Generator(key_pair=pb.KeyPairGenerator(algorithm=KEY_PAIR_ALGORITHMS[algorithm]))


def version(head: Head, one: Version) -> pb.SecretVersion:
    """Return what is known of one version of a secret."""
    return pb.SecretVersion(
        version=one.number,
        state=_STATES[head.version_state(one.number)],
        create_time=timestamp(one.create_time),
        author=one.author,
        size=one.size,
        destroy_time=timestamp(one.destroy_time) if one.destroy_time else None,
        public_key=one.public_key,
        term=one.term,
    )


def state(namespace: str, heads: Iterable[Head], now: datetime) -> pb.WatchSecretsResponse:
    """Return the message that tells a watcher of all secrets of a namespace."""
    told = pb.SecretsState(namespace=namespace, secrets=[secret(head, now) for head in heads])
    return pb.WatchSecretsResponse(state=told)


def change(one: Change, now: datetime) -> pb.WatchSecretsResponse:
    """Return the message that tells a watcher of one change."""
    return pb.WatchSecretsResponse(change=pb.SecretChange(secret=secret(one.head, now), event=_EVENTS[one.event]))


def imported(one: Imported) -> pb.ImportResult:
    """Return what became of one secret of an import."""
    return pb.ImportResult(name=one.name, outcome=_OUTCOMES[one.outcome], version=one.version)


def term(one: TermProgress) -> pb.KeyringTerm:
    """Return how a term of the keyring stands."""
    return pb.KeyringTerm(
        term=one.number,
        state=_TERM_STATES[one.state],
        create_time=timestamp(one.create_time),
        versions=one.versions,
        wraps=one.wraps,
    )


def _duration(span: timedelta) -> Duration:
    told = Duration()
    told.FromTimedelta(span)
    return told
