"""The commands of `vestryctl pki`.

What works on the CA is imported when it is needed: `cryptography` takes longer than most commands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vestry import certificate_names
from vestryctl.app import App, pass_app
from vestryctl.options import Command, Utf8

if TYPE_CHECKING:
    from vestryctl.commands.pki.leaves import Leaf

_MAX_NAME_CHARACTERS = 64  # of a common name (RFC 5280, ub-common-name)
_LEAF_DAYS = click.IntRange(1, 3650)
_RESERVED = frozenset({"ca.pem", "ca-key.pem", "crl.pem", "issued"})  # what else stands in the directory


class _Checked(click.ParamType[str]):
    """A text that a rule accepts: the rule returns it as it is meant, or raises ValueError."""

    def __init__(self, name: str, rule: Callable[[str], str]) -> None:
        self.name = name
        self._rule = rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is meant; a usage error if the rule refuses it."""
        try:
            return self._rule(Utf8().convert(value, param, ctx))
        except ValueError as error:
            self.fail(f"{value!r}: {error}.", param, ctx)


def _leaf_name(text: str) -> str:
    """Return the name of a certificate, which names its directory as well. Raises ValueError."""
    if text in _RESERVED:
        raise ValueError("the CA's own files have that name")
    if len(text) > _MAX_NAME_CHARACTERS or certificate_names.dns_name(text) != text:
        raise ValueError(f"a name is 1 to {_MAX_NAME_CHARACTERS} characters of a-z 0-9 . _ and -")
    return text


def _authority_name(text: str) -> str:
    if len(text) > _MAX_NAME_CHARACTERS:
        raise ValueError(f"a CA's name has at most {_MAX_NAME_CHARACTERS} characters")
    return certificate_names.common_name(text)


directory_argument = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
name_argument = click.argument("name", type=_Checked("name", _leaf_name))


@click.command(
    cls=Command, examples=["vestryctl pki init ~/vestry-pki", "vestryctl pki init ~/vestry-pki --name 'Example CA'"]
)
@directory_argument
@click.option(
    "--name",
    type=_Checked("name", _authority_name),
    default="Vestry CA",
    show_default=True,
    help="What to call the CA.",
)
@click.option(
    "--days", type=click.IntRange(1, 36_500), default=3650, show_default=True, metavar="N", help="How long it lasts."
)
@pass_app
def init(app: App, directory: Path, name: str, days: int) -> None:
    """Make a CA in a new directory DIR.

    It gets the CA's certificate, ca.pem, its key, ca-key.pem, and an empty list of revoked certificates, crl.pem. The CA can
    issue certificates for servers and clients, and no further CAs. DIR must be empty or not exist.
    """
    from vestryctl.commands.pki.authority import create  # noqa: PLC0415 - see above

    leaf = create(directory, name=name, days=days, now=datetime.now(UTC))
    _show(app, leaf, {"certificate": directory / "ca.pem", "crl": directory / "crl.pem"})


@click.command(
    cls=Command,
    examples=[
        "vestryctl pki issue ~/vestry-pki vestryd --server --dns vestry.example.org --ip 192.0.2.7",
        "vestryctl pki issue ~/vestry-pki billing --client",
        "vestryctl pki issue ~/vestry-pki web --client --spiffe spiffe://example.org/web --days 7",
    ],
)
@directory_argument
@name_argument
@click.option("--server", "kind", flag_value="server", help="For a daemon.")
@click.option("--client", "kind", flag_value="client", help="For a caller.")
@click.option("--spiffe", type=_Checked("uri", certificate_names.spiffe_id), help="Its SPIFFE ID.")
@click.option("--dns", type=_Checked("name", certificate_names.dns_name), multiple=True, help="A DNS name; repeatable.")
@click.option(
    "--ip",
    type=_Checked("address", lambda text: str(ip_address(text))),
    multiple=True,
    help="An IP address; repeatable.",
)
@click.option("--days", type=_LEAF_DAYS, default=90, show_default=True, metavar="N", help="How long it lasts.")
@pass_app
def issue(
    app: App,
    directory: Path,
    name: str,
    kind: str | None,
    spiffe: str | None,
    dns: tuple[str],
    ip: tuple[str],
    days: int,
) -> None:
    """Make a key and a certificate, in DIR/NAME.

    One of --server and --client is needed. A server without --dns and --ip is called NAME. A daemon calls a client by its
    SPIFFE ID, else by its DNS names, else cn:NAME. DIR/NAME holds certificate.pem and key.pem, which its owner alone can
    read.
    """
    from vestryctl.commands.pki.authority import opened  # noqa: PLC0415 - see above

    if kind is None:
        raise click.UsageError("Say whom the certificate is for: --server or --client.")
    if kind == "server" and not (dns or ip):
        dns = (name,)
    with opened(directory, now=datetime.now(UTC)) as authority:
        leaf = authority.issue(name, kind=kind, spiffe=spiffe, dns=dns, ip=ip, days=days)
    _show(app, leaf, _files_of(directory, name))


@click.command(cls=Command, examples=["vestryctl pki renew ~/vestry-pki vestryd"])
@directory_argument
@name_argument
@click.option("--days", type=_LEAF_DAYS, metavar="N", help="How long it lasts. [default: as long as the old one did]")
@pass_app
def renew(app: App, directory: Path, name: str, days: int | None) -> None:
    """Replace the key and the certificate in DIR/NAME.

    The new certificate has the old one's names. The old one stays valid until it expires, so
    that both can be in use for a while: 'vestryctl pki revoke' ends it.
    """
    from vestryctl.commands.pki.authority import opened  # noqa: PLC0415 - see above

    with opened(directory, now=datetime.now(UTC)) as authority:
        leaf = authority.renew(name, days=days)
    _show(app, leaf, _files_of(directory, name))


@click.command(cls=Command, examples=["vestryctl pki revoke ~/vestry-pki billing"])
@directory_argument
@name_argument
@pass_app
def revoke(app: App, directory: Path, name: str) -> None:
    """Revoke every certificate that was ever issued for NAME.

    DIR/crl.pem lists what is revoked. A daemon refuses those callers once it has the new list, at the place that its setting
    listen.tls_crl names: it needs no restart, and ends what they do within a second. 'vestryctl pki renew' makes a new
    certificate for NAME.
    """
    from vestryctl.commands.pki.authority import opened  # noqa: PLC0415 - see above

    with opened(directory, now=datetime.now(UTC)) as authority:
        serials = authority.revoke(name)
    crl = directory / "crl.pem"
    count = f"{len(serials)} certificate{'s' if len(serials) > 1 else ''}"
    value = {"name": name, "serials": serials, "crl": str(crl)}
    app.out.show(value, lambda: app.out.line(f"{name}: {count} revoked. Copy {crl} to the daemons"))


@click.command("list", cls=Command, examples=["vestryctl pki list ~/vestry-pki"])
@directory_argument
@pass_app
def list_(app: App, directory: Path) -> None:
    """List the CA's certificate, and all that it has issued.

    A certificate is valid, replaced (by a newer one of that name, and still valid), revoked or expired.
    """
    from vestryctl.commands.pki.authority import opened  # noqa: PLC0415 - see above

    with opened(directory, now=datetime.now(UTC), needs_key=False) as authority:
        leaves = authority.leaves()
    rows = [
        (leaf.name, leaf.kind, ", ".join(leaf.names), _day(leaf.expires), leaf.serial, leaf.state) for leaf in leaves
    ]
    columns = ("NAME", "KIND", "NAMES", "EXPIRES", "SERIAL", "STATE")
    app.out.show([_as_value(leaf) for leaf in leaves], lambda: app.out.table(columns, rows, fold=("NAMES", "SERIAL")))


def _files_of(directory: Path, name: str) -> dict[str, Path]:
    return {"certificate": directory / name / "certificate.pem", "key": directory / name / "key.pem"}


def _show(app: App, leaf: Leaf, files: dict[str, Path]) -> None:
    value = _as_value(leaf) | {name: str(path) for name, path in files.items()}
    facts = [
        ("name", leaf.name),
        ("kind", leaf.kind),
        *([("names", ", ".join(leaf.names))] if leaf.names else []),
        *([("caller", leaf.caller)] if leaf.caller else []),
        ("serial", leaf.serial),
        ("expires", _day(leaf.expires)),
        *((name, str(path)) for name, path in files.items()),
    ]
    app.out.show(value, lambda: app.out.facts(facts))


def _as_value(leaf: Leaf) -> dict[str, Any]:
    return {
        "name": leaf.name,
        "kind": leaf.kind,
        "names": list(leaf.names),
        "caller": leaf.caller or None,
        "expires": leaf.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "serial": leaf.serial,
        "state": leaf.state,
    }


def _day(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
