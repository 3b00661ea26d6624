"""What can go wrong, one class for each situation.

Each error holds its facts as fields and builds its own message. `services/status.py` translates them to the wire, in one
table; nobody matches on text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class VestryError(Exception):
    """The base of every error that Vestry raises on purpose."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a document breaks a rule.

    `pointer` is an RFC 6901 JSON Pointer, empty for the whole document. `rule` is a JSON Schema keyword, or one of
    `syntax`, `encoding`, `size`, `depth`, `schema`, `source`. `value` is the offending value as JSON, cut to 200
    characters, and empty when there is none or when the schema marks it as secret; then `message` doesn't hold it either.
    `line` and `column` count from 1; 0 means unknown.
    """

    pointer: str
    rule: str
    message: str
    value: str = ""
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return `file:line:column: at pointer: message (rule)`, with what is known."""
        place = self.file
        if place and self.line:
            place += f":{self.line}:{self.column}" if self.column else f":{self.line}"
        where = f"at {self.pointer}" if self.pointer else ""
        return ": ".join(part for part in (place, where, self.message) if part) + f" ({self.rule})"


def in_short(violations: Sequence[Violation]) -> str:
    """Return the first of the violations, and how many more there are; empty when there is none."""
    if not violations:
        return ""
    return str(violations[0]) + (f", and {len(violations) - 1} more" if len(violations) > 1 else "")


@dataclass(eq=False)
class InvalidField(VestryError):
    """A field of a request, a setting or a name is unusable."""

    field_name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field_name}: {self.problem}"


@dataclass(eq=False)
class InvalidPageToken(VestryError):
    """A page token is garbage, or belongs to another request."""

    field_name: str = "page_token"

    def __str__(self) -> str:
        return "page_token is not one that this method gave: start again with an empty one"


@dataclass(eq=False)
class InvalidResumeToken(VestryError):
    """A resume token is garbage."""

    field_name: str = "resume_token"

    def __str__(self) -> str:
        return "resume_token is not one that a watch gave: watch again without one"


@dataclass(eq=False)
class ForeignResumeToken(VestryError):
    """A resume token comes from another store, from before a restore or from the future."""

    token_incarnation: str
    incarnation: str

    def __str__(self) -> str:
        if self.token_incarnation == self.incarnation:
            return "resume_token is from a revision that this store has not reached: watch again without one"
        return "resume_token is from another store, or from before a restore: watch again without one"


@dataclass(eq=False)
class SourceInvalid(VestryError):
    """A text is not a document, or not a schema: what is wrong with it, before any document is named."""

    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        return "; ".join(str(violation) for violation in self.violations)


@dataclass(eq=False)
class DocumentInvalid(VestryError):
    """A document breaks its schema or its limits; what was in force stays in force."""

    kind: str
    name: str
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} is invalid: {in_short(self.violations) or 'no reason was given'}"


@dataclass(eq=False)
class DocumentNotFound(VestryError):
    """There is no such document."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.name!r}"


@dataclass(eq=False)
class VersionNotFound(VestryError):
    """The document has no such version, or it is older than what is kept."""

    kind: str
    name: str
    version: int
    oldest: int
    newest: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} has no version {self.version}: {self.oldest} to {self.newest} are kept"


@dataclass(eq=False)
class PointerNotFound(VestryError):
    """A pointer leads nowhere in the document."""

    kind: str
    name: str
    pointer: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} has nothing at {self.pointer!r}"


@dataclass(eq=False)
class SchemaNotFound(VestryError):
    """The document has no schema."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} has no schema"


@dataclass(eq=False)
class VersionMismatch(VestryError):
    """The document is no longer at the version that the caller expected."""

    kind: str
    name: str
    expected_version: int
    actual_version: int

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name!r} is at version {self.actual_version}, not {self.expected_version}: "
            "read it again, and decide again"
        )


@dataclass(eq=False)
class RequestIdReused(VestryError):
    """A request_id was used before, for a different request."""

    request_id: str

    def __str__(self) -> str:
        return f"request_id {self.request_id!r} was used before for a different request: use a new one"


@dataclass(eq=False)
class LimitExceeded(VestryError):
    """A key, a value or a commit is over the store's limit; nothing was written."""

    what: str
    limit: int
    actual: int

    def __str__(self) -> str:
        return f"{self.what} is {self.actual}, over the limit of {self.limit}"


@dataclass(eq=False)
class Conflict(VestryError):
    """An expectation of a commit failed; nothing was written. `actual` is the key's mod_revision, 0 when it is absent."""

    key: str
    expected: int
    actual: int

    def __str__(self) -> str:
        return f"{self.key!r} is at revision {self.actual}, not {self.expected}"


@dataclass(eq=False)
class Compacted(VestryError):
    """A watch asked for history that is gone: read again, and watch from the revision that the read is true at."""

    asked: int
    oldest: int

    def __str__(self) -> str:
        return f"the history after revision {self.asked} is gone: what follows revision {self.oldest} is kept"


@dataclass(eq=False)
class StoreUnavailable(VestryError):
    """The store can't be read or written now; what was acknowledged is safe."""

    cause: str
    path: str = ""

    def __str__(self) -> str:
        return f"the store{f' {self.path}' if self.path else ''} can't be used: {self.cause}"


@dataclass(eq=False)
class StoreUnusable(VestryError):
    """The store can't be opened: it is corrupt, locked by another daemon, from a newer release, or not a store at all."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"the store {self.path} can't be opened: {self.problem}. {self.remedy}"


@dataclass(eq=False)
class AuditUnavailable(VestryError):
    """The audit log can't record or be read now, so what needs a record can't be done; what was recorded is safe."""

    cause: str
    path: str = ""

    def __str__(self) -> str:
        return f"the audit log{f' {self.path}' if self.path else ''} can't be used: {self.cause}"


@dataclass(eq=False)
class AuditUnusable(VestryError):
    """The audit log can't be opened: it was cut or altered, its keys are gone, or another process is using it."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"the audit log {self.path} can't be opened: {self.problem}. {self.remedy}"


@dataclass(eq=False)
class RecordDamaged(VestryError):
    """A record doesn't add up to its checksum: the medium changed it, or somebody did. `version` 0: not that of a version."""

    kind: str
    name: str
    version: int

    def __str__(self) -> str:
        which = f"version {self.version} of " if self.version else ""
        return f"{which}{self.kind} {self.name!r} is damaged in the store: restore a backup"


@dataclass(eq=False)
class SettingsInvalid(VestryError):
    """The daemon's settings are unusable; `problems` has a sentence for each thing that is wrong."""

    problems: tuple[str, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        return "; ".join(self.problems)


@dataclass(eq=False)
class AddressUnusable(VestryError):
    """The daemon can't listen on an address."""

    address: str
    problem: str

    def __str__(self) -> str:
        return f"can't listen on {self.address}: {self.problem}"


@dataclass(eq=False)
class BackupUnsupported(VestryError):
    """The store can't be copied by the daemon; it has a backup tool of its own."""

    store: str

    def __str__(self) -> str:
        return f"a {self.store} store can't be backed up through the daemon: use the store's own tools"


@dataclass(eq=False)
class ShuttingDown(VestryError):
    """The daemon is shutting down."""

    def __str__(self) -> str:
        return "the daemon is shutting down: try again in a moment"


@dataclass(eq=False)
class CredentialsMissing(VestryError):
    """A call that needs to know its caller came without credentials."""

    def __str__(self) -> str:
        return (
            "this call needs to know who makes it: send a bearer token or a client certificate, or call over the unix "
            "socket with the client library, which fetches a token by itself"
        )


@dataclass(eq=False)
class CredentialsInvalid(VestryError):
    """A caller's token or certificate is not accepted. `problem` says why, without a word of the credential itself."""

    problem: str

    def __str__(self) -> str:
        return f"the credentials are not accepted: {self.problem}"


@dataclass(eq=False)
class PermissionDenied(VestryError):
    """No rule allows a caller what it asks for, or one forbids it. Given before anybody looks whether the thing exists."""

    caller: str
    action: str
    resource: str
    problem: str

    def __str__(self) -> str:
        return f"denied to {self.caller}: {self.problem}"


@dataclass(eq=False)
class TokenNotFound(VestryError):
    """There is no such token."""

    token_id: str

    def __str__(self) -> str:
        return f"there is no token {self.token_id!r}"


@dataclass(eq=False)
class SecretNotFound(VestryError):
    """There is no such secret, or it is deleted (and can be undeleted)."""

    namespace: str
    name: str
    is_deleted: bool = False

    def __str__(self) -> str:
        if self.is_deleted:
            return f"secret {self.name!r} of namespace {self.namespace!r} is deleted: it can be undeleted"
        return f"there is no secret {self.name!r} in namespace {self.namespace!r}"


@dataclass(eq=False)
class SecretUnusable(VestryError):
    """A secret, or the version that is asked for, is there but can't be had: destroyed, expired, or nothing is pending."""

    namespace: str
    name: str
    version: int
    problem: str

    def __str__(self) -> str:
        which = f"version {self.version} of secret" if self.version else "secret"
        return f"{which} {self.name!r} of namespace {self.namespace!r} can't be had: {self.problem}"


@dataclass(eq=False)
class Sealed(VestryError):
    """The keys of the secrets are not in memory: no unlock source opened a slot, or somebody sealed them.

    `remedy` is empty where `problem` says already what to do.
    """

    problem: str
    remedy: str = "unseal them with `vestryctl unseal`"

    def __str__(self) -> str:
        return f"the secrets are sealed, since {self.problem}" + (f": {self.remedy}" if self.remedy else "")


@dataclass(eq=False)
class UnlockRefused(VestryError):
    """A passphrase or a key opens no slot, or can't be used for one."""

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class SlotNotFound(VestryError):
    """There is no such unlock slot."""

    slot_id: str

    def __str__(self) -> str:
        return f"there is no unlock slot {self.slot_id!r}"


@dataclass(eq=False)
class LastSlot(VestryError):
    """The last unlock slot can't be removed: nothing could open the secrets again."""

    slot_id: str

    def __str__(self) -> str:
        return f"unlock slot {self.slot_id!r} is the last one: add another before you remove it"
