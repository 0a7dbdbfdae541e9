"""A name becomes a folder: the package's, a given one, one downloaded before, or a new download."""

import hashlib
import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest
from huggingface_hub import constants

from kosmos2.errors import CheckpointError
from kosmos2.weights import fetch
from kosmos2.weights.fetch import RELEASED, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-kosmos"
FILES = {
    "config.json": b"{}",
    "generation_config.json": b'{"eos_token_id": 2}',
    "model.safetensors": bytes(200_000),
    "tokenizer.json": b'{"version": "1.0"}',
    "sentencepiece.bpe.model": b"pieces",
    "pytorch_model.bin": b"\x80\x02 never fetched",
    "remote_code.py": b"raise SystemExit('never fetched')",
    "README.md": b"never fetched",
}
NEEDED = {name for name in FILES if not FILES[name].endswith(b"never fetched")} - {"remote_code.py"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub library, and a network that ends at this machine."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    look_up = socket.getaddrinfo

    def at_home(host, *rest, **how):
        assert host == "127.0.0.1", f"{host} was looked up"
        return look_up(host, *rest, **how)

    monkeypatch.setattr(socket, "getaddrinfo", at_home)
    return tmp_path / "cache"


def download_earlier(cache: Path, commit: str = COMMIT, without: str = "", name: str = NAME):
    """What the hub library leaves behind after a download of `main`."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in NEEDED - {without}:
        (snapshot / file).write_bytes(FILES[file])
    return snapshot


def test_demo_is_the_folder_of_the_package(monkeypatch, tmp_path):
    assert fetch.DEMO_FOLDER.parent == Path(fetch.__file__).parents[1] / "assets"
    monkeypatch.setattr(fetch, "DEMO_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="no demo model"):
        resolve("demo")
    (tmp_path / "config.json").write_text("{}")
    assert resolve("demo") == tmp_path


def test_a_folder_is_itself(tmp_path, monkeypatch):
    (tmp_path / "runs" / "best").mkdir(parents=True)
    assert resolve(tmp_path / "runs") == tmp_path / "runs"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("runs/best") == Path("runs/best")  # though it could be a name on the hub
    assert resolve("~/runs") == tmp_path / "runs"


def test_a_file_is_answered_with_its_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError, match=f"is a file; name the folder .*{tmp_path}"):
        resolve(file)


@pytest.mark.parametrize(
    "name",
    [
        "", ".hidden/name", "no", "a/b/c", "a//b", "a/", "/b", "a\\b", "a b/c", "a/b\n", "a/b\0",
        "../x", "a/..", "a/b--c", "a/b.git", "é/b", "-a/b", "~nobody/x", "x" * 5000,
        "a/" + "b" * 300, "https://huggingface.co/a/b", "a/b?x=1", "a/b@main",
    ],
)  # fmt: skip
def test_a_name_that_can_be_nothing_is_refused(name):
    with pytest.raises(CheckpointError, match="there is no model"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("dmeo", "demo"), ("Demo", "demo"), ("kosmos-2-patch14-224", RELEASED)],
)
def test_the_nearest_known_name_is_offered(name, meant):
    with pytest.raises(CheckpointError, match=f"did you mean {meant}"):
        resolve(name)


def test_the_nearest_folder_is_offered(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(CheckpointError, match=f"did you mean {tmp_path}/checkpoint"):
        resolve(tmp_path / "chekpoint")


@pytest.mark.parametrize("offline", [True, False, None])
def test_what_was_downloaded_is_used_without_the_network(cache, offline):
    snapshot = download_earlier(cache)
    assert resolve(NAME, offline=offline) == snapshot
    assert resolve(NAME, offline=offline, revision=COMMIT) == snapshot


@pytest.mark.parametrize("how", [{"offline": True}, {}])
def test_offline_is_said_at_once(how):
    with pytest.raises(CheckpointError, match=f"{NAME} is not, or not whole, on this machine"):
        resolve(NAME, **how)
    with pytest.raises(CheckpointError, match="at revision v2 is not"):
        resolve(NAME, revision="v2", **how)


@pytest.mark.parametrize("without", ["config.json", "model.safetensors"])
def test_half_a_download_does_not_count(cache, without):
    download_earlier(cache, without=without)
    with pytest.raises(CheckpointError, match="not whole"):
        resolve(NAME, offline=True)


def test_a_download_without_one_shard_does_not_count(cache):
    snapshot = download_earlier(cache, without="model.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="not whole"):
        resolve(NAME, offline=True)
    (snapshot / "model-00001-of-00001.safetensors").touch()
    assert resolve(NAME, offline=True) == snapshot


@pytest.mark.parametrize("revision", ["", "../../secrets", "a b", "-x", "a..b", "x" * 300, "v1\n"])
def test_a_revision_that_can_be_none_is_refused(revision):
    with pytest.raises(CheckpointError, match="is no branch, tag or commit"):
        resolve(NAME, revision=revision)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks of it."""

    asked: list[str]
    files: dict[str, bytes]

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body: bool = True):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if path == f"/api/models/{NAME}/revision/main":
            return self.answer(json.dumps({"id": NAME, "sha": COMMIT}).encode(), body)
        if path.startswith(f"/api/models/{NAME}/revision/"):
            return self.answer(b"{}", body, 404, "RevisionNotFound")
        if path == f"/api/models/{NAME}/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in self.files.items()
            ]
            return self.answer(json.dumps(tree).encode(), body)
        file = path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
        if file in self.files:
            return self.answer(self.files[file], body)
        if path == "/api/models/someone/gated/revision/main":
            return self.answer(b"{}", body, 403, "GatedRepo")
        return self.answer(b"{}", body, 404, "RepoNotFound")

    def answer(self, data: bytes, body: bool, status: int = 200, error: str | None = None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        """A test says only whether it passes."""


@pytest.fixture
def hub(cache, monkeypatch):
    """A hub of our own on this machine, with one model."""
    handler = type("OneHub", (Hub,), {"asked": [], "files": dict(FILES)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        socket.create_connection(server.server_address, timeout=5).close()
    except OSError as error:
        pytest.skip(f"this machine cannot even reach itself ({error.strerror})")
    address = f"http://127.0.0.1:{server.server_port}"
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *a, **k: real(*a, **k, endpoint=address)
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    huggingface_hub.close_session()
    yield handler
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


def test_a_download_brings_what_is_needed_once_and_no_pickle(hub, capfd):
    seen = []
    folder = resolve(NAME, on_progress=lambda done, total: seen.append((done, total)))
    assert {path.name for path in folder.iterdir()} == NEEDED
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not [path for path in hub.asked if path.endswith((".bin", ".py", ".md"))]
    size = sum(len(FILES[name]) for name in NEEDED)
    assert seen[-1] == (size, size)
    assert all(0 <= done <= total <= size for done, total in seen)
    assert capfd.readouterr() == ("", "")
    hub.asked.clear()
    assert resolve(NAME) == folder
    assert resolve(NAME, revision=COMMIT, offline=True) == folder
    assert hub.asked == []


def test_an_interrupted_download_is_finished(hub):
    folder = resolve(NAME)
    (folder / "model.safetensors").unlink()
    assert resolve(NAME) == folder
    assert (folder / "model.safetensors").is_file()


def test_a_model_without_safetensors_says_how_to_convert_it(hub):
    del hub.files["model.safetensors"]
    with pytest.raises(CheckpointError, match="no safetensors weights; convert it once"):
        resolve(NAME)
    assert not [path for path in hub.asked if path.endswith(".bin")]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("someone/else", None, "the hub has no model 'someone/else'"),
        ("microsoft/kosmos-2-patch14-24", None, f"did you mean {RELEASED}"),
        ("someone/gated", None, "accept its terms at https://huggingface.co/someone/gated"),
        (NAME, "v9", "has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses_is_said_with_a_way_out(name, revision, said):
    with pytest.raises(CheckpointError, match=said):
        resolve(name, revision=revision)
