"""`vestryctl access`: who may do what."""

from vestryctl.commands.access.group import access

__all__ = ["access"]
