"""The studio's server: the pages, the files of runs, and the guard before both."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from impasto.desk.desk import Desk
from impasto.errors import ImpastoError, OutputError, RunFolderError, SpecError
from impasto.extras import import_extra
from impasto.folders.records import RunRecord
from impasto.jobs.queue import Jobs
from impasto.studio.guard import LOOPBACK, App, Guard

MOST_BYTES = 200_000_000  # of one request: larger than any picture that may be uploaded
HTML_POLICY = "sandbox allow-scripts; default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


@dataclass(frozen=True)
class Address:
    """Where the studio listens, and the password that it asks for."""

    host: str = "127.0.0.1"
    port: int = 0  # any that is free
    password: str | None = None

    def __post_init__(self) -> None:
        """Raise SpecError for a host that others reach, without a password."""
        if not self.is_private and not self.password:
            raise SpecError(
                f"--host {self.host} lets other machines reach the studio, and whoever reaches it can paint and delete "
                "runs; choose a password with --password, or leave --host out"
            )

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches the studio."""
        return self.host in ("127.0.0.1", "localhost", "::1")


@contextmanager
def studio(
    runs: Path,
    address: Address,
    groups: Mapping[str, Sequence[str]],
    networks: Sequence[str] = (),
    most_bytes: int = MOST_BYTES,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A studio that is ready: its URL, and the function that serves until Ctrl-C.

    `groups` are the headings of the settings. `networks` are names of modules that settings may choose, because the
    user trusts their code.
    At the end the present run has written a checkpoint, and uploads that no run has taken are deleted.
    Raises OutputError if the folder of runs cannot be made or the port is taken, SpecError without the extra.
    """
    with tempfile.TemporaryDirectory(prefix="impasto-studio-") as uploads:
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=uploads)
        import_extra("gradio", "impasto studio", "studio")
        try:
            runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{runs} cannot be made: {error.strerror or error}") from None
        listening = _listen(address)
        port = listening.getsockname()[1]
        hosts = tuple(f"{name}:{port}" for name in LOOPBACK) if address.is_private else None
        try:
            jobs = Jobs(runs)
        except OutputError:
            listening.close()
            raise
        try:
            desk = Desk(runs, jobs, Path(uploads), tuple(networks))
            guarded = Guard(_application(desk, groups, most_bytes), hosts, address.password, most_bytes)
            shown = address.host if address.host not in ("0.0.0.0", "::") else socket.gethostname()
            yield f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/", lambda: _serve(guarded, listening)
        finally:
            listening.close()
            jobs.close()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        why = error.strerror or error
        raise OutputError(
            f"the studio cannot listen on {address.host}:{address.port}: {why}; name another --port"
        ) from None
    return listening


def _serve(app: App, listening: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def _application(desk: Desk, groups: Mapping[str, Sequence[str]], most_bytes: int) -> App:
    import gradio as gr
    from fastapi import FastAPI, Response
    from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse

    from impasto.desk.making import tiff, video
    from impasto.desk.places import run_folder, served, zipped
    from impasto.studio.pages import CSS, HEAD, pages, theme

    runs = desk.runs
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/files/{name}/{path:path}")
    def file(name: str, path: str) -> Response:
        found = served(runs, name, path)
        if found is None:
            return PlainTextResponse("there is no such file, or it may not be shown here", 404)
        there, kind = found
        headers = {"cache-control": "no-cache"}
        if kind.startswith("text/html"):
            headers["content-security-policy"] = HTML_POLICY  # a page of its own, without the studio's rights
        return FileResponse(there, media_type=kind, headers=headers)

    @application.get("/zip/{name}")
    def archive(name: str) -> Response:
        try:
            folder = run_folder(runs, name)
        except RunFolderError as error:
            return PlainTextResponse(str(error), 404)

        def content() -> Iterator[bytes]:
            with zipped(folder) as file:
                while chunk := file.read(1 << 20):
                    yield chunk

        headers = {"content-disposition": f"attachment; filename*=utf-8''{quote(folder.name)}.zip"}  # RFC 6266
        return StreamingResponse(content(), media_type="application/zip", headers=headers)

    def on_request(make: Callable[[RunRecord], Path]) -> Callable[[str], Response]:
        def answer(name: str) -> Response:
            try:
                made = make(desk.record(name))
            except RunFolderError as error:
                return PlainTextResponse(str(error), 404)
            except ImpastoError as error:
                return PlainTextResponse(str(error), 500)
            return FileResponse(made, filename=f"{name}{made.suffix}")

        return answer

    application.add_api_route("/tiff/{name}", on_request(tiff))
    application.add_api_route("/video/{name}", on_request(video))

    found = pages(desk, groups)
    _refuse_what_was_not_uploaded(found)
    more: dict[str, Any] = {"theme": theme(), "css": CSS, "head": HEAD, "footer_links": [], "max_file_size": most_bytes}
    return gr.mount_gradio_app(application, found, path="/", ssr_mode=False, **more)


def _refuse_what_was_not_uploaded(blocks: Any) -> None:
    """Take from requests only what was uploaded: no other file of this machine, and nothing from an address.

    Mounted in another application, Gradio would copy any file that a request names, and fetch any address.
    """
    from gradio import processing_utils

    async def refuse(url: str, *_: Any, **__: Any) -> Any:
        raise SpecError(f"{url} is not fetched: the studio takes nothing from the network; send the picture itself")

    blocks.has_launched = True
    processing_utils.async_ssrf_protected_get = refuse
    processing_utils.async_ssrf_protected_download = refuse
