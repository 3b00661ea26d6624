from __future__ import annotations

import pytest

from vestryd.domain.errors import InvalidField
from vestryd.domain.names import check_environment, check_namespace


@pytest.mark.parametrize("name", ["a", "0", "billing", "a-b_c.d", "a" * 63, "9.9", "a--b"])
def test_a_namespace_of_the_alphabet_is_taken(name: str) -> None:
    """1 to 63 characters of the alphabet, with letters or digits at the ends, are a name."""
    assert check_namespace(name) == name


def test_an_empty_namespace_means_default() -> None:
    """An absent field of a request names the namespace `default`."""
    assert check_namespace("") == "default"


@pytest.mark.parametrize(
    "name", ["A", "a/b", "../a", "a..b", ".a", "a.", "-a", "a-", "a b", "a\n", "ä", "a" * 64, "٣", "\ud800"]
)
def test_any_other_namespace_is_refused_with_what_is_allowed(name: str) -> None:
    """A refusal names the field, the name and the alphabet."""
    with pytest.raises(InvalidField, match="1 to 63 characters of a-z, 0-9") as caught:
        check_namespace(name)
    assert caught.value.field_name == "namespace"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name", ["schema", "default", "override", "runtime", "vestryd", "access", "access.eu", "", "Prod", "a/b"]
)
def test_an_environment_is_not_called_as_another_file_is(name: str) -> None:
    """The environment names a file beside schema, default, override and the policy; it is never empty."""
    with pytest.raises(InvalidField) as caught:
        check_environment(name)
    assert caught.value.field_name == "environment"


def test_an_environment_has_a_name_like_a_namespace() -> None:
    """The alphabet is the same."""
    assert check_environment("production-eu.1") == "production-eu.1"
