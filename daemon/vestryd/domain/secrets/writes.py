"""What can be done to secrets: every write checks the caller, is recorded, and is one commit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from vestryd.domain.access import Guard
from vestryd.domain.audited import act_of
from vestryd.domain.errors import InvalidField
from vestryd.domain.identity import Caller
from vestryd.domain.jsonvalue import canonical
from vestryd.domain.sealing.binary import fields as joined
from vestryd.domain.secrets.changes import (
    Moment,
    Plan,
    abandon,
    add_pending,
    check_current,
    check_room,
    check_value,
    create,
    delete,
    destroy,
    promote,
    put,
    rotate,
    undelete,
    update,
)
from vestryd.domain.secrets.generators import Generated, Generator, check_generator, encode_generator
from vestryd.domain.secrets.heads import Head
from vestryd.domain.secrets.mirror import Mirror
from vestryd.domain.secrets.reads import checked_path
from vestryd.domain.secrets.registry import Registry
from vestryd.domain.secrets.rotation import RotationStep, check_grace
from vestryd.domain.secrets.rotations import generated
from vestryd.domain.secrets.settings import FIELDS, Settings, check_settings, encode_settings
from vestryd.domain.secrets.writer import Request, Writer, Written


class SecretWrites:
    """The writes of `Secrets`. Each returns once readers here see it.

    Each may raise PermissionDenied, Sealed, RecordDamaged, AuditUnavailable, StoreUnavailable; nothing is changed then.
    """

    def __init__(self, mirror: Mirror, writer: Writer, guard: Guard) -> None:
        self._mirror = mirror
        self._writer = writer
        self._guard = guard

    async def put(
        self,
        caller: Caller,
        namespace: str,
        name: str,
        *,
        content: bytes | Generator,
        settings: Settings | None = None,
        expected_version: int | None = None,
        request_id: str = "",
        call_id: str = "",
    ) -> Written:
        """Make a new version, which is the current one; a new name makes a new secret. `settings` None: as they were.

        The previous version has no grace period. `expected_version` 0 means that there is no current one. Raises
        VersionMismatch, SecretNotFound (it is deleted), LimitExceeded, InvalidField, RequestIdReused.
        """
        path = checked_path(namespace, name)
        self._guard.require(caller, "secrets.put", path)
        _check_content(content)
        if settings is not None:
            check_settings(settings)
        _ = self._mirror.registry
        made = await generated(content)

        def make(registry: Registry, moment: Moment) -> list[Plan]:
            head = registry.find(namespace, name)
            check_current(namespace, name, head.current if head else 0, expected_version)
            if head is None:
                check_room(namespace, registry.count(namespace), 1)
                return [create(namespace, name, made, settings, moment)]
            return [put(head, made, settings, moment)]

        asked = joined("put", _bytes(content), _settings_bytes(settings), str(expected_version))
        request = Request(request_id, caller.name, namespace, name, asked) if request_id else None
        act = act_of(caller, "secrets.put", path, call_id)
        return (await self._writer.write(act, make, "secrets.put", request))[0]

    async def update(
        self,
        caller: Caller,
        namespace: str,
        name: str,
        *,
        settings: Settings,
        fields: frozenset[str] = FIELDS,
        call_id: str = "",
    ) -> Written:
        """Change some fields of the settings. Raises SecretNotFound, InvalidField."""
        unknown = ", ".join(sorted(fields - FIELDS))
        if unknown:
            raise InvalidField("update_mask", f"settings have no {unknown}")
        check_settings(settings)
        return await self._change(
            caller, "secrets.update", namespace, name, lambda head, now: update(head, settings, fields, now), call_id
        )

    async def rotate(
        self,
        caller: Caller,
        namespace: str,
        name: str,
        *,
        step: RotationStep = RotationStep.ALL,
        content: bytes | Generator | None = None,
        grace: timedelta | None = None,
        expected_version: int | None = None,
        request_id: str = "",
        call_id: str = "",
    ) -> Written:
        """Rotate a secret, all the way or a step. `content` None: from its own generator. `grace` None: as its policy says.

        Raises SecretNotFound; VersionMismatch; SecretUnusable when a version is pending already, or none to promote or
        abandon is; InvalidField; RequestIdReused.
        """
        path = checked_path(namespace, name)
        self._guard.require(caller, "secrets.rotate", path)
        if grace is not None:
            check_grace(grace)
        made = await self._content_of(namespace, name, step, content)

        def make(registry: Registry, moment: Moment) -> list[Plan]:
            head = registry.get(namespace, name)
            check_current(namespace, name, head.current, expected_version)
            return [_rotation(head, step, made, grace, moment)]

        asked = joined("rotate", step.value, _bytes(content), str(grace), str(expected_version))
        request = Request(request_id, caller.name, namespace, name, asked) if request_id else None
        act = act_of(caller, "secrets.rotate", path, call_id, step=step.value)
        return (await self._writer.write(act, make, "secrets.rotate", request))[0]

    async def delete(
        self, caller: Caller, namespace: str, name: str, *, expected_version: int | None = None, call_id: str = ""
    ) -> Written:
        """Delete a secret softly. Idempotent. Raises SecretNotFound, VersionMismatch."""

        def change(head: Head, moment: Moment) -> Plan:
            check_current(namespace, name, head.current, expected_version)
            return delete(head, moment)

        return await self._change(caller, "secrets.delete", namespace, name, change, call_id)

    async def undelete(self, caller: Caller, namespace: str, name: str, *, call_id: str = "") -> Written:
        """Take a deletion back. Idempotent. Raises SecretNotFound."""
        return await self._change(caller, "secrets.undelete", namespace, name, undelete, call_id)

    async def destroy(self, caller: Caller, namespace: str, name: str, version: int, *, call_id: str = "") -> Written:
        """Erase a version's value for good, with its label. Idempotent.

        Raises SecretNotFound, VersionNotFound, SecretUnusable for the current version of a secret that isn't deleted.
        """
        return await self._change(
            caller, "secrets.destroy", namespace, name, lambda head, now: destroy(head, version, now), call_id
        )

    async def _change(
        self,
        caller: Caller,
        action: str,
        namespace: str,
        name: str,
        change: Callable[[Head, Moment], Plan],
        call_id: str,
    ) -> Written:
        path = checked_path(namespace, name)
        self._guard.require(caller, action, path)

        def make(registry: Registry, moment: Moment) -> list[Plan]:
            return [change(registry.get(namespace, name), moment)]

        return (await self._writer.write(act_of(caller, action, path, call_id), make, action))[0]

    async def _content_of(
        self, namespace: str, name: str, step: RotationStep, content: bytes | Generator | None
    ) -> Generated | None:
        """Return the new value of a rotation, None for a step that takes none."""
        rotation = self._mirror.registry.get(namespace, name).settings.rotation
        if step in {RotationStep.PROMOTE, RotationStep.ABANDON}:
            if content is not None:
                raise InvalidField("step", f"{step.value} takes no value: the pending version has one")
            return None
        if content is None and rotation is not None:
            content = rotation.generator
        if content is None:
            raise InvalidField("value", "the secret has no generator of its own: give a value or a generator")
        _check_content(content)
        return await generated(content)


def _rotation(head: Head, step: RotationStep, made: Generated | None, grace: timedelta | None, moment: Moment) -> Plan:
    match step, made:
        case RotationStep.ALL, Generated():
            return rotate(head, made, grace, moment)
        case RotationStep.PENDING, Generated():
            return add_pending(head, made, moment)
        case RotationStep.PROMOTE, _:
            return promote(head, grace, moment)
        case _:
            return abandon(head, moment)


def _check_content(content: bytes | Generator) -> None:
    if isinstance(content, bytes):
        check_value(content)
    else:
        check_generator(content)


def _bytes(content: bytes | Generator | None) -> bytes:
    """Return the content as bytes that no other content has."""
    if content is None or isinstance(content, bytes):
        return b"" if content is None else b"value" + content
    return b"generator" + canonical(encode_generator(content))


def _settings_bytes(settings: Settings | None) -> bytes:
    return b"" if settings is None else canonical(encode_settings(settings))
