"""Object stores through `pyarrow.fs`: what a URL names, what lies there, and its refusals as errors to act on.

Nothing secret is ever taken from a URL or kept: credentials come from the environment of each process, as the stores'
own tools take them. Heavy packages are imported where a store is really asked.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from electra_cli.errors import DataError, ElectraError, ResourceError, UsageError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OPTIONS = ("endpoint_override", "region", "scheme")
_ATTEMPTS = 5  # of a request to S3, with growing pauses; the SDK's own default is three
_PATIENCE = timedelta(seconds=20)  # Google's client tries for 15 minutes if nothing is said
_REFUSED = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "EXPIRED_TOKEN",
    "INVALID_CLIENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "OAUTH2",
    "UNRECOGNIZED_CLIENT",
    "INVALID_TOKEN",
)
_UNREACHED = (
    "NETWORK_CONNECTION",
    "CURL ERROR",
    "REQUEST_TIMEOUT",
    "SERVICE_UNAVAILABLE",
    "SLOW_DOWN",
    "INTERNAL_FAILURE",
)


@dataclass(frozen=True)
class Store:
    """An object store: plain data without secrets, from which any process opens it.

    Attributes:
        scheme: which kind it is.
        endpoint: host and port, or URL, of a server other than Amazon's or Google's.
        transport: `http` or `https` of that server; None leaves it to the library.
        region: Amazon's region; None leaves it to the library.
    """

    scheme: Literal["s3", "gs"]
    endpoint: str | None = None
    transport: str | None = None
    region: str | None = None

    def label(self, path: str) -> str:
        """Return how messages name the object at `path` (bucket and key)."""
        return f"{self.scheme}://{path}"


@dataclass(frozen=True)
class Stored:
    """One object of a store; `path` is bucket and key."""

    store: Store
    path: str
    bytes: int

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.store.label(self.path)


def url_scheme(text: str) -> str | None:
    """Return the scheme of what looks like a URL, in lower case, None for a path."""
    found = _URL.match(text)
    return None if found is None else found[1].lower()


def file_path(url: str) -> str:
    """Return the path that a `file://` URL means; UsageError if it names another machine."""
    parts = urlsplit(url)
    if parts.hostname not in (None, "localhost"):
        raise UsageError("names another machine's file", code="BAD_URL", where=without_secrets(url))
    return unquote(parts.path)


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    scheme, separator, rest = url.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def parse(url: str) -> tuple[Store, str]:
    """Return the store that a URL means, and the path in it: bucket and key, not decoded in any way.

    `?endpoint_override=`, `?region=` and `?scheme=` are understood; else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
    AWS_REGION and AWS_DEFAULT_REGION count for S3. Raises UsageError for other schemes, options, and credentials.
    """
    scheme, shown = url_scheme(url), without_secrets(url)
    name: Literal["s3", "gs"]
    if scheme in ("s3", "s3a", "s3n"):
        name = "s3"
    elif scheme in ("gs", "gcs"):
        name = "gs"
    else:
        raise UsageError(
            f"text is not read from {scheme}://",
            code="BAD_URL",
            where=shown,
            hint="use s3://, gs://, or fetch it first",
        )
    rest, _, query = url.partition("://")[2].partition("?")
    if "@" in rest.partition("/")[0]:
        raise UsageError(
            "credentials do not belong into a URL, where others can read them",
            code="BAD_URL",
            where=shown,
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or whatever the store's own tools take",
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise UsageError(
            f"the URL has an unknown option {unknown[0]!r}",
            code="BAD_URL",
            where=shown,
            hint=f"known are {', '.join(_OPTIONS)}; credentials come from the environment",
        )
    path = re.sub(r"/{2,}\Z", "/", rest)
    if not path.partition("/")[0]:
        raise UsageError("names no bucket", code="BAD_URL", where=shown, hint=f"{name}://BUCKET/KEY")
    endpoint, region = options.get("endpoint_override"), options.get("region")
    if name == "s3":
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if endpoint and not region:
            region = "us-east-1"  # other servers than Amazon's have no regions, but requests are signed for one
    return Store(name, endpoint or None, options.get("scheme"), region or None), path


def find(url: str) -> list[Stored]:
    """Return the objects that a URL means, in the order of their names: an object, a folder, or a pattern.

    A folder is every object under a prefix that ends at a slash; names that begin with a dot are left out, as they are
    in local folders. In a pattern `*` and `[…]` stay within a name, `**` does not; an object that is really called so
    comes first.

    Raises:
        DataError: there is no such object.
        ResourceError: the store cannot be reached, or refuses.
    """
    store, path = parse(url)
    label = store.label(path)
    with store_errors(label):
        store = _with_region(store, path)
        import pyarrow.fs

        system = filesystem(store)
        info = system.get_file_info(path.rstrip("/"))
        if info.type == pyarrow.fs.FileType.File and not path.endswith("/"):
            return [Stored(store, path, info.size)]
        folder, chosen = path.rstrip("/"), None
        if info.type != pyarrow.fs.FileType.Directory:
            if not re.search(r"[*\[]", path.partition("/")[2]):
                raise FileNotFoundError(path)
            folder = re.split(r"[*\[]", path, maxsplit=1)[0].rpartition("/")[0]
            chosen = _pattern(path)
        selector = pyarrow.fs.FileSelector(folder, recursive=True, allow_not_found=True)
        found = [
            Stored(store, entry.path, entry.size)
            for entry in system.get_file_info(selector)
            if entry.type == pyarrow.fs.FileType.File
            and (chosen is None or chosen.fullmatch(entry.path))
            and not re.search(r"/\.", entry.path.removeprefix(folder))
        ]
    if chosen is not None and not found:
        raise DataError("no object matches", code="MISSING_INPUT", where=label, hint="check the pattern")
    return sorted(found, key=lambda one: one.path.split("/"))


def open_object(store: Store, path: str) -> Any:
    """Open an object for reading at any place; wrap reads in `store_errors`. Returns a `pyarrow.NativeFile`."""
    with store_errors(store.label(path)):
        return filesystem(store).open_input_file(path)


@functools.lru_cache(maxsize=32)
def filesystem(store: Store) -> Any:
    """Return the `pyarrow.fs.FileSystem` of a store; connections are kept for the process."""
    import pyarrow.fs

    options: dict[str, Any] = {"endpoint_override": store.endpoint} if store.endpoint else {}
    if store.transport:
        options["scheme"] = store.transport
    if store.scheme == "gs":
        anonymous = store.endpoint is not None  # a stand-in for Google's server, which takes no tokens
        return pyarrow.fs.GcsFileSystem(retry_time_limit=_PATIENCE, anonymous=anonymous, **options)
    return pyarrow.fs.S3FileSystem(
        region=store.region,
        connect_timeout=10,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **options,
    )


@contextmanager
def store_errors(label: str) -> Iterator[None]:
    """Turn what a store refuses inside the block into an ElectraError about `label`."""
    try:
        yield
    except ElectraError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no bucket can have
        raise store_error(error, label) from error


def is_of_store(error: Exception) -> bool:
    """Return whether an error speaks of a store, rather than of what was done with its bytes."""
    return bool(re.search(r"AWS Error|google::cloud|curl", str(error)))


def store_error(error: Exception, label: str) -> ElectraError:
    """Return the error to act on for one that `pyarrow.fs` raised about `label`."""
    if isinstance(error, FileNotFoundError):
        return DataError("no such object or folder", code="MISSING_INPUT", where=label, hint="check the URL")
    text = " ".join(str(error).split())
    loud = text.upper()
    named = re.search(r"AWS Error ([A-Z_]+)", text)
    said = f" ({named[1]})" if named else ""
    if "NO_SUCH_BUCKET" in loud or "NO_SUCH_KEY" in loud:
        return DataError("no such bucket or object", code="MISSING_INPUT", where=label, hint="check the URL")
    if isinstance(error, PermissionError) or any(word in loud for word in _REFUSED):
        return ResourceError(
            f"the store refuses access{said}",
            code="PERMISSION_DENIED",
            where=label,
            hint="credentials come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or "
            "the machine's role; GOOGLE_APPLICATION_CREDENTIALS for gs://",
        )
    if "HTTP STATUS 301" in loud or "CONFIGURED REGION" in loud or "PERMANENT_REDIRECT" in loud:
        return ResourceError(
            "the bucket is in another region", code="WRONG_REGION", where=label, hint="set AWS_REGION, or ?region=NAME"
        )
    if any(word in loud for word in _UNREACHED):
        return ResourceError(
            f"the store cannot be reached{said}",
            code="NETWORK",
            where=label,
            hint="check the network and AWS_ENDPOINT_URL, then run the same command again",
        )
    return ResourceError(f"the store failed{said or f': {text[:200]}'}", code="STORE_ERROR", where=label)


def _with_region(store: Store, path: str) -> Store:
    """Ask Amazon where the bucket is, if nobody says it and nothing else could."""
    if store.scheme != "s3" or store.region or store.endpoint or os.environ.get("AWS_PROFILE"):
        return store
    import pyarrow.fs

    return replace(store, region=pyarrow.fs.resolve_s3_region(path.partition("/")[0]))


def _pattern(path: str) -> re.Pattern[str]:
    """Return the expression for a pattern of `*`, `**` and `[…]`."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}

    def part(found: re.Match[str]) -> str:
        text = found[0]
        if text in parts:
            return parts[text]
        return f"[{'^' if text[1] == '!' else ''}{re.escape(text[1:-1].removeprefix('!'))}]".replace(r"\-", "-")

    pieces, place = [], 0
    for found in re.finditer(r"\*\*/|\*\*|\*|\[!?[^\]/]+\]", path):
        pieces += [re.escape(path[place : found.start()]), part(found)]
        place = found.end()
    return re.compile("".join([*pieces, re.escape(path[place:])]), re.DOTALL)
