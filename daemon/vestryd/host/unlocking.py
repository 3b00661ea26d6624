"""What the machine has to open the secrets with: a systemd credential, a key file, a passphrase in the environment."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from vestryd.domain.errors import InvalidField, UnlockRefused
from vestryd.domain.sealing.aead import KEY_BYTES
from vestryd.domain.sealing.slots import SlotKind
from vestryd.domain.secrets.unlock import Material

CREDENTIAL = "vestry.unlock-key"
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"  # systemd.exec(5)
PASSPHRASE = "VESTRY_UNLOCK_PASSPHRASE"
DEFAULT_KEY = "unlock.key"
MAX_KEY_BYTES = 64 * 1024
MAX_NAME_BYTES = 255

Reader = Callable[[Path], Material]


class UnlockSources:
    """The sources of one daemon, read anew each time that they are asked. Its methods block for a moment.

    In this order: the systemd credential, the configured key file, the passphrase in the environment, and a key file of the
    daemon's own in its state directory. The last never stands in for another that is configured but can't be used.
    """

    def __init__(self, key_file: Path | None, state_directory: Path, environ: Mapping[str, str]) -> None:
        self._key_file = key_file
        self._default = state_directory / DEFAULT_KEY
        self._passphrase = environ.get(PASSPHRASE, "")
        self._credentials = environ.get(CREDENTIALS_DIRECTORY, "")
        self._unmade = ""  # why the default can't be made
        self._problems: tuple[str, ...] = ()
        self._materials: tuple[Material, ...] = ()

    def materials(self) -> list[Material]:
        """Return what the sources yield now. One that can't be used yields a problem."""
        found: list[Material] = []
        problems = [self._unmade] if self._unmade else []

        def tried(read: Reader, path: Path) -> None:
            try:
                found.append(read(path))
            except UnlockRefused as error:
                problems.append(str(error))

        if self._has_credential():
            tried(_read_credential, Path(self._credentials, CREDENTIAL))
        if self._key_file is not None:
            tried(_read_key_file, self._key_file)
        if self._passphrase:
            found.append(Material(SlotKind.ENVIRONMENT, os.fsencode(self._passphrase), f"the variable {PASSPHRASE}"))
        if os.path.lexists(self._default) and (found or not problems):
            tried(_read_key_file, self._default)
        self._materials, self._problems = tuple(found), tuple(problems)
        return found

    def create_default(self) -> None:
        """Make the daemon's own key file, for a store that has no slot yet, when no other source is configured.

        It is made whole or not at all, and never replaced. One that can't be made is a problem.
        """
        is_configured = self._key_file is not None or self._passphrase or self._has_credential()
        if is_configured or os.path.lexists(self._default):
            return
        try:
            _write_new(self._default, os.urandom(KEY_BYTES))
        except OSError as error:
            self._unmade = f"{_source(self._default)} can't be made: {error.strerror}"

    def problems(self) -> tuple[str, ...]:
        """Return why sources can't be used, a sentence each, as of when they were asked last."""
        return self._problems

    def warnings(self) -> tuple[str, ...]:
        """Return what is unsafe about the sources that could be used, a sentence each, as of when they were asked last."""
        unsafe = []
        for material in self._materials:
            if material.kind is SlotKind.ENVIRONMENT:
                unsafe.append(
                    f"the secrets can be opened with {material.source}: that is for development, since whoever may look "
                    "at the daemon's process can read it; set up a systemd credential or a key file (docs/security.md)"
                )
            elif material.source == _source(self._default):
                unsafe.append(
                    f"the unlock key lies beside the store, in {_shown(self._default)}: whoever copies the state directory "
                    "can read the secrets; add a slot that a systemd credential or a key file elsewhere opens, and remove "
                    "this one (docs/security.md)"
                )
        return tuple(unsafe)

    def read_key_file(self, path: str) -> Material:
        """Return the key in a file that somebody names. Raises InvalidField, UnlockRefused."""
        if not path.startswith("/") or "\0" in path:
            raise InvalidField("source.key_file", "it must be an absolute path on the daemon's host")
        return _read_key_file(Path(path))

    def read_credential(self, name: str) -> Material:
        """Return the key in a systemd credential of the daemon's unit. Raises InvalidField, UnlockRefused."""
        if not _can_name_a_credential(name):
            raise InvalidField("source.systemd_credential", "this can't be the name of a systemd credential")
        if not self._credentials:
            raise UnlockRefused("the daemon has no systemd credentials: its unit must have LoadCredentialEncrypted=")
        return _read_credential(Path(self._credentials, name))

    def _has_credential(self) -> bool:
        return bool(self._credentials) and os.path.lexists(Path(self._credentials, CREDENTIAL))


def _read_credential(path: Path) -> Material:
    """Return a credential's key. systemd alone writes there; the ACL by which it lets us read looks like a group's right."""
    source = f"systemd credential {path.name}"
    return Material(SlotKind.SYSTEMD_CREDENTIAL, _read(path, source, is_private=False), source)


def _read_key_file(path: Path) -> Material:
    source = _source(path)
    return Material(SlotKind.KEY_FILE, _read(path, source, is_private=True), source)


def _source(path: Path) -> str:
    return f"key file {_shown(path)}"


def _read(path: Path, source: str, *, is_private: bool) -> bytes:
    """Return a file's content, when it can be a key. Raises UnlockRefused."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            problem = _problem(os.fstat(file.fileno()), is_private=is_private)
            key = b"" if problem else file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        reasons = {errno.ENOENT: "there is no such file", errno.EISDIR: "it is not a regular file"}
        raise UnlockRefused(f"{source} can't be used: {reasons.get(error.errno or 0, error.strerror)}") from error
    if not problem and len(key) < KEY_BYTES:
        problem = f"it has {len(key)} bytes, at least {KEY_BYTES} random ones are needed"
    if not problem and len(key) > MAX_KEY_BYTES:
        problem = f"it is larger than {MAX_KEY_BYTES} bytes"
    if problem:
        raise UnlockRefused(f"{source} can't be used: {problem}")
    return key


def _problem(status: os.stat_result, *, is_private: bool) -> str:
    """Return why a file can't be trusted, or nothing."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if is_private and status.st_uid not in {os.geteuid(), 0}:
        return f"it belongs to uid {status.st_uid}, not to the daemon's user or root"
    if is_private and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return "others may read or write it: `chmod 600` it"
    return ""


def _open_without_waiting(path: str, flags: int) -> int:
    """Open like os.open, but don't wait for the writer of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, durably. Raises OSError, also when it is there already."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)  # left behind by a crash: nothing was ever locked with it
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _can_name_a_credential(name: str) -> bool:
    is_one_name = "/" not in name and ".." not in name and name != "."
    return is_one_name and name.isprintable() and 1 <= len(name.encode()) <= MAX_NAME_BYTES


def _shown(path: Path) -> str:
    """Return a path as people may see it in a message, and as the label of a slot."""
    return "".join(character if character.isprintable() else "?" for character in str(path))
