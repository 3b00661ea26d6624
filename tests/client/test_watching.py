"""The reconnecting watch: what it survives, and what it asks for next."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import pytest

from client.conftest import POLICY
from client.fake_daemon import FakeDaemon
from client.waiting import eventually
from vestry import AsyncClient, AsyncConfigView, NotFound, ReconnectPolicy, Unavailable


@pytest.fixture
async def view(client: AsyncClient) -> AsyncConfigView:
    """The live view of `default`."""
    view = await client.config()
    await eventually(lambda: view.is_live)
    return view


async def _token_arrived(view: AsyncConfigView, daemon: FakeDaemon) -> None:
    """Return once the watch has a token: a change after the initial state carries one."""
    version = daemon.set("default", {"token": "given"})
    await eventually(lambda: view.version == version)


async def test_it_resumes_by_token(view: AsyncConfigView, daemon: FakeDaemon) -> None:
    """After a crash of the daemon the watch goes on where it was: each missed version arrives, none twice."""
    await _token_arrived(view, daemon)
    seen: list[int] = []
    view.on_change("n", lambda _, new: seen.append(new))
    await daemon.kill()
    await eventually(lambda: not view.is_live)
    assert isinstance(view.error, Unavailable)
    assert view["token"] == "given"
    for n in range(3):
        daemon.set("default", {"n": n})
    await daemon.start()
    await eventually(lambda: view.version == 5)
    await eventually(lambda: view.is_live and view.error is None)
    assert seen == [0, 1, 2]
    assert daemon.watches[-1].resume_token != ""


async def test_it_comes_back_after_a_good_bye(view: AsyncConfigView, daemon: FakeDaemon) -> None:
    """A daemon that shuts down says so, and the view is live again soon after its restart."""
    await _token_arrived(view, daemon)
    await daemon.stop()
    await eventually(lambda: not view.is_live)
    await daemon.start()
    await eventually(lambda: view.is_live)
    assert daemon.watches[-1].resume_token != ""


async def test_a_foreign_token_is_dropped(view: AsyncConfigView, daemon: FakeDaemon) -> None:
    """A daemon restored from a backup gets a watch without a token, and its state is believed, older or not."""
    await _token_arrived(view, daemon)
    await daemon.kill()
    daemon.restore_backup()
    daemon.remove("default")
    daemon.set("default", {"restored": True})
    await daemon.start()
    await eventually(lambda: "restored" in view)
    assert view.version == 1
    assert [watch.resume_token != "" for watch in daemon.watches[-2:]] == [True, False]


async def test_a_broken_initial_state_is_asked_for_again(client: AsyncClient, daemon: FakeDaemon) -> None:
    """A stream that ends before its first token doesn't resume from an older one: nothing goes back in time."""
    view = await client.config()
    await _token_arrived(view, daemon)
    versions: list[int] = []
    view.on_change("n", lambda *_: versions.append(view.version))
    daemon.watches_to_break = 2
    daemon.set("default", {"n": 1})
    await client.config("billing")
    daemon.set("default", {"n": 2})
    await eventually(lambda: view.version == 4 and daemon.watches_to_break == 0)
    assert versions == sorted(versions)
    assert all(not watch.resume_token for watch in daemon.watches[1:4])


async def test_a_silent_daemon_counts_as_hung(daemon: FakeDaemon) -> None:
    """A daemon that sends nothing, with its connections open, is noticed; the view is live again when it wakes."""
    daemon.heartbeat_seconds = 0.05
    policy = replace(POLICY, silence_seconds=0.3)
    async with AsyncClient(daemon.target, timeout=5.0, reconnect=policy) as client:
        view = await client.config()
        await asyncio.sleep(0)
        daemon.hang()
        hung_at = time.monotonic()
        await eventually(lambda: not view.is_live)
        assert time.monotonic() - hung_at < 2
        assert "has said nothing" in str(view.error)
        daemon.wake()
        await eventually(lambda: view.is_live)


async def test_heartbeats_keep_a_quiet_watch_alive(daemon: FakeDaemon) -> None:
    """A daemon that has nothing to tell stays live, on the same stream, far beyond the time allowed for silence."""
    daemon.heartbeat_seconds = 0.05
    async with AsyncClient(daemon.target, timeout=5.0, reconnect=replace(POLICY, silence_seconds=0.3)) as client:
        view = await client.config()
        started = time.monotonic()
        await eventually(lambda: time.monotonic() - started > 0.9)
        assert view.is_live
        assert view.age < 0.3
        assert len(daemon.watches) == 1


async def test_a_namespace_that_vanishes_leaves_the_others_alone(
    client: AsyncClient, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """A view whose namespace is gone keeps its state and says why; the others go on; and it comes back by itself."""
    default, billing = await client.config(), await client.config("billing")
    await daemon.kill()
    daemon.remove("billing")
    await daemon.start()
    await eventually(lambda: default.is_live and isinstance(billing.error, NotFound))
    assert billing["currency"] == "EUR"
    assert not billing.is_live
    assert "config.namespace_refused" in caplog.text
    daemon.set("billing", {"currency": "CHF"})
    await eventually(lambda: billing.is_live and billing["currency"] == "CHF")
    daemon.set("default", {"alive": True})
    await eventually(lambda: "alive" in default)


async def test_a_defect_here_is_logged_and_tried_again(
    view: AsyncConfigView, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """A document that is not JSON is no reason to die: the old state stays, and the next one is taken."""
    daemon.set_raw("default", b"{not json")
    await eventually(lambda: "config.watch_failed" in caplog.text)
    assert view["name"] == "a"
    daemon.restore_backup()
    daemon.set("default", {"good": True})
    await eventually(lambda: "good" in view)


async def test_one_warning_for_one_outage(
    view: AsyncConfigView, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the watch tries again, losing the daemon is one line in the log."""
    caplog.set_level(logging.WARNING, logger="vestry")
    await daemon.kill()
    attempts = POLICY.max_seconds * 5
    lost = time.monotonic()
    await eventually(lambda: not view.is_live and time.monotonic() - lost > attempts)
    assert caplog.text.count("config.watch_lost") == 1


def test_delays_are_full_jitter_under_a_doubling_ceiling() -> None:
    """A delay is the draw's share of min(max, initial x 2^failures); what would overflow is the maximum."""
    policy = ReconnectPolicy(initial_seconds=0.2, max_seconds=10.0, draw=lambda: 0.5)
    assert [policy.delay_seconds(failures) for failures in (0, 1, 3, 5, 6, 10_000)] == [0.1, 0.2, 0.8, 3.2, 5.0, 5.0]
    assert ReconnectPolicy(draw=lambda: 0.0).delay_seconds(9) == 0.0
