"""What a setting's value must be besides its type: each check returns what is wrong with a value, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from vestryd.domain.errors import InvalidField
from vestryd.domain.names import check_environment

MAX_SOCKET_PATH_BYTES = 102  # 107 after unix(7), less the `.auth` of the auth socket beside it
MAX_PORT = 65_535
_ADDRESS = re.compile(r"(?:\[(?P<v6>.+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Between:
    """Accepts numbers from `low` to `high`, both included."""

    low: float
    high: float

    def __call__(self, value: float) -> str:
        """Return what is wrong with `value`, or nothing."""
        return "" if self.low <= value <= self.high else f"must be between {self.low} and {self.high}, not {value}"


def environment_name(value: str) -> str:
    """Accept the name of an environment, which names its file as well."""
    try:
        check_environment(value)
    except InvalidField as error:
        return error.problem
    return ""


def socket_path(value: str) -> str:
    """Accept a path for a unix socket, or nothing."""
    if value and not value.startswith("/"):
        return f"must be an absolute path, not {value!r}"
    too_long = len(value.encode()) > MAX_SOCKET_PATH_BYTES
    return f"must be at most {MAX_SOCKET_PATH_BYTES} bytes long" if too_long else ""


def socket_mode(value: str) -> str:
    """Accept a file mode in octal digits."""
    return "" if re.fullmatch(r"0?[0-7]{3}", value) else f'must be octal digits such as "0660", not {value!r}'


def tcp_address(value: str) -> str:
    """Accept host:port, or nothing."""
    parts = _ADDRESS.fullmatch(value)
    if value and (not parts or int(parts["port"]) > MAX_PORT):
        return f'must be host:port such as "127.0.0.1:8378" or "[::1]:8378", not {value!r}'
    return ""


def is_loopback(address: str) -> bool:
    """Tell whether host:port can be reached from this machine alone."""
    parts = _ADDRESS.fullmatch(address)
    try:
        return parts is not None and (
            parts["host"] == "localhost" or ip_address(parts["v6"] or parts["host"]).is_loopback
        )
    except ValueError:
        return False


def not_empty(value: str) -> str:
    """Accept any text but the empty one."""
    return "" if value else "must not be empty"
