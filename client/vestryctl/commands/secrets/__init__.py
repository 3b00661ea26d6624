"""`vestryctl secrets`: values that nobody else may read."""

from vestryctl.commands.secrets.group import secrets

__all__ = ["secrets"]
