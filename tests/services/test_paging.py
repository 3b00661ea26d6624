from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vestryd.domain.errors import InvalidField, InvalidPageToken
from vestryd.services.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, page_size, page_token, position_of

SCOPES = st.from_regex(r"[a-z/.-]{1,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("asked", "given"),
    [(0, DEFAULT_PAGE_SIZE), (1, 1), (1000, MAX_PAGE_SIZE), (1001, MAX_PAGE_SIZE), (2**31 - 1, MAX_PAGE_SIZE)],
)
def test_a_page_is_as_large_as_asked_within_bounds(asked: int, given: int) -> None:
    """0 means the default, and too many the maximum."""
    assert page_size(asked) == given


def test_a_negative_page_size_is_refused() -> None:
    """The field is named."""
    with pytest.raises(InvalidField) as caught:
        page_size(-1)
    assert caught.value.field_name == "page_size"


@given(SCOPES, st.text())
def test_a_token_leads_back_to_its_position(scope: str, position: str) -> None:
    """Round trip, whatever the position holds."""
    assert position_of(scope, page_token(scope, position)) == position


def test_no_token_means_the_first_page() -> None:
    """Its position is empty."""
    assert position_of("namespaces", "") == ""


@given(SCOPES, SCOPES)
def test_a_token_of_another_list_is_refused(scope: str, other: str) -> None:
    """Positions in one list mean nothing in another."""
    assume(scope != other)
    with pytest.raises(InvalidPageToken):
        position_of(scope, page_token(other, "x"))


@given(st.text(min_size=1))
def test_garbage_is_refused(token: str) -> None:
    """Whatever it is."""
    with pytest.raises(InvalidPageToken):
        position_of("versions/default", token)
