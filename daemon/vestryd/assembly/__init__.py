"""The composition root: what the daemon is made of, each part built once, in the order in which it needs the others."""

from vestryd.assembly.core import Core
from vestryd.assembly.opening import open_audit_log, open_store
from vestryd.assembly.problems import problems
from vestryd.assembly.wire import Wire

__all__ = ["Core", "Wire", "open_audit_log", "open_store", "problems"]
