"""The studio without a browser: its server's safety, its settings, and the same for programs."""

import asyncio
import base64
import io
import json
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import psutil
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from command import call, read_lines, save_pictures
from impasto import load_image, read_run
from impasto.cli.groups import GROUPS
from impasto.desk.desk import Desk
from impasto.desk.drawing import curves, slider, status
from impasto.desk.places import inside, picture_taken, run_folder, served
from impasto.errors import ImageError, RunFolderError, SpecError
from impasto.jobs.orders import OneRun
from impasto.jobs.process import WorkerProcess
from impasto.jobs.queue import Job, Jobs
from impasto.studio import app
from impasto.studio.app import Address
from impasto.studio.fields import chosen, component, helps, settings_of_all_tasks, values_for
from impasto.studio.guard import Guard, Message, Receive, Send
from impasto.studio.painting import grouped
from impasto.tasks.presets import presets
from impasto.tasks.table import TASKS
from studio_program import Studio, studio

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio")
    save_pictures(folder)
    (folder / "secret.toml").write_text("secret = true")
    return folder


@pytest.fixture(scope="module")
def running(here: Path) -> Iterator[Studio]:
    with studio(here / "runs") as program:
        yield program


@pytest.fixture(scope="module")
def client(running: Studio, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(running.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


SMALL = {"size": 48, "steps": 3, "frames": 2, "threads": 1}
LIGHT = {**SMALL, "style_layers": "relu1_1,relu2_1"}
PATIENCE = 300  # seconds; a busy machine answers late


def paint(client: Client, here: Path, **settings: Any) -> dict[str, Any]:
    pictures = [handle_file(here / "photo.png"), handle_file(here / "painting.png")]
    return client.predict("transfer", pictures, "default", {**SMALL, **settings}, api_name="/paint")


def wait(client: Client, job: int, *states: str) -> dict[str, Any]:
    for _ in range(2000):
        if (now := client.predict(job, api_name="/look"))["state"] in states:
            return now
        time.sleep(0.3)
    pytest.fail(f"never came: {states}, but {now}")


def test_the_studio_itself_does_not_load_pytorch(running: Studio) -> None:
    """Its memory at rest depends on that; this test is the first, since the studio loads PyTorch to make a TIFF."""
    assert not any("libtorch" in each.path for each in psutil.Process(running.process.pid).memory_maps())


# Programs -------------------------------------------------------------------------------------------------------------


def test_a_program_paints_and_downloads(client: Client, running: Studio, here: Path) -> None:
    job = paint(client, here, **LIGHT)
    done = wait(client, job["job"], "done", "failed")
    assert done["state"] == "done"
    assert done["step"] == done["steps"] == 3
    assert set(done["losses"]) >= {"content/relu4_2", "style/relu1_1"}
    with Image.open(client.predict(job["job"], api_name="/picture")) as picture:
        assert picture.size == (48, 36)
    folder = running.runs / job["run"]
    assert read_run(folder).status == "done"
    archive = zipfile.ZipFile(io.BytesIO(httpx.get(f"{running.url}zip/{job['run']}", timeout=PATIENCE).content))
    assert f"{job['run']}/result.png" in archive.namelist()
    assert archive.read(f"{job['run']}/result.png") == (folder / "result.png").read_bytes()
    assert not any("checkpoints" in name for name in archive.namelist())


def test_files_made_when_asked_and_an_enlargement(client: Client, running: Studio, here: Path) -> None:
    """A TIFF of 16 bits a colour shows the same picture; a video is one; the run is painted large."""
    job = paint(client, here, **{**LIGHT, "frames": 3})
    wait(client, job["job"], "done", "failed")
    answer = httpx.get(f"{running.url}tiff/{job['run']}", timeout=300)
    assert answer.headers["content-type"] == "image/tiff"
    (here / "sixteen.tif").write_bytes(answer.content)
    assert answer.content[:4] == b"II*\0"
    assert (load_image(here / "sixteen.tif") - load_image(running.runs / job["run"] / "result.png")).abs().max() < 1e-4
    assert httpx.get(f"{running.url}video/{job['run']}", timeout=300).content[4:8] == b"ftyp"
    assert httpx.get(f"{running.url}tiff/none").status_code == 404
    with pytest.raises(AppError, match="choose a larger size"):
        client.predict(job["run"], 32, api_name="/enlarge")
    large = client.predict(job["run"], 96, api_name="/enlarge")
    wait(client, large["job"], "done", "failed")
    assert (load_image(running.runs / large["run"] / "result.png").shape[2:]) == (72, 96)
    assert httpx.get(f"{running.url}video/{large['run']}", timeout=300).status_code == 200


def test_a_program_pauses_changes_and_goes_on(client: Client, running: Studio, here: Path) -> None:
    job = paint(client, here, steps=40)["job"]
    client.predict(job, {"style_weight": 5.0}, api_name="/change")
    client.predict(job, api_name="/pause")
    paused = wait(client, job, "paused")
    assert client.predict(job, api_name="/go_on")["state"] in ("waiting", "running")
    done = wait(client, job, "done", "failed")
    assert read_run(running.runs / paused["run"]).spec.changes[0].settings == {"style_weight": 5.0}
    assert done["state"] == "done"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stile": 1}, "There is no setting 'stile'"),
        ({"size": -3}, "Size is -3"),
        ({"weights": "/etc/passwd"}, "must be a file inside"),
        ({"means": "../secret.toml"}, "must be a file inside"),
        ({"init": "/etc/passwd"}, "must be a file inside"),
        ({"region": "/etc/mask.png=photo"}, "must be a file inside"),
        ({"region": "uploads/../../mask.png=/etc/painting.png"}, "must be a file inside"),
        ({"colours": "palette=/etc/palette.png"}, "must be a file inside"),
        ({"network": "/etc/module.py:make"}, "is code that would be run here"),
    ],
)
def test_settings_are_checked_and_keep_inside(client: Client, here: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError, match=re.escape(words)):
        paint(client, here, **settings)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 60000 × 60000 pixels."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("drawing.svg", SVG, "is not a picture that can be read"),
        ("drawing.png", SVG, "is not a picture that can be read"),
        ("page.html", b"<html><script>alert(1)</script></html>", "is not a picture that can be read"),
        ("text.jpg", b"no picture", "is not a picture that can be read"),
        ("bomb.png", bomb(), "60000 × 60000 pixels; at most 100 megapixels"),
        ("page.ps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is"),
    ],
)
def test_what_is_no_picture_is_refused(client: Client, here: Path, name: str, content: bytes, words: str) -> None:
    (here / name).write_bytes(content)
    with pytest.raises(AppError, match=words):
        client.predict(
            "transfer",
            [handle_file(here / name), handle_file(here / "painting.png")],
            "default",
            SMALL,
            api_name="/paint",
        )


@pytest.mark.parametrize("path", ["{here}/photo.png", "{url}files/uploads/photo.png", "http://example.com/photo.png"])
def test_only_what_was_uploaded_is_taken(running: Studio, here: Path, path: str) -> None:
    """No other file of the machine, and nothing from the network."""
    file = {"path": path.format(here=here, url=running.url), "meta": {"_type": "gradio.FileData"}}
    answer = httpx.post(
        f"{running.url}gradio_api/call/paint",
        json={"data": ["transfer", [file, file], "default", SMALL]},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200
    event = answer.json()["event_id"]
    answer = httpx.get(f"{running.url}gradio_api/call/paint/{event}", timeout=PATIENCE)
    assert "error" in answer.text
    assert "state" not in answer.text


# The server -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "files/uploads/../../secret.toml",
        "files/..%2f..%2fsecret.toml/x",
        "files/uploads/..%2f..%2fsecret.toml",
        "files/%2e%2e/secret.toml",
        "files/uploads//etc/passwd",
        "zip/..",
        "zip/uploads",
        "gradio_api/file={here}/secret.toml",
        "gradio_api/file=/etc/passwd",
        "file=/etc/passwd",
        "gradio_api/file={here}/runs/../secret.toml",
        "gradio_api/proxy=http://example.com/",
    ],
)
def test_nothing_else_is_served(running: Studio, here: Path, path: str) -> None:
    words = path.format(here=here)
    with socket.create_connection(("127.0.0.1", httpx.URL(running.url).port or 0)) as raw:  # as it is, not made plain
        raw.sendall(f"GET /{words} HTTP/1.1\r\nHost: {httpx.URL(running.url).netloc.decode()}\r\n\r\n".encode())
        raw.settimeout(PATIENCE)
        head = raw.recv(65536).decode(errors="replace")
    assert head.split()[1] in ("400", "403", "404"), head[:200]
    assert "secret = true" not in head
    assert "root:" not in head


def get(running: Studio, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(running.url, headers=given, timeout=PATIENCE)


def test_other_names_and_other_sites_are_refused(running: Studio) -> None:
    port = httpx.URL(running.url).port
    assert get(running).status_code == 200
    assert get(running, Host=f"localhost:{port}").status_code == 200
    rebound = get(running, Host=f"evil.example:{port}")
    assert (rebound.status_code, "not to another name" in rebound.text) == (421, True)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        refused = get(running, **headers)
        assert (refused.status_code, "another site's page" in refused.text) == (403, True)
    assert get(running, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status_code == 200  # a link to here
    evil = {"Origin": "https://evil.example"}
    posted = httpx.post(f"{running.url}gradio_api/queue/join", json={}, headers=evil, timeout=PATIENCE)
    assert posted.status_code == 403


def test_huge_uploads_are_refused_before_they_are_read(running: Studio) -> None:
    url = httpx.URL(running.url)
    with socket.create_connection(("127.0.0.1", url.port or 0)) as raw:
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nContent-Length: {10**12}\r\n\r\n"
        raw.sendall(head.encode())
        raw.settimeout(PATIENCE)
        answer = raw.recv(65536).decode()
    assert answer.split()[1] == "413"


def test_uploads_of_unknown_length_are_counted() -> None:
    """A body in chunks has no length in its head."""
    sent: list[Message] = []

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"a")]}
    asyncio.run(Guard(application, ("a",), None, 1000)(scope, receive, send))
    assert sent[0]["status"] == 413


def test_pages_cannot_call_elsewhere(running: Studio) -> None:
    headers = get(running).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_another_host_needs_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="choose a password"):
        Address("0.0.0.0")
    served: list[tuple[Any, str]] = []

    async def page(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(WorkerProcess, "start", lambda process: None)
    monkeypatch.setattr(app, "_application", lambda *given: page)
    monkeypatch.setattr(app, "_serve", lambda guarded, listening: served.append((guarded, listening.getsockname()[0])))
    words = ("--host", "0.0.0.0", "--password", "käse", "--no-browser")
    assert call("studio", "--runs", tmp_path / "runs", *words).code == 0
    ((guarded, host),) = served
    assert host == "0.0.0.0"

    async def answers() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://a:1") as other:
            asked = [other.get("/"), other.get("/files/uploads/x.png"), other.get("/", auth=("any", "cheese"))]
            for token in (base64.b64encode("any:käse".encode()).decode(), "???"):
                asked.append(other.get("/", headers={"Authorization": f"Basic {token}"}))
            return [(await each).status_code for each in asked]

    assert asyncio.run(answers()) == [401, 401, 401, 200, 401]


def test_a_taken_port_is_one_sentence(running: Studio, tmp_path: Path) -> None:
    ended = call("studio", "--runs", tmp_path / "runs", "--no-browser", "--port", httpx.URL(running.url).port)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("impasto: the studio cannot listen on 127.0.0.1:")
    assert ended.err.endswith("; name another --port\n")


# Without a server -----------------------------------------------------------------------------------------------------


def test_no_setting_is_forgotten() -> None:
    """Each field of each task's settings has a component, its help, and its value of each preset."""
    settings = settings_of_all_tasks()
    fields = {name for task in TASKS.values() for name in task.settings.model_fields}
    assert set(settings) == fields
    shown = {name for names in grouped(settings, GROUPS).values() for name in names}
    assert fields - shown <= {"size", "style_weight", "style_scale", "layer", "steps", "seed"}
    for task in TASKS.values():
        assert set(helps(task.settings)) >= set(task.settings.model_fields)
        for setting in settings.values():
            made = component(setting, task.name)
            assert made.visible == (task.name in setting.tasks)
            assert made.info == setting.help
        for name in ("default", *(name for name, tasks in presets().items() if task.name in tasks)):
            values = values_for(task.name, name)
            assert chosen(task.name, name, list(values), list(values.values())) == {}


def test_only_what_differs_from_the_preset_is_chosen() -> None:
    names = ["size", "threads", "style_weight", "layer"]
    assert chosen("transfer", "default", names, [64, None, 1.0, "conv1_1"]) == {"size": 64}


def test_uploads_are_copied_by_their_content(tmp_path: Path, here: Path) -> None:
    first = picture_taken(here / "photo.png", tmp_path)
    assert first == picture_taken(here / "photo.png", tmp_path)
    assert first.read_bytes() == (here / "photo.png").read_bytes()
    (tmp_path / "photo.jpg").write_bytes((here / "photo.png").read_bytes())
    assert picture_taken(tmp_path / "photo.jpg", tmp_path).suffix == ".png"
    (tmp_path / "x.png").write_bytes(SVG)
    with pytest.raises(ImageError):
        picture_taken(tmp_path / "x.png", tmp_path)


def test_links_out_of_the_folder_of_runs_are_not_followed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "good").mkdir(parents=True)
    (runs / "good/run.toml").write_text("")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/run.toml").write_text("")
    (tmp_path / "outside/a.png").write_bytes(b"")
    (runs / "bad").symlink_to(tmp_path / "outside")
    (runs / "good/a.png").symlink_to(tmp_path / "outside/a.png")
    (runs / "good/b.png").write_bytes(b"")
    (runs / "good/.c.png").write_bytes(b"")
    (runs / "good/d.svg").write_bytes(SVG)
    assert run_folder(runs, "good") == runs / "good"
    for name in ("bad", "..", "../outside", "none", ""):
        with pytest.raises(RunFolderError):
            run_folder(runs, name)
    assert served(runs, "good", "b.png") == ((runs / "good/b.png").resolve(), "image/png")
    for path in ("a.png", ".c.png", "d.svg", "../bad/a.png", "none.png"):
        assert served(runs, "good", path) is None
    assert served(runs, "bad", "a.png") is None
    assert inside(Path("good/b.png"), runs) == runs / "good/b.png"
    with pytest.raises(SpecError, match="must be a file inside"):
        inside(Path("../outside/a.png"), runs)


def test_text_on_the_page_is_escaped(here: Path) -> None:
    from dataclasses import replace

    from impasto.tasks.spec import RunSpec
    from impasto.tasks.table import make_settings

    spec = RunSpec(task="invert", pictures=(here / "photo.png",), settings=make_settings("invert"))
    job = replace(Job(1, here, OneRun(spec), spec.settings), state="failed", sentence="<script>", title="<b>")
    for html in (status(job), curves([{"<i>/a": 1.0}, {"<i>/a": 0.5}]), slider("a", "b", "<u>", (4, 3))):
        assert not re.search("<(script|b|i|u)>", html.replace("<b>0.5</b>", ""))


def test_curves_are_drawn_on_a_scale_of_powers_of_ten() -> None:
    drawn = curves([{"style/a": 100.0, "style/b": 0.0}, {"style/a": 10.0}, {"style/a": 1.0}])
    (points,) = re.findall('points="(.*?)"', drawn)
    (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in points.split())
    assert (x0, x1, x2) == (0, 320, 640)
    assert y1 - y0 == pytest.approx(y2 - y1)
    assert y0 < y1
    assert curves([]) == ""


def test_the_gallery_has_what_the_command_line_made(running: Studio, client: Client, tmp_path: Path) -> None:
    class NoJobs(Jobs):
        def __init__(self) -> None:
            pass

        def of(self, folder: Path) -> None:
            return None

    desk = Desk(running.runs, NoJobs(), tmp_path)
    assert {card.name for card in desk.cards()} >= {job["run"] for job in client.predict(api_name="/jobs")[:1]}
    assert desk.unfinished() == []
    for folder in running.runs.iterdir():
        if (folder / "metrics.jsonl").is_file():
            assert read_lines(folder / "metrics.jsonl")
            assert json.loads((folder / "summary.json").read_text())["status"] == "done"


def test_the_example_of_the_documentation_runs(
    running: Studio, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[1] / "docs/studio.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(here)
    (here / "photo.jpg").write_bytes((here / "photo.png").read_bytes())
    (here / "painting.jpg").write_bytes((here / "painting.png").read_bytes())
    exec(compile(code.replace("http://127.0.0.1:43211/", running.url), "studio.md", "exec"), {})
    assert capsys.readouterr().out.startswith("done 5 ")


def test_a_folder_with_any_name_is_downloaded(client: Client, running: Studio, here: Path) -> None:
    """Heads of answers are Latin-1; a picture may be named in any letters."""
    (picture := here / "画像 ü.png").write_bytes((here / "photo.png").read_bytes())
    files = [handle_file(picture), handle_file(here / "painting.png")]
    job = client.predict("transfer", files, "default", LIGHT, api_name="/paint")
    assert "画像-ü" in job["run"]
    wait(client, job["job"], "done", "failed")
    answer = httpx.get(f"{running.url}zip/{job['run']}", timeout=PATIENCE)
    assert unquote(answer.headers["content-disposition"]) == f"attachment; filename*=utf-8''{job['run']}.zip"
    assert f"{job['run']}/result.png" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
