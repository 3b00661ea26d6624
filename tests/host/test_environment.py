from __future__ import annotations

import os

import pytest

from vestryd.domain.secrets.transfer import MAX_ITEMS, ImportItem
from vestryd.host.environment import Environment, secrets_from

ENVIRON = {"DB": "hunter2", "API_KEY": "k", "EMPTY": "", "LARGE": "x" * 65_537, "RAW": os.fsdecode(b"\xff\xfe")}


def test_variables_become_secrets_of_their_namespaces() -> None:
    """Under their own names, or others; bytes are as they were."""
    found = secrets_from(["DB", "db-password=DB", "billing/key=API_KEY", "billing/raw=RAW"], ENVIRON)
    assert found == Environment(
        (
            ("default", (ImportItem("DB", value=b"hunter2"), ImportItem("db-password", value=b"hunter2"))),
            ("billing", (ImportItem("key", value=b"k"), ImportItem("raw", value=b"\xff\xfe"))),
        ),
        (),
    )


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("NONE", "NONE: the environment has no such variable"),
        ("EMPTY", "EMPTY: 1 to 65536 bytes are allowed, these are 0"),
        ("LARGE", "LARGE: 1 to 65536 bytes are allowed, these are 65537"),
        ("", "it names none"),
        ("name=", "it names none"),
        ("_X", "'_X' can't be used"),
        ("a/b/c=DB", "'a/b' can't be used"),
        ("../x=DB", "'..' can't be used"),
        ("Billing/x=DB", "'Billing' can't be used"),
        ("=DB", "'' can't be used"),
        ("API_KEY", "another entry makes the secret 'API_KEY' of the namespace 'default'"),
    ],
)
def test_what_can_not_be_taken_in_is_a_problem(entry: str, problem: str) -> None:
    """It doesn't keep the others out, and tells no value."""
    found = secrets_from(["API_KEY", entry, "DB"], ENVIRON)
    assert [item.name for _, items in found.batches for item in items] == ["API_KEY", "DB"]
    (told,) = found.problems
    assert told.startswith(f"{entry!r} of secrets.from_environment can't be taken in: ")
    assert problem in told
    assert "hunter2" not in repr(found)


def test_many_are_taken_in_by_so_many_as_one_import_takes() -> None:
    """Each namespace by itself."""
    names = [f"V{number}" for number in range(MAX_ITEMS + 1)]
    found = secrets_from([*names, "other/v=V0"], dict.fromkeys(names, "x"))
    assert [(namespace, len(items)) for namespace, items in found.batches] == [
        ("default", MAX_ITEMS),
        ("default", 1),
        ("other", 1),
    ]
