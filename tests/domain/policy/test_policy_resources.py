from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.policy.policies import ROOT, refusal, rule
from vestryd.domain.policy.resources import MAX_PATTERN, ResourceTrie, can_meet, pattern_problem


def matches(pattern: str, resource: str) -> bool:
    trie = ResourceTrie()
    trie.add(pattern, 1)
    return trie.match(resource) == 1


@pytest.mark.parametrize(
    ("pattern", "resource"),
    [
        ("access", "access"),
        ("*", "access"),
        ("**", "access"),
        ("**", "namespaces/a/config"),
        ("namespaces/*/config", "namespaces/a/config"),
        ("namespaces/billing/**", "namespaces/billing"),
        ("namespaces/billing/**", "namespaces/billing/secrets/a"),
        ("namespaces/*/secrets/db-*", "namespaces/a/secrets/db-"),
        ("namespaces/*/secrets/db-*", "namespaces/a/secrets/db-password"),
        ("*a*", "a"),
        ("a*a", "aa"),
        ("*ab*ba*", "xabxbax"),
        ("a*b*c", "abbc"),
        ("*.*.*", "a.b.c.d"),
        ("namespaces/Zürich/config", "namespaces/Zürich/config"),
        ("a b/~1/%2F", "a b/~1/%2F"),
        ("*", "*"),
        ("[a-z]?", "[a-z]?"),
    ],
)
def test_a_pattern_matches(pattern: str, resource: str) -> None:
    """`*` is any text in a segment, `**` any further segments, the rest itself."""
    assert matches(pattern, resource)


@pytest.mark.parametrize(
    ("pattern", "resource"),
    [
        ("access", "Access"),
        ("access", "access/"),
        ("access", "/access"),
        ("access", ""),
        ("*", "a/b"),
        ("namespaces/*", "namespaces"),
        ("namespaces/*/config", "namespaces/a/b/config"),
        ("namespaces/*/config", "namespaces/a/config/x"),
        ("namespaces/billing/**", "namespaces/billing2"),
        ("namespaces/billing/**", "namespaces"),
        ("a*a", "a"),
        ("*ab*ba*", "xabax"),
        ("a*bc*c", "abc"),
        ("a.c", "abc"),
        ("namespaces/Zürich", "namespaces/Zu\u0308rich"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, resource: str) -> None:
    """Everything is compared byte by byte, over the whole length."""
    assert not matches(pattern, resource)


def test_each_set_of_rules_is_found_by_all_its_patterns() -> None:
    """A match gathers the rules of all the patterns that fit, at whichever depth."""
    trie = ResourceTrie()
    for number, pattern in enumerate(["**", "a/**", "a/*", "a/b", "a/b/**", "*/b", "a/b*", "a/*b", "a/b/c", "x/**"]):
        trie.add(pattern, 1 << number)
    assert trie.match("a/b") == 0b0011111111


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "it is empty"),
        ("/", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a//b", "empty segment"),
        (".", "'.' or '..'"),
        ("a/../b", "'.' or '..'"),
        ("**/a", "'**' stands only for the whole last segment"),
        ("a/**/b", "'**' stands only"),
        ("a/b**", "'**' stands only"),
        ("a/***", "'**' stands only"),
        ("a/\x00", "U+0000"),
        ("a\n", "U+000A"),
        ("a/\x7f", "U+007F"),
        ("a/\u202e", "U+202E"),
        ("a/\u200b", "U+200B"),
        ("a/Zu\u0308rich", "NFC: write 'a/Zürich'"),
        ("a" * (MAX_PATTERN + 1), "513 characters, and at most 512"),
    ],
)
def test_a_pattern_that_could_deceive_is_refused(pattern: str, problem: str) -> None:
    """A pattern that can't match, or not what it seems to, is refused with what to do, at its place."""
    pointer, word, message = refusal({"rules": {"root": ROOT, "bad": rule(resources=["x", pattern])}})
    assert (pointer, word) == ("/rules/bad/resources/1", "pattern")
    assert problem in message
    assert len(message) < 400


@pytest.mark.parametrize("pattern", ["...", "a/.b", "a/b.", "*.*", "a" * MAX_PATTERN, "**", "ü/ /~"])
def test_a_pattern_that_says_what_it_means_is_taken(pattern: str) -> None:
    """Dots in names, spaces and other alphabets are fine."""
    assert pattern_problem(pattern) == ""


def test_a_hostile_pattern_takes_linear_time() -> None:
    """What makes a regular expression backtrack for ages is matched in a moment."""
    trie = ResourceTrie()
    trie.add("*a" * 200 + "*b*", 1)
    started = time.perf_counter()
    assert trie.match("a" * 100_000) == 0
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("pattern", "is_met"),
    [
        ("namespaces/billing/secrets/db-*", True),
        ("namespaces/*/secrets/*", True),
        ("namespaces/**", True),
        ("**", True),
        ("namespaces/billing/secrets/db/**", True),
        ("name*/billing/*c*t*/x", True),
        ("namespace/billing/secrets/db", False),
        ("namespaces/billing/secret/db", False),
        ("namespaces/billing/secrets", False),
        ("namespaces/billing/secrets/a/b", False),
        ("namespaces/billing/secrets/a/b/**", False),
        ("namespaces/billing/secret/**", False),
        ("names*spaces/billing/secrets/db", False),
    ],
)
def test_a_pattern_meets_a_shape_when_some_resource_of_it_matches(pattern: str, *, is_met: bool) -> None:
    """Else the rule could never be about anything."""
    assert can_meet(pattern, "namespaces/*/secrets/*") is is_met


SEGMENTS = st.text("ab", min_size=1, max_size=4)


@given(
    shape=st.lists(st.one_of(st.just("*"), SEGMENTS), min_size=1, max_size=4),
    pattern=st.lists(st.text("ab*", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join),
    data=st.data(),
)
def test_a_pattern_that_matches_a_resource_meets_its_shape(shape: list[str], pattern: str, data: st.DataObject) -> None:
    """So no rule is refused that some call is about."""
    if pattern_problem(pattern):
        return
    resource = "/".join(data.draw(SEGMENTS) if segment == "*" else segment for segment in shape)
    assert can_meet(pattern, "/".join(shape)) or not matches(pattern, resource)
