"""How commands ask a running service: base address, API key, problem answers."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import httpcore
import msgspec
import typer

from zhenxian.certs.fetch import failing
from zhenxian.cli.common import errors
from zhenxian.core.errors import ConfigError, ZhenxianError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
KEY_VARIABLE: Final = "ZHENXIAN_API_KEY"
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_TIMEOUT: Final = 30.0  # seconds for each of connecting, sending and each read
_TIMEOUTS: Final = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT)}
_LONG: Final = 86_400.0  # seconds a service may take to read and register what was uploaded
_PATIENCE: Final = {"timeout": {**_TIMEOUTS["timeout"], "read": _LONG}}
_UNREACHABLE: Final = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)
_LISTED: Final = 20  # rows of a refused batch that are listed
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Url = Annotated[str, typer.Option(help="Base address of the service's administration listener.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File with the API key, mode 0600. Default: {KEY_VARIABLE} in the environment.",
        show_default=False,
    ),
]


class ServiceUnreachableError(ZhenxianError):
    """The service could not be asked, or what answered is not it."""


class Client:
    """One service, asked with one API key. Redirects are not followed."""

    def __init__(self, url: str, key_file: Path | None = None) -> None:
        """Raises ConfigError for an address or key that cannot be used."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and not parts.query
            usable = usable and parts.port != 0
        except ValueError:  # brackets or port
            usable = False
        if not usable:
            raise ConfigError(f"{url}: http://host:port or https://host:port expected")
        key = _key(key_file)
        if key is not None and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ConfigError(f"{url}: the API key would travel in clear; use https")
        self._base = url.rstrip("/")
        self._headers = {"x-api-key": key} if key is not None else {}
        # The system's certificates, and SSL_CERT_FILE for a private authority.
        secured = ssl.create_default_context() if parts.scheme == "https" else None
        self._http = httpcore.ConnectionPool(ssl_context=secured)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Ask. Raises as `request`."""
        return self.request("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any], **query: str | int) -> dict[str, Any]:
        """Send one JSON object. Raises as `request`."""
        return self.request("POST", path, query, body)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        upload: Iterator[bytes] | None = None,
        lines: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """The answer, one JSON object; empty when there is nothing to say (204).

        Args:
            path: already escaped; `segment` escapes a part of it.
            headers: beside those that every request has.
            upload: a body of another form; its headers are among `headers`. The answer may take
                hours then.
            lines: of the user's file, where the rows of a batch stand.

        Raises:
            typer.Exit: status 1, after the service's problem (RFC 9457) was printed.
            ServiceUnreachableError: no answer, or none that the service gives.
        """
        response = self._send(method, path, query, body, headers, upload)
        if response.status == 204:
            return {}
        return self._read(response.status, response.content, path, lines)

    def delete(self, path: str, query: Mapping[str, str | int]) -> str | None:
        """Take something away; the path of the record of it, where there is one.

        Raises:
            typer.Exit, ServiceUnreachableError: as `request`.
        """
        response = self._send("DELETE", path, query)
        if response.status != 204:
            self._read(response.status, response.content, path)
        found = dict(response.headers).get(b"location")
        return found.decode("latin-1") if found is not None else None

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        upload: Iterator[bytes] | None = None,
    ) -> httpcore.Response:
        sent = {**self._headers, **(headers or {})}
        content: bytes | Iterator[bytes] | None = upload
        if body is not None:
            content = msgspec.json.encode(body)
            sent["content-type"] = "application/json"
        try:
            return self._http.request(
                method,
                self._address(path, query),
                headers=list(sent.items()),
                content=content,
                extensions=_TIMEOUTS if upload is None else _PATIENCE,
            )
        except _UNREACHABLE as error:
            raise self._unreachable(error) from None

    def exchange(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Status and decoded body of any answer, a refusal too; None for a body that is no JSON.

        Raises:
            ServiceUnreachableError: no answer.
        """
        try:
            response = self._http.request(
                method,
                self._base + path,
                headers=[*self._headers.items(), ("content-type", "application/json")],
                content=_encode(body),
                extensions=_TIMEOUTS,
            )
        except _UNREACHABLE as error:
            raise self._unreachable(error) from None
        try:
            return response.status, msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return response.status, None

    def download(self, path: str, out: Callable[[bytes], object]) -> None:
        """Hand an answer that is no JSON on as it comes. Raises as `request`."""
        try:
            with self._http.stream(
                "GET",
                self._address(path, {}),
                headers=list(self._headers.items()),
                extensions=_TIMEOUTS,
            ) as response:
                if response.status != 200:
                    self._read(response.status, response.read(), path)
                for part in response.iter_stream():
                    out(part)
        except _UNREACHABLE as error:
            raise self._unreachable(error) from None

    def _address(self, path: str, query: Mapping[str, str | int]) -> str:
        return self._base + path + (f"?{urlencode(query)}" if query else "")

    def _unreachable(self, error: Exception) -> ServiceUnreachableError:
        return ServiceUnreachableError(
            f"{self._base}: {failing(error)}; is the service running there?"
        )

    def _read(
        self, status: int, content: bytes, path: str, lines: Sequence[int] | None = None
    ) -> dict[str, Any]:
        try:
            answer = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if isinstance(answer, dict) and (200 <= status < 300 or "rejections" in answer):
            return answer  # an import's report says itself what is wrong
        if status < 400 or not isinstance(answer, dict) or "title" not in answer:
            raise ServiceUnreachableError(
                f"{self._base}: status {status} and no answer of this service to {path}"
            )
        detail = answer.get("detail")
        errors.print(f"{status} {answer['title']}" + (f": {detail}" if detail else ""))
        for row in answer.get("rejected", [])[:_LISTED]:
            place = f"line {lines[row['row']]}" if lines is not None else f"row {row['row']}"
            errors.print(f"{place}: {row['detail']}")
        raise typer.Exit(1)


def segment(text: str) -> str:
    """Escape one segment of a path."""
    return quote(text, safe="")


def _key(file: Path | None) -> str | None:
    if file is None:
        key, source = os.environ.get(KEY_VARIABLE), KEY_VARIABLE
    else:
        key, source = read_secret(file).decode("utf-8", "replace").strip(), str(file)
    if key is None or (key == "" and file is None):
        return None
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise ConfigError(f"{source} holds no API key")
    return key


def read_secret(file: Path) -> bytes:
    """The content of a file that nobody else may read.

    Raises:
        ConfigError: others may, or it cannot be read.
    """
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{file} is readable by others: chmod 600 {file}")
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
