"""`vestryctl config`: the configuration that a daemon serves."""

from vestryctl.commands.config.group import config

__all__ = ["config"]
