"""`study serve`: everything is checked, then pages are served until somebody interrupts."""

import ipaddress
import math
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette

from repro.study.app import Settings, StudyServer
from repro.study.contents import read_contents, serve_images, store_contents
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.errors import StudyError
from repro.study.texts import load_texts

BACKLOG = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What was typed.

    Args:
        host: address to listen at.
        port: 0 takes a free one.
        url: address that assessors open, where a proxy or another name stands before the server.
        rate: requests a second of one session.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    url: str | None = None
    rate: float = 20.0


def serve(study: Study, where: Where) -> None:
    """Serve a study.

    Raises:
        StudyError: the study is not as expected or was changed after votes, the address is taken, or a server that
            others reach has no ``url``.
    """
    if not 0 <= where.port < 2**16:
        raise StudyError(f"--port must be from 0 to {2**16 - 1}, got {where.port}")
    if not 0 < where.rate < math.inf:
        raise StudyError(f"--rate must be a number of requests a second above 0, got {where.rate}")
    if where.url is None and not _is_loopback(where.host):
        raise StudyError(f"{where.host} is reached by others: say the address that they open with --url http://...")
    listener = listen(where)
    origins = _origins(where, listener.getsockname()[1])
    app = build_app(study, Settings(origins=origins, rate=where.rate))
    print(f"serving {study.name} at {origins[0]} (links: python -m repro study invite); Ctrl-C stops", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=30)
    uvicorn.Server(config).run(sockets=[listener])


def build_app(study: Study, settings: Settings) -> Starlette:
    """The application of a study whose contents are checked.

    Raises:
        StudyError: as `serve`.
    """
    texts = load_texts(study.language, study.folder)
    contents = read_contents(study, texts)
    images: dict[str, Path] = serve_images(contents)
    database = Database(study.database)
    store_contents(database, contents)
    return StudyServer(study, texts, database, images, settings).app()


PORTS = {"http": 80, "https": 443}


def checked_url(url: str) -> str:
    """An address as an origin: ``https://study.example``.

    Raises:
        StudyError: it is none.
    """
    wrong = f"--url is {url!r}; expected an address such as https://study.example, without a path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # brackets that do not close, a port that is no number
        raise StudyError(wrong) from error
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in PORTS or not parts.hostname or extra:
        raise StudyError(wrong)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # browsers leave the usual port out of the origin of a form
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, PORTS[parts.scheme]) else "")


def _origins(where: Where, port: int) -> list[str]:
    local = [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    return [checked_url(where.url), *local] if where.url else local


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(where: Where) -> socket.socket:
    """A socket that listens.

    Raises:
        StudyError: the address is taken, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio then sets TCP_NODELAY
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((where.host, where.port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:  # a name that is none cannot be asked for
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"cannot listen at {where.host[:80]!r}, port {where.port}: {reason}") from error
    return listener
