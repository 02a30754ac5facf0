"""Fetching weights from a server on this machine that cuts, lies, stalls, disappears or ignores what it is asked."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import impasto.weights.fetch
import impasto.weights.sources
from impasto.errors import NetworkError, OutputError, SpecError, WeightsError
from impasto.networks.catalogue import open_network
from impasto.weights.fetch import fetch
from impasto.weights.layout import BLOCKS
from impasto.weights.sources import SOURCES, Source, kept_at, sources
from weights_files import narrow, save_caffe, save_torchvision

Answer = Callable[["Handler", int], None]


@dataclass
class Server:
    """What the server has, how it answers each request in turn (the last one again and again), and what was asked."""

    content: bytes = b""
    answers: list["Answer"] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        number = len(state.asked)
        wanted = self.headers.get("Range")
        state.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        state.answers[min(number, len(state.answers) - 1)](self, start)

    def log_message(self, *_: object) -> None: ...

    def begin(self, code: int, length: int | None = None, span: str | None = None) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if span is not None:
            self.send_header("Content-Range", span)
        self.end_headers()


def well(handler: Handler, start: int) -> None:
    content = handler.server_state.content
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.begin(206 if start else 200, len(content) - start, span if start else None)
    handler.wfile.write(content[start:])


def cut(handler: Handler, start: int) -> None:
    """A fifth of the file, and then the connection is closed."""
    content = handler.server_state.content
    handler.begin(206 if start else 200, len(content) - start, f"bytes {start}-" if start else None)
    handler.wfile.write(content[start : start + len(content) // 5])


def whole(handler: Handler, start: int) -> None:
    """The whole file, whatever was asked."""
    content = handler.server_state.content
    handler.begin(200, len(content))
    handler.wfile.write(content)


def endless(handler: Handler, start: int) -> None:
    """More than the file, without a length."""
    handler.begin(200)
    handler.wfile.write(handler.server_state.content + b"more" * 1000)


def lie(handler: Handler, start: int) -> None:
    """Other bytes of the same length."""
    content = handler.server_state.content
    handler.begin(200, len(content))
    handler.wfile.write(bytes(len(content)))


def other(handler: Handler, start: int) -> None:
    handler.begin(200, 5)
    handler.wfile.write(b"other")


def stall(handler: Handler, start: int) -> None:
    content = handler.server_state.content
    handler.begin(200, len(content))
    handler.wfile.write(content[:1000])
    time.sleep(1.5)


def status(code: int) -> Answer:
    return lambda handler, start: handler.begin(code, 0)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    bound = type("Bound", (Handler,), {"server_state": state})
    http = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def offered(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A source on that server, with the hash of its file, in place of the public ones."""
    save_caffe(narrow(BLOCKS["VGG-19"], width=16), BLOCKS["VGG-19"], tmp_path / "vgg19.caffemodel")
    server.content = (tmp_path / "vgg19.caffemodel").read_bytes()
    source = replace(
        SOURCES["vgg19"][2],
        url=f"{server.url}/vgg19.caffemodel",
        size=len(server.content),
        digest=hashlib.md5(server.content).hexdigest(),
    )
    monkeypatch.setattr(impasto.weights.sources, "SOURCES", {"vgg19": (source,)})
    monkeypatch.setattr(impasto.weights.fetch, "STALL_SECONDS", 0.3)
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path / "kept"))
    return source


def kept() -> list[str]:
    return sorted(path.name for path in kept_at("vgg19").parent.iterdir())


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([well], [0]),
        ([cut, cut, well], [0, 1, 2]),
        ([cut], [0, 1, 2, 3, 4]),  # an attempt that brings something does not count
        ([cut, whole], [0, 1]),
        ([endless], [0]),
        ([status(503), well], [0, 0]),
        ([cut, status(429), well], [0, 1, 1]),
        ([cut, status(416), well], [0, 1, 0]),
    ],
)
def test_it_arrives(offered: Source, server: Server, answers: list[Answer], asked: list[int]) -> None:
    server.answers = answers
    seen = list[int]()
    path = fetch("vgg19", "VGG-19", watch=lambda source, count: seen.append(count))
    assert path == kept_at("vgg19")
    assert kept() == ["vgg19.safetensors"]
    fifth = len(server.content) // 5
    assert server.asked[: len(asked)] == [f"bytes={number * fifth}-" if number else None for number in asked]
    assert seen[-1] == offered.size
    expected = narrow(BLOCKS["VGG-19"], width=16)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in load_file(path).items())
    assert open_network("vgg19", device="cpu").channels("conv5_4") == 16


@pytest.mark.slow
def test_a_server_that_stalls_is_asked_again(offered: Source, server: Server) -> None:
    server.answers = [stall, well]
    fetch("vgg19", "VGG-19")
    assert server.asked == [None, "bytes=1000-"]


@pytest.mark.parametrize(
    ("answers", "words", "left"),
    [
        ([status(404)], r"oxford: the server says 404 Not Found\)", []),
        ([status(403)], r"oxford: the server says 403", []),
        ([status(500)], r"oxford: the server says 500", []),
        ([lie], r"the file that came is another one \(md5", []),
        ([other], r"the server has another file, of 5 bytes, not \d+", []),
        ([cut, cut, status(404)], r"404", ["part"]),
    ],
)
def test_it_does_not_arrive(
    offered: Source, server: Server, answers: list[Answer], words: str, left: list[str]
) -> None:
    server.answers = answers
    with pytest.raises(WeightsError, match=words) as caught:
        fetch("vgg19", "VGG-19")
    assert f"by hand: get {offered.url}" in str(caught.value)
    assert f"`impasto networks convert vgg19.caffemodel {kept_at('vgg19')}`" in str(caught.value)
    assert [name.rpartition(".")[2] for name in kept()] == left


def test_a_piece_is_continued_by_the_next_call(offered: Source, server: Server) -> None:
    server.answers = [cut, status(404), well]
    with pytest.raises(WeightsError):
        fetch("vgg19", "VGG-19")
    fetch("vgg19", "VGG-19")
    assert server.asked[-1] == f"bytes={len(server.content) // 5}-"


def test_offline(offered: Source, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(offered, url="http://127.0.0.1:9/vgg19.caffemodel")
    monkeypatch.setattr(impasto.weights.sources, "SOURCES", {"vgg19": (nowhere,)})
    with pytest.raises(WeightsError, match=r"no connection \(.*refused.*by hand: get http://127"):
        fetch("vgg19", "VGG-19")


def test_the_next_source_is_tried(
    offered: Source, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(offered, name="gone", url=f"{server.url}/gone", digest="0" * 32)
    monkeypatch.setattr(impasto.weights.sources, "SOURCES", {"vgg19": (gone, offered)})
    server.answers = [status(404), well]
    assert fetch("vgg19", "VGG-19").is_file()


def test_a_damaged_file_that_is_kept_is_replaced(offered: Source, server: Server) -> None:
    server.answers = [well]
    kept_at("vgg19").parent.mkdir()
    kept_at("vgg19").write_text("damaged")
    fetch("vgg19", "VGG-19")
    assert open_network("vgg19", device="cpu").name == "vgg19"


def test_a_place_that_cannot_be_written(offered: Source, server: Server, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(OutputError, match="kept cannot be written"):
        fetch("vgg19", "VGG-19")
    assert server.asked == []


# The table -----------------------------------------------------------------------------------------------------------


def test_the_table_of_sources() -> None:
    for source in SOURCES["vgg19"]:
        assert source.url.startswith("https://")
        assert len(source.digest) == {"sha256": 64, "md5": 32}[source.algorithm]
        assert source.size > 80_000_000  # 20,024,384 parameters of 4 bytes, with or without the classifier
        assert source.evidence
        assert source.licence
    torchvision = SOURCES["vgg19"][-1]
    assert torchvision.file == f"vgg19-{torchvision.digest[:8]}.pth"  # torchvision's own rule of names
    assert {source.family for source in sources("vgg19")} == {"caffe"}
    assert sources("vgg19", "torchvision") == (torchvision,)


def test_unknown_sources() -> None:
    with pytest.raises(NetworkError, match=r"nothing to fetch for 'vgg91'; did you mean 'vgg19'\?"):
        sources("vgg91")
    with pytest.raises(SpecError, match=r"no source 'torchvison'; did you mean 'torchvision'\?"):
        sources("vgg19", "torchvison")


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IMPASTO_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_at("vgg19") == tmp_path / "impasto" / "vgg19.safetensors"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert kept_at("vgg19") == Path.home() / ".cache" / "impasto" / "vgg19.safetensors"


def test_a_known_file_needs_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.weights.families import read_filters

    tensors = {key: 3 * tensor for key, tensor in narrow(BLOCKS["VGG-19"]).items()}  # no trial could tell
    save_torchvision(tensors, BLOCKS["VGG-19"], tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    known = replace(SOURCES["vgg19"][-1], size=len(content), digest=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(impasto.weights.sources, "SOURCES", {"vgg19": (known,)})
    assert read_filters(tmp_path / "a.pth").family == "torchvision"


def test_a_full_disk(offered: Source, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [well]
    kept_at("vgg19").parent.mkdir()
    (kept_at("vgg19").parent / f"{offered.digest[:16]}.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"\.part cannot be written: No space left on device"):
        fetch("vgg19", "VGG-19")
