"""Finding weights on this machine and downloading them when asked, from a server on loopback."""

import contextlib
import hashlib
import http.server
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from wavflow_core.errors import CheckpointError, ConfigError
from wavflow_core.weights import (
    KNOWN_FILES,
    KnownFile,
    default_folder,
    download,
    known_file,
    resolve,
)
from wavflow_core.weights.known import KINDS

CONTENT = bytes(range(256)) * 20000  # 5 MB: several blocks


class Server:
    """What the test server serves and how badly it behaves."""

    def __init__(self):
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.cut = []  # bytes after which the next responses break off
        self.status = None
        self.redirect = None
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/weights.bin"

    def answer(self, request):
        given = request.headers.get("Range")
        self.requests.append(given)
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        if self.status:
            request.send_error(self.status)
            return
        start = int(given.removeprefix("bytes=").rstrip("-")) if given and self.ranges else 0
        if start >= len(self.content):
            request.send_error(416)
            return
        request.send_response(206 if given and self.ranges else 200)
        if given and self.ranges:
            request.send_header(
                "Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            )
        request.send_header("Content-Length", str(len(self.content) - start))
        if self.etag:
            request.send_header("ETag", self.etag)
        request.end_headers()
        body = self.content[start:]
        if self.cut:
            body = body[: self.cut.pop(0)]
        with contextlib.suppress(ConnectionError):
            request.wfile.write(body)

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("wavflow_core.weights.transfer.PAUSE", 0.0)
    monkeypatch.setattr("wavflow_core.weights.transfer.BLOCK", 1 << 18)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def known(server):
    return KnownFile(
        name="thing",
        kind="clip",
        filenames=("thing.bin",),
        hub_ids=(),
        hub_file="thing.bin",
        url=server.url,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
        note="",
    )


def names(folder):
    return [path.name for path in folder.iterdir()]


class Cancelled(Exception):
    pass


def cancel_after(count):
    def progress(done, total):
        if done >= count:
            raise Cancelled

    return progress


def test_a_download_arrives_whole_and_leaves_nothing_else(known, tmp_path):
    seen = []
    path = download(known, tmp_path / "new", progress=lambda *item: seen.append(item))
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["thing.bin"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_downloaded_again(known, server, tmp_path):
    (tmp_path / "thing.bin").write_bytes(b"mine")
    assert download(known, tmp_path).read_bytes() == b"mine"
    assert server.requests == []


def test_a_cancelled_download_goes_on_where_it_stopped(known, server, tmp_path):
    with pytest.raises(Cancelled):
        download(known, tmp_path, progress=cancel_after(1_000_000))
    kept = (tmp_path / "thing.bin.part").stat().st_size
    assert 1_000_000 <= kept < len(CONTENT)
    assert not (tmp_path / "thing.bin").exists()
    assert download(known, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={kept}-"]


def test_a_connection_that_breaks_off_is_taken_up_again(known, server, tmp_path):
    server.cut = [1_000_000, 2_000_000]
    assert download(known, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000000-", "bytes=3000000-"]


def test_a_server_that_brings_nothing_new_is_given_up(known, server, tmp_path):
    server.cut = [1_000_000, 0, 0, 0]
    with pytest.raises(CheckpointError, match=r"broke off after 1000000 bytes.*Run it again"):
        download(known, tmp_path)
    assert (tmp_path / "thing.bin.part").stat().st_size == 1_000_000


def test_a_server_that_ignores_ranges_sends_everything_again(known, server, tmp_path):
    with pytest.raises(Cancelled):
        download(known, tmp_path, progress=cancel_after(1_000_000))
    server.ranges = False
    assert download(known, tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(known, server, tmp_path):
    known = replace(known, sha256=None)
    with pytest.raises(Cancelled):
        download(known, tmp_path, progress=cancel_after(1_000_000))
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert download(known, tmp_path).read_bytes() == CONTENT[::-1]
    assert server.requests[-1] is None


def test_without_etag_and_hash_nothing_is_resumed(known, server, tmp_path):
    known = replace(known, sha256=None, size=None)
    server.etag = None
    with pytest.raises(Cancelled):
        download(known, tmp_path, progress=cancel_after(1_000_000))
    assert download(known, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, None]


def test_a_part_without_its_note_is_not_trusted(known, server, tmp_path):
    (tmp_path / "thing.bin.part").write_bytes(b"anything")
    assert download(known, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None]


def test_a_part_longer_than_the_file_begins_again(known, server, tmp_path):
    with pytest.raises(Cancelled):
        download(known, tmp_path, progress=cancel_after(1_000_000))
    with (tmp_path / "thing.bin.part").open("ab") as file:
        file.write(CONTENT)
    assert download(known, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(known, server, tmp_path):
    with pytest.raises(Cancelled):
        download(known, tmp_path, progress=cancel_after(len(CONTENT)))
    assert download(known, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_wrong_hash_is_refused_and_deleted(known, tmp_path):
    with pytest.raises(CheckpointError, match="SHA-256 .* instead of 0000"):
        download(replace(known, sha256="0000"), tmp_path)
    assert names(tmp_path) == []


def test_a_wrong_size_is_refused_before_anything_is_fetched(known, tmp_path):
    with pytest.raises(CheckpointError, match=f"now {len(CONTENT)} bytes long.* has 7;"):
        download(replace(known, size=7), tmp_path)
    assert names(tmp_path) == []


def test_a_missing_file_says_what_the_server_answered(known, server, tmp_path):
    server.status = 404
    with pytest.raises(CheckpointError, match=r"answered 404.*browser"):
        download(known, tmp_path)


def test_a_failing_server_is_asked_again_then_given_up(known, server, tmp_path):
    server.status = 503
    with pytest.raises(CheckpointError, match="answered 503"):
        download(known, tmp_path)
    assert len(server.requests) == 2


def test_no_server_at_all_is_an_error_that_says_so(known, server, tmp_path):
    server.http.server_close()
    server.http.shutdown()
    with pytest.raises(CheckpointError, match="broke off after 0 bytes"):
        download(replace(known, url="http://127.0.0.1:9/none"), tmp_path)


@pytest.mark.parametrize("url", ["http://example.org/a", "file:///etc/hostname", "ftp://a.b/c"])
def test_only_https_is_fetched(known, tmp_path, url):
    with pytest.raises(CheckpointError, match="only https"):
        download(replace(known, url=url), tmp_path)


def test_a_redirect_away_from_https_is_refused(known, server, tmp_path):
    server.redirect = "http://example.org/weights"
    with pytest.raises(CheckpointError, match=r"example\.org.*only https"):
        download(known, tmp_path)


def test_a_full_disk_is_found_before_the_download(known, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage())
    with pytest.raises(CheckpointError, match=r"0\.00 GB free and 0\.01 GB are needed"):
        download(known, tmp_path)


class Usage:
    free = 1000


def test_a_disk_that_fills_up_keeps_the_part_and_says_what_to_do(known, tmp_path, monkeypatch):
    real = Path.open

    def failing(self, mode="r", *args, **kwargs):
        if mode == "ab":
            raise OSError(28, "No space left on device")
        return real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(CheckpointError, match=r"No space left on device; free some space"):
        download(known, tmp_path)


def test_a_folder_that_is_a_file_is_refused(known, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        download(known, tmp_path / "file")


def test_a_path_is_taken_as_it_is(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("")
    assert resolve(path) == path
    assert resolve(str(path)) == path


def test_folders_come_before_the_environment_and_its_folders_before_the_default(
    tmp_path, monkeypatch
):
    folders = [tmp_path / name for name in ("given", "one", "two")]
    monkeypatch.setenv("WAVFLOW_MODELS", os.pathsep.join(map(str, folders[1:])))
    assert default_folder() == folders[1]
    name = "synchformer_state_dict.pth"
    for folder in reversed(folders):
        folder.mkdir()
        (folder / name).write_text("")
        assert resolve("synchformer", folders=folders[:1]) == folder / name


def test_a_kind_is_any_known_file_of_it(tmp_path):
    path = tmp_path / "apple_DFN5B-CLIP-ViT-H-14-384_fp16.safetensors"
    path.write_text("")
    assert resolve("clip", folders=[tmp_path]) == path


def test_a_file_name_is_found_in_a_folder(tmp_path):
    (tmp_path / "mine.safetensors").write_text("")
    assert resolve("mine.safetensors", folders=[tmp_path]) == tmp_path / "mine.safetensors"


def test_the_cache_of_hugging_face_is_looked_into(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    cached = tmp_path / "open_clip_pytorch_model.bin"
    cached.write_text("")

    def look(repo, name):
        return str(cached) if repo == "apple/DFN5B-CLIP-ViT-H-14-384" else None

    monkeypatch.setattr(hub, "try_to_load_from_cache", look)
    monkeypatch.setenv("WAVFLOW_MODELS", str(tmp_path / "none"))
    assert resolve("clip") == cached
    assert resolve("dfn5b_clip") == cached


def test_what_is_nowhere_says_where_was_looked_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVFLOW_MODELS", str(tmp_path / "models"))
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *names: None)
    with pytest.raises(CheckpointError) as error:
        resolve("synchformer_fp16", folders=[tmp_path / "given"])
    for part in ("given", "models", "wavflow download synchformer_fp16", "https://", "MIT"):
        assert part in str(error.value)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file 'nothing'.*clip, synchformer, dfn5b"):
        resolve("nothing", folders=[tmp_path])
    with pytest.raises(ConfigError, match="'nothing' is no known file; known are dfn5b_clip_fp16"):
        known_file("nothing")


def test_known_files_are_told_apart_and_come_by_https():
    names = [item.name for item in KNOWN_FILES]
    assert len(set(names)) == len(names)
    for item in KNOWN_FILES:
        assert known_file(item.name) is item
        assert known_file(item.filenames[0]) is item
        assert item.kind in KINDS
        assert item.url.startswith("https://")
        assert item.sha256 is None or len(item.sha256) == 64
