"""`vestryctl audit`: who did what, and the proof of it."""

from vestryctl.commands.audit.group import audit

__all__ = ["audit"]
