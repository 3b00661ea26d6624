"""Who detects which attack: the table of docs/audit.md.

The log has 60 records and checkpoints at 20, 40 and 50; the one at 50 is remembered elsewhere, as the anchor. The
attacker comes after record 60. Root finds signing.key and K(61) on the machine, and nothing older.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.audit_logs import Log, checkpoint, key_of, written
from vestry.audit import ProblemKind
from vestry.audit_record import next_key

Attack = Callable[[Log], Log | None]

# What an attacker without keys makes MACs with.
NO_KEY = bytes(32)


def modify(log: Log) -> None:
    """Change a word in record 30."""
    log.lines[29] = log.lines[29].replace(b"config.update", b"config.upbate")


def delete(log: Log) -> None:
    """Take record 30 away."""
    del log.lines[29]


def duplicate(log: Log) -> None:
    """Write record 30 twice."""
    log.lines.insert(30, log.lines[29])


def swap(log: Log) -> None:
    """Exchange records 30 and 31."""
    log.lines[29:31] = reversed(log.lines[29:31])


def modify_the_tail(log: Log) -> None:
    """Change a word in the last record, which nothing follows."""
    log.lines[59] = log.lines[59].replace(b"config.update", b"config.upbate")


def truncate_after_the_checkpoint(log: Log) -> None:
    """End at record 55."""
    log.cut(55)


def truncate_before_the_checkpoint(log: Log) -> None:
    """End at record 40, and leave the checkpoints."""
    log.cut(40)


def truncate_with_checkpoints(log: Log) -> None:
    """End at record 40, checkpoints as well."""
    log.cut(40)
    log.cut_checkpoints(40)


def put_an_older_copy_back(log: Log) -> Log:
    """Replace everything, keys included, by what was there at record 40."""
    return written(40, seals=(20, 40))


def remove_a_checkpoint(log: Log) -> None:
    """Take the checkpoint at 40 away."""
    del log.checkpoints[2]


def remove_all_checkpoints(log: Log) -> None:
    """Take all checkpoints away."""
    log.checkpoints.clear()


def rewrite(log: Log, first: int, key: bytes) -> None:
    """Write the records from `first` on anew, chained as they should be, as somebody else's."""
    size = len(log.lines)
    log.cut(first - 1)
    for _ in range(first, size + 1):
        log.append(key, actor="uid:0")
        key = next_key(key)


def rewrite_without_keys(log: Log) -> None:
    """Rewrite from record 30 on, and leave the checkpoints."""
    rewrite(log, 30, NO_KEY)


def rewrite_without_keys_or_checkpoints(log: Log) -> None:
    """Rewrite from record 30 on, and take the checkpoints away that would tell."""
    rewrite(log, 30, NO_KEY)
    log.cut_checkpoints(29)


def rewrite_recent_without_keys(log: Log) -> None:
    """Rewrite what the last checkpoint doesn't cover."""
    rewrite(log, 52, NO_KEY)


def rewrite_old_as_root(log: Log) -> None:
    """Rewrite from record 30 on with the key that is there, and sign all checkpoints anew."""
    rewrite(log, 30, key_of(61))
    size, lines = len(log.lines), log.lines
    forged = Log(lines[:20], log.checkpoints[:2])
    for end in (40, 50, size):
        forged.lines = lines[:end]
        forged.seal()
    log.lines, log.checkpoints = forged.lines, forged.checkpoints


def rewrite_recent_as_root(log: Log) -> None:
    """Rewrite what the last checkpoint doesn't cover with the key that is there."""
    rewrite(log, 52, key_of(61))
    log.seal()


def append_as_root(log: Log) -> None:
    """Write records of what never happened, after the break-in."""
    log.append(key_of(61), actor="uid:0")
    log.seal()


# attack -> whether it is detected with: the public key, the verification key as well, the anchor as well, all three
MATRIX: dict[Attack, tuple[bool, bool, bool, bool]] = {
    modify: (True, True, True, True),
    delete: (True, True, True, True),
    duplicate: (True, True, True, True),
    swap: (True, True, True, True),
    modify_the_tail: (False, True, False, True),
    truncate_after_the_checkpoint: (False, False, False, False),
    truncate_before_the_checkpoint: (True, True, True, True),
    truncate_with_checkpoints: (False, False, True, True),
    put_an_older_copy_back: (False, False, True, True),
    remove_a_checkpoint: (True, True, True, True),
    remove_all_checkpoints: (True, True, True, True),
    rewrite_without_keys: (True, True, True, True),
    rewrite_without_keys_or_checkpoints: (False, True, True, True),
    rewrite_recent_without_keys: (False, True, False, True),
    rewrite_old_as_root: (False, True, True, True),
    rewrite_recent_as_root: (False, True, False, True),
    append_as_root: (False, False, False, False),
}


@pytest.mark.parametrize(("attack", "expected"), MATRIX.items(), ids=[attack.__name__ for attack in MATRIX])
def test_an_attack_is_detected_by_whom_the_table_says(attack: Attack, expected: tuple[bool, bool, bool, bool]) -> None:
    """Each attack is detected with exactly the keys and the anchor that the table names: no more is promised."""
    honest = written()
    anchor = honest.checkpoints[-1]
    log = honest.copy()
    log = attack(log) or log
    verdicts = (
        log.verify(),
        log.verify(with_key=True),
        log.verify(anchor=anchor),
        log.verify(with_key=True, anchor=anchor),
    )
    assert tuple(not verdict.is_intact for verdict in verdicts) == expected
    assert honest.verify(with_key=True, anchor=anchor).is_intact


def test_a_checkpoint_of_another_key_is_refused() -> None:
    """Who has no signing key can't replace a checkpoint by one of their own."""
    log = written()
    log.checkpoints[-1] = checkpoint(4, 50, log.checkpoints[-1].hash, signing_key=Ed25519PrivateKey.generate())
    problem = log.verify().problem
    assert problem
    assert problem.kind is ProblemKind.CHECKPOINT_SIGNATURE
