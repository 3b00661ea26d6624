"""`vestryctl token`: credentials for callers without a certificate and not on the daemon's host."""

from __future__ import annotations

from datetime import timedelta

import click

from vestry.auth_socket import fetch, path_beside
from vestry.v1 import tokens_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.failures import ExitCode, Failure
from vestryctl.options import Group, Span, Utf8
from vestryctl.wire import as_value, enum_name

_PAGE = 1000


@click.group(cls=Group)
def token() -> None:
    """Make, list and revoke bearer tokens.

    A token speaks for a user, in groups, for a time. Who has it sends it along with each call, as --token-file and
    vestry.Client(token=…) do.
    """


@token.command(
    examples=[
        "vestryctl token create --user ci --ttl 30d > ci.token",
        "vestryctl token create --user deploy --group operators --once --description 'release 7'",
    ]
)
@click.option("--user", type=Utf8(), required=True, metavar="NAME", help="Whom it speaks for: user:NAME in the policy.")
@click.option(
    "--group",
    "groups",
    type=Utf8(),
    multiple=True,
    metavar="NAME",
    help="A group that it puts them in; may be repeated.",
)
@click.option("--ttl", type=Span(), metavar="SPAN", help="How long it is good. [default: 30d]")
@click.option("--once", is_flag=True, help="Good for one call only.")
@click.option("--description", type=Utf8(), default="", metavar="TEXT", help="What it is for.")
@pass_app
def create(
    app: App, user: str, groups: tuple[str, ...], ttl: timedelta | None, *, once: bool, description: str
) -> None:
    """Make a token, and print it.

    It is printed this once: the daemon keeps only a hash of it. What is known of it goes to standard error.
    """
    request = tokens_pb2.CreateTokenRequest(user=user, groups=groups, once=once, description=description)
    if ttl is not None:
        request.ttl.FromTimedelta(ttl)
    answer = app.daemon.call(app.daemon.tokens.CreateToken, request)
    made = answer.metadata
    app.out.show({**as_value(answer), "token": answer.token}, lambda: app.out.line(answer.token))
    ends = f"until {text.local_time(made.expire_time)}" + (", for one call" if made.once else "")
    app.err.line(f"vestryctl: token {made.token_id} speaks for user:{made.user} {ends}; keep it secret")


@token.command("list", examples=["vestryctl token list", "vestryctl token list --user ci -o json"])
@click.option("--user", type=Utf8(), default="", metavar="NAME", help="Only this user's.")
@pass_app
def list_(app: App, user: str) -> None:
    """List the tokens, newest first.

    Those that are no longer good are there for a day more.
    """
    request = tokens_pb2.ListTokensRequest(user=user, page_size=_PAGE)
    found = [one for page in app.daemon.pages(app.daemon.tokens.ListTokens, request) for one in page.tokens]
    columns = ("TOKEN", "USER", "GROUPS", "STATE", "EXPIRES", "LAST USED", "BY", "DESCRIPTION")
    app.out.show(
        {"tokens": [as_value(one) for one in found]},
        lambda: app.out.table(columns, map(_row, found), fold=("DESCRIPTION", "GROUPS")),
    )


@token.command(examples=["vestryctl token revoke 0123456789abcdef"])
@click.argument("token_id", type=Utf8(), metavar="TOKEN")
@pass_app
def revoke(app: App, token_id: str) -> None:
    """End a token at once.

    The watches that it opened end within a second. TOKEN is its id, as 'list' shows it.
    """
    answer = app.daemon.call(app.daemon.tokens.RevokeToken, tokens_pb2.RevokeTokenRequest(token_id=token_id))
    ended = answer.metadata
    app.out.show(
        as_value(answer), lambda: app.out.line(f"token {ended.token_id} of user:{ended.user} is no longer good")
    )


@token.command(examples=['grpcurl -unix -H "authorization: Bearer $(vestryctl token local)" …'])
@pass_app
def local(app: App) -> None:
    """Print a token of minutes, for other gRPC clients.

    The daemon's auth socket gives it to who can reach the unix socket; it speaks for you, on this host alone. vestryctl and
    the client library need no such help.
    """
    if not app.daemon.address.startswith("unix:"):
        raise Failure(f"there is no auth socket for {app.daemon.address}: name a unix socket", ExitCode.USAGE)
    path = path_beside(app.daemon.address)
    found = fetch(path, timeout_seconds=app.timeout_seconds)
    if found is None:
        raise Failure(f"can't reach the auth socket {path}", ExitCode.UNAVAILABLE)
    value = {"caller": found.caller, "expires_in_seconds": found.seconds, "token": found.text}
    app.out.show(value, lambda: app.out.line(found.text))


def _row(one: tokens_pb2.Token) -> tuple[str, ...]:
    return (
        one.token_id,
        one.user,
        ", ".join(one.groups) or text.NOTHING,
        enum_name(tokens_pb2.TokenState.DESCRIPTOR, one.state) or text.NOTHING,
        text.local_time(one.expire_time),
        text.local_time(one.last_use_time) if one.HasField("last_use_time") else "never",
        one.creator,
        one.description or text.NOTHING,
    )
