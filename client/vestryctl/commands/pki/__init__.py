"""`vestryctl pki`: a small private CA, for who has none."""

from vestryctl.commands.pki.group import pki

__all__ = ["pki"]
