"""Reads the settings from the command line, the environment and `vestryd.toml`.

The environment variable of a setting is its key in capitals: `VESTRY_LISTEN_TCP` for `listen.tcp`. A variable that
begins with VESTRY_ and is neither a setting's nor the client library's is an error, as an unknown key in the file is.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast, get_args, get_origin, get_type_hints

from vestryd.domain.errors import SettingsInvalid
from vestryd.settings.checks import is_loopback
from vestryd.settings.model import Settings

CONFIGURATION_DIRECTORY = "/etc/vestry"  # without a settings file and without systemd
ENVIRONMENT_PREFIX = "VESTRY_"
CLIENT_PREFIXES = (  # the client library's
    "VESTRY_ADDRESS",
    "VESTRY_CACHE_",
    "VESTRY_CLIENT_",
    "VESTRY_OUTPUT",
    "VESTRY_TLS_",
    "VESTRY_TOKEN",
)
OTHERS = (
    "VESTRY_FAILPOINT",
    "VESTRY_UNLOCK_PASSPHRASE",
)  # read where they are needed: domain/failpoints, host/unlocking


@dataclass(frozen=True, slots=True)
class Source:
    """Somewhere that values come from, under names of its own: `spell` turns a setting's key into that name."""

    values: Mapping[str, object]
    spell: Callable[[str], str] = str
    where: str = ""  # stands before each problem
    is_text: bool = True  # numbers arrive as text
    relative_to: Path = field(default_factory=Path.cwd)


def load(path: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Settings:
    """Read the settings: `overrides` (key -> value, None for not given) win over `environ`, that over the file's.

    A relative path in the file is relative to the file's directory, others to the working directory. Raises
    SettingsInvalid with every problem that was found, wherever it was.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    kinds = dict(_kinds(Settings))
    sources = [
        Source(_surroundings(path, environ)),
        *_file(path, problems),
        Source(_variables(environ), spell=variable),
        Source({_option(key): value for key, value in overrides.items() if value is not None}, spell=_option),
    ]
    for source in sources:
        known = {source.spell(key): key for key in kinds}
        for name, value in source.values.items():
            try:
                key = known.get(name) or _unknown(name, known)
                values[key] = _convert(kinds[key], value, source)
            except ValueError as error:
                problems.append(f"{source.where}{name}: {error}")
    settings: Settings = _build(Settings, values)
    problems += _contradictions(settings)
    if problems:
        raise SettingsInvalid(tuple(problems))
    return settings


def _contradictions(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with settings that are fine each by itself."""
    listen = settings.listen
    if not listen.unix and not listen.tcp:
        yield "listen.unix and listen.tcp are both empty: nobody could reach the daemon"
    if (listen.tls_certificate is None) != (listen.tls_key is None):
        yield "listen.tls_certificate and listen.tls_key need each other: set both, or none"
    if listen.tls_certificate is None:
        if listen.tls_client_ca or listen.tls_crl:
            yield "listen.tls_client_ca and listen.tls_crl mean nothing without listen.tls_certificate and listen.tls_key"
        if listen.tcp and not is_loopback(listen.tcp):
            yield (
                f"listen.tcp: must be a loopback address, not {listen.tcp!r}, unless TCP is served over TLS: set "
                "listen.tls_certificate and listen.tls_key"
            )
    if listen.tls_crl and not listen.tls_client_ca:
        yield "listen.tls_crl means nothing without listen.tls_client_ca, whose certificates it revokes"


def variable(key: str) -> str:
    """Return the environment variable that overrides the setting `key`."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "_")


def _option(key: str) -> str:
    return "--" + re.sub("[._]", "-", key)


def _kinds(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key of each setting and its annotated type."""
    for name, kind in get_type_hints(section, include_extras=True).items():
        if is_dataclass(kind):
            yield from _kinds(cast("type", kind), f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _surroundings(path: Path | None, environ: Mapping[str, str]) -> dict[str, object]:
    """Return the defaults that depend on where the daemon runs: systemd tells which directories it made for us."""
    state, runtime, configuration = (
        environ.get(name, "").partition(":")[0]  # a list, when the unit names several
        for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CONFIGURATION_DIRECTORY")
    )
    directory = path.parent if path else Path(configuration or CONFIGURATION_DIRECTORY)
    found: dict[str, object] = {"config.directory": directory}
    if state:
        found["state_directory"] = state
    if runtime:
        found["listen.unix"] = f"{runtime}/vestry.sock"
    return found


def _file(path: Path | None, problems: list[str]) -> Iterator[Source]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: can't be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: isn't UTF-8: byte {error.start} is wrong")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: {error}")
    else:
        values = dict(_flatten(document))
        yield Source(values, where=f"{path}: ", is_text=False, relative_to=path.absolute().parent)


def _flatten(document: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    sections = {key.partition(".")[0] for key, _ in _kinds(Settings) if "." in key}
    for name, value in document.items():
        if name in sections and isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _variables(environ: Mapping[str, str]) -> dict[str, object]:
    ours = {name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(CLIENT_PREFIXES)}
    return {name: environ[name] for name in sorted(ours - {*OTHERS})}


def _unknown(name: str, known: Mapping[str, str]) -> NoReturn:
    sections = {one.partition(".")[0] for one in known if "." in one}
    if name in sections:
        raise ValueError("must be a table")
    close = difflib.get_close_matches(name, known if "." in name else [*known, *sections], n=1)
    close += [one for one in known if one.endswith(f".{name}")]  # the key is right, its table is missing
    raise ValueError("there is no such setting" + (f"; did you mean {close[0]}?" if close else ""))


def _convert(annotated: Any, value: object, source: Source) -> object:
    """Return `value` as what the setting holds. Raises ValueError with what is wrong with it."""
    kind, *checks = get_args(annotated) if get_origin(annotated) is Annotated else (annotated,)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(get_args(kind))}, not {value!r}")
        return value
    if kind == tuple[str, ...]:
        return _texts(value, source)
    if kind in {int, float}:
        value = _number(kind, value, source)
    elif not isinstance(value, str | Path):
        raise ValueError(f"must be text, not {value!r}")
    elif kind is Path:
        return _path(value, source)
    elif kind == Path | None:
        return _path(value, source) if str(value) else None
    for problem in (check(value) for check in checks):
        if problem:
            raise ValueError(problem)
    return value


def _number(kind: type, value: object, source: Source) -> object:
    expected = "a whole number" if kind is int else "a number"
    if isinstance(value, str) and source.is_text:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"must be {expected}, not {value!r}") from None
    is_number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not is_number or isinstance(value, bool):
        raise ValueError(f"must be {expected}, not {value!r}")
    return value


def _texts(value: object, source: Source) -> tuple[str, ...]:
    """Return a list of texts; in a variable they stand between commas."""
    texts = (
        [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) and source.is_text else value
    )
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(texts)


def _path(value: str | Path, source: Source) -> Path:
    if not str(value):
        raise ValueError("must not be empty")
    return source.relative_to / value


def _build(section: type, values: Mapping[str, object], prefix: str = "") -> Any:
    """Build a section from key -> value; what isn't there keeps its default."""
    kinds = get_type_hints(section)
    arguments = {
        one.name: _build(kinds[one.name], values, f"{prefix}{one.name}.")
        if is_dataclass(kinds[one.name])
        else values.get(prefix + one.name, one.default)
        for one in fields(section)
    }
    return section(**arguments)
