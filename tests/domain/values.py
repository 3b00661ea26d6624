"""JSON values for properties."""

from __future__ import annotations

from hypothesis import strategies as st

from vestryd.domain.jsonvalue import Json

_KEYS = st.text(max_size=30)  # YAML reads keys of up to 1024 characters, escapes written out

JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)
