"""The registry against a real server on this machine, and its table against the files of the mirror if there is one.

The server is the standard library's; hashes are computed here by hashlib or by git's definition, not by the registry.
"""

import ast
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

import data_registry
from data_registry import (
    DATASETS,
    HER2ST_SECTIONS,
    AccessError,
    DataError,
    Dataset,
    File,
    HashError,
    NetworkError,
    StorageError,
    UnknownNameError,
    fetch,
    fetch_sections,
    verify,
)

CONTENT = bytes(range(256)) * 1200  # 300 kB, several chunks
PIN = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
FILES = [(dataset, file) for dataset, entry in DATASETS.items() for file in entry.files]
MIRROR = os.environ.get("STLEARN_DATA_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="no mirror of the data: set STLEARN_DATA_MIRROR to one")


def git_blob(content: bytes) -> str:
    return f"git:{hashlib.sha1(b'blob ' + str(len(content)).encode() + bytes(1) + content).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves one content at every address; its attributes say how well it behaves, and it notes what was asked."""

    daemon_threads = True
    content = CONTENT
    ranges = True  # whether it continues files
    stop_after: int | None = None  # closes the connection after so many bytes
    pause_after: int | None = None  # waits there until `go_on` is set
    status: int | None = None  # answers with this status only

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.go_on = threading.Event()

    def url(self, name: str = "file.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if server.status or start >= len(server.content):
            self.send_response(server.status or 416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        body = server.content[start:]
        try:
            for limit, wait in ((server.pause_after, True), (server.stop_after, False)):
                if limit is not None:
                    self.wfile.write(body[:limit])
                    body = body[limit:] if wait else b""
                    if wait:
                        server.go_on.wait(30)
            self.wfile.write(body)
        except ConnectionError:  # the client was killed, as a test meant it to be
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no mirror; the folder of the data set ``toy``."""
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache/data/toy"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a data set ``toy`` of the given files into the table."""

    def put(*files: File, access: str = "open") -> None:
        text = dict.fromkeys(("title", "description", "format", "licence", "citation", "size"), "toy")
        monkeypatch.setitem(DATASETS, "toy", Dataset(**text, access=access, files=files))

    return put


def leave_part(cache: Path, content: bytes) -> Path:
    part = cache / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def kept(folder: Path) -> list[str]:
    """The files below a folder, but for the empty lock."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


# ------------------------------------------------------------------------------------------------------- downloading


@pytest.mark.parametrize(
    "pin", [PIN, git_blob(CONTENT), f"md5:{hashlib.md5(CONTENT).hexdigest()}", f"size:{len(CONTENT)}"]
)
def test_a_file_is_downloaded_once_into_the_layout_of_the_table(server, cache, register, pin):
    register(File("a folder/file.bin", server.url(), pin))
    for _ in range(2):
        assert fetch("toy", progress=False) == {"a folder/file.bin": cache / "a folder/file.bin"}
    assert (cache / "a folder/file.bin").read_bytes() == CONTENT
    assert server.asked == [None]
    assert kept(cache) == ["file.bin"]


def test_the_bar_names_the_file_and_silence_is_possible(server, cache, register, capsys):
    register(File("loud.bin", server.url(), PIN), File("quiet.bin", server.url(), PIN))
    fetch("toy", "quiet.bin", progress=False)
    assert capsys.readouterr() == ("", "")
    fetch("toy", "loud.bin")
    out, err = capsys.readouterr()
    assert out == ""
    assert "loud.bin: 100%" in err


def test_an_interrupted_download_continues_where_it_ended(server, cache, register):
    register(File("file.bin", server.url(), PIN, len(CONTENT)))
    server.stop_after = len(CONTENT) // 2
    with pytest.raises(NetworkError, match=r"The \d+ bytes that came are kept: call again to go on") as caught:
        fetch("toy", progress=False)
    assert kept(cache) == ["file.bin.part"]
    assert verify("toy")["file.bin"].state == "missing"
    came = (cache / "file.bin.part").read_bytes()
    assert 0 < len(came) <= server.stop_after
    assert CONTENT.startswith(came)
    assert f"The {len(came)} bytes" in str(caught.value)

    server.stop_after = None
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={len(came)}-"]
    assert kept(cache) == ["file.bin"]


def test_a_server_that_does_not_continue_files_is_read_from_the_start(server, cache, register):
    register(File("file.bin", server.url(), PIN))
    leave_part(cache, CONTENT[:1000])
    server.ranges = False
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize(
    ("size", "asked"),
    [(None, [f"bytes={len(CONTENT) + 1}-", None]), (len(CONTENT), [None])],
    ids=["the server says 416", "the table knows the size"],
)
def test_a_part_longer_than_the_whole_starts_over(server, cache, register, size, asked):
    register(File("file.bin", server.url(), PIN, size))
    leave_part(cache, CONTENT + b"!")
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == asked


def test_a_whole_part_needs_no_network(server, cache, register):
    register(File("file.bin", server.url(), PIN))
    leave_part(cache, CONTENT)
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("rubbish", [b"of another file", bytes(len(CONTENT))])
def test_a_part_of_another_file_starts_over(server, cache, register, rubbish):
    register(File("file.bin", server.url(), PIN))
    leave_part(cache, rubbish)
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(rubbish)}-", None]


@pytest.mark.parametrize("part", [None, CONTENT[:1000]], ids=["from the start", "continued"])
def test_a_wrong_hash_names_address_both_hashes_and_a_remedy_and_keeps_nothing(server, cache, register, part):
    register(File("file.bin", server.url(), PIN))
    if part:
        leave_part(cache, part)
    server.content = b"<html>please sign in</html>" * 100
    with pytest.raises(HashError) as caught:
        fetch("toy", progress=False)
    found = hashlib.sha256(server.content).hexdigest()
    for said in (server.url(), f"expected {PIN}", f"found sha256:{found}", "Try again", "STLEARN_DATA_MIRROR"):
        assert said in str(caught.value)
    assert kept(cache) == []


def test_an_empty_answer_is_a_wrong_file(server, cache, register):
    register(File("file.bin", server.url(), PIN))
    server.status = 204
    with pytest.raises(HashError, match="found nothing"):
        fetch("toy", progress=False)
    assert kept(cache) == []


def test_a_file_spoilt_in_the_cache_is_fetched_again(server, cache, register):
    register(File("file.bin", server.url(), PIN))
    path = fetch("toy", progress=False)["file.bin"]
    path.write_bytes(b"spoilt")
    status = verify("toy")["file.bin"]
    assert (status.state, status.found) == ("corrupt", f"sha256:{hashlib.sha256(b'spoilt').hexdigest()}")
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert verify("toy")["file.bin"].state == "ok"


def test_a_file_without_a_pin_comes_with_a_warning_and_is_never_continued(server, cache, register):
    register(File("file.bin", server.url(), None))
    leave_part(cache, CONTENT[:1000])
    with pytest.warns(UserWarning, match=PIN):
        assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == [None]
    assert verify("toy")["file.bin"].state == "unpinned"


SCRIPT = """
import sys
import data_registry
from data_registry import DATASETS, Dataset, File
text = dict.fromkeys(("title", "description", "format", "licence", "citation", "size"), "toy")
file = File("file.bin", sys.argv[1], sys.argv[2])
DATASETS["toy"] = Dataset(**text, access="open", files=(file,))
print(hash(data_registry.fetch("toy", progress=False)["file.bin"].read_bytes()))
"""


@pytest.fixture
def process(server) -> Iterator[Callable[[], subprocess.Popen]]:
    """Start another Python that fetches the file."""
    started = []

    def start() -> subprocess.Popen:
        env = os.environ | {"PYTHONPATH": str(Path(data_registry.__file__).parent), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-W", "error", "-c", SCRIPT, server.url(), PIN]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_killed_process_leaves_a_part_that_the_next_one_continues(server, cache, register, process):
    server.pause_after = len(CONTENT) // 2
    part = cache / "file.bin.part"
    child = process()
    wait_until(lambda: part.is_file() and part.stat().st_size > 0)
    assert kept(cache) == ["file.bin.part"]  # nothing under the final name while it runs
    child.send_signal(signal.SIGKILL) if hasattr(signal, "SIGKILL") else child.kill()
    child.wait()
    assert kept(cache) == ["file.bin.part"]

    size = part.stat().st_size
    server.pause_after = None
    register(File("file.bin", server.url(), PIN))
    assert fetch("toy", progress=False)["file.bin"].read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={size}-"]
    assert kept(cache) == ["file.bin"]


def test_two_processes_download_a_file_once(server, cache, process):
    server.pause_after = 1000
    first = process()
    wait_until(lambda: server.asked == [None])
    second = process()
    time.sleep(0.5)  # the second has begun by now, and waits for the first
    server.go_on.set()
    results = [child.communicate(timeout=60) for child in (first, second)]
    assert [error.decode() for _, error in results] == ["", ""]
    assert results[0][0] == results[1][0] != b""
    assert server.asked == [None]
    assert (cache / "file.bin").read_bytes() == CONTENT
    assert kept(cache) == ["file.bin"]


def test_a_lock_held_too_long_is_said(server, cache, register, monkeypatch):
    register(File("file.bin", server.url(), PIN))
    monkeypatch.setattr(data_registry, "_LOCK_TIMEOUT_S", 0)
    cache.mkdir(parents=True)
    with data_registry._locked(cache), pytest.raises(StorageError, match="another process has been downloading"):
        fetch("toy", progress=False)


# ------------------------------------------------------------------------------------------------- what can go wrong


def test_a_closed_network_says_address_cause_and_how_to_use_a_mirror(cache, register):
    url = "http://127.0.0.1:9/file.bin"  # the discard port: nothing listens there
    register(File("file.bin", url, PIN))
    with pytest.raises(NetworkError) as caught:
        fetch("toy", progress=False)
    for said in (url, "refused", "toy/file.bin", "STLEARN_DATA_MIRROR"):
        assert said in str(caught.value)
    assert isinstance(caught.value.__cause__, requests.ConnectionError)
    assert kept(cache) == []


def test_a_server_that_falls_silent_is_left(server, cache, register, monkeypatch):
    register(File("file.bin", server.url(), PIN))
    server.pause_after = 1000
    monkeypatch.setattr(data_registry, "_TIMEOUT_S", (1, 0.1))
    with pytest.raises(NetworkError, match="timed out"):
        fetch("toy", progress=False)


def test_a_dead_address_keeps_what_came_before(server, cache, register):
    register(File("file.bin", server.url(), PIN))
    server.status = 404
    with pytest.raises(NetworkError, match="404"):
        fetch("toy", progress=False)
    assert kept(cache) == []
    leave_part_again = cache / "file.bin.part"
    leave_part_again.write_bytes(CONTENT[:10])
    with pytest.raises(NetworkError, match="The 10 bytes that came are kept"):
        fetch("toy", progress=False)
    assert leave_part_again.read_bytes() == CONTENT[:10]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a disk that is always full")
def test_a_full_disk_is_said(server, cache, register):
    register(File("file.bin", server.url(), PIN))
    cache.mkdir(parents=True)
    (cache / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"file\.bin could not be written: the disk is full .* set STLEARN_CACHE"):
        fetch("toy", progress=False)


def test_a_read_only_cache_is_said(server, cache, register, monkeypatch):
    register(File("file.bin", server.url(), PIN))
    cache.mkdir(parents=True)
    monkeypatch.setattr(data_registry.os, "access", lambda folder, mode: False)
    monkeypatch.setattr(
        data_registry.sqlite3, "connect", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "no"))
    )
    with pytest.raises(StorageError, match=r"the folder is read-only .* set STLEARN_CACHE"):
        fetch("toy", progress=False)


def test_a_cache_below_a_file_is_said(server, cache, register, tmp_path):
    register(File("file.bin", server.url(), PIN))
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="set STLEARN_CACHE"):
        fetch("toy", progress=False)


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if not entry.files])
def test_what_takes_a_person_says_the_steps(cache, name):
    for files in (None, "anything"):
        with pytest.raises(AccessError) as caught:
            fetch(name, files)
        assert DATASETS[name].access in str(caught.value)
    assert "(1)" in DATASETS[name].access
    assert "https://" in DATASETS[name].access or "huggingface_hub" in DATASETS[name].access
    assert verify(name) == {}


def test_weights_without_a_mirror_say_where_to_put_them(cache):
    with pytest.raises(AccessError, match=r"weights/mobilenetv2_100_imagenet\.safetensors .*timm"):
        fetch("weights")


def test_unknown_names_are_met_with_what_is_close(cache):
    with pytest.raises(UnknownNameError, match=r"no data set 'HER2ST'\. Did you mean 'her2st'"):
        fetch("HER2ST")
    with pytest.raises(
        UnknownNameError, match=re.escape("her2st has no file 'ST-cnts/c2.tsv'. Did you mean 'ST-cnts/C2.tsv.gz'")
    ):
        fetch("her2st", "ST-cnts/c2.tsv")
    with pytest.raises(UnknownNameError, match=re.escape("gene_lists has no file '*.txt'")):
        verify("gene_lists", ["rankbygene/*", "*.txt"])
    with pytest.raises(UnknownNameError, match="no section 'I1'"):
        fetch_sections("her2st", ["C2", "I1"])
    with pytest.raises(UnknownNameError, match="stnet is not laid out by sections; her2st is"):
        fetch_sections("stnet", ["C2"])
    assert issubclass(UnknownNameError, ValueError)


def test_all_errors_have_one_base():
    errors = [
        value for value in vars(data_registry).values() if isinstance(value, type) and value.__name__.endswith("Error")
    ]
    assert len(errors) == 6
    assert all(issubclass(error, DataError) for error in errors)


# ---------------------------------------------------------------------------------------------------------- a mirror


def test_the_mirror_comes_first_and_is_used_in_place(server, cache, register, tmp_path, monkeypatch):
    register(File("here.bin", server.url(), PIN), File("there.bin", server.url(), PIN))
    mirrored = tmp_path / "mirror/toy/here.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(CONTENT)
    before = mirrored.stat()
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path / "mirror"))
    assert fetch("toy", "here.*", progress=False) == {"here.bin": mirrored}
    assert server.asked == []
    assert not cache.exists()
    assert mirrored.stat().st_mtime_ns == before.st_mtime_ns
    # What the mirror lacks comes from the network, into the cache and not into the mirror.
    assert fetch("toy", progress=False) == {"here.bin": mirrored, "there.bin": cache / "there.bin"}
    assert kept(tmp_path / "mirror") == ["here.bin"]


def test_a_wrong_file_in_the_mirror_is_named_and_not_replaced(server, cache, register, tmp_path, monkeypatch):
    register(File("file.bin", server.url(), PIN))
    mirrored = tmp_path / "mirror/toy/file.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"rotten")
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(HashError) as caught:
        fetch("toy", progress=False)
    rotten = f"sha256:{hashlib.sha256(b'rotten').hexdigest()}"
    for said in (str(mirrored), "in the mirror", f"expected {PIN}", f"found {rotten}", server.url()):
        assert said in str(caught.value)
    assert verify("toy")["file.bin"] == data_registry.Status("corrupt", mirrored, rotten)
    assert mirrored.read_bytes() == b"rotten"
    assert server.asked == []


def test_a_mirror_that_is_no_folder_is_said(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path / "nowhere"))
    for call in (fetch, verify):
        with pytest.raises(StorageError, match=r"STLEARN_DATA_MIRROR names .*nowhere, which is no folder"):
            call("gene_lists")


# --------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_says_what_one_must_know(name):
    entry = DATASETS[name]
    for field in ("title", "description", "format", "licence", "citation", "size", "access"):
        assert getattr(entry, field).strip() == getattr(entry, field) != ""
    assert entry.files or entry.access != "open"
    for doi in re.findall(r"doi:(\S+)", entry.citation):
        assert re.fullmatch(r"10\.\d{4,5}/\S+?[;,]?", doi)
    names = [file.name for file in entry.files]
    assert len(names) == len(set(names))


def test_the_data_sets_of_the_three_papers_are_all_there():
    assert set(DATASETS) == {
        *("her2st", "cscc", "alex_10x", "stnet", "stimage_1k4m", "hest_1k", "tcga_brca", "bcnb", "tcga_luad"),
        *("gene_lists", "st_mouse_olfactory_bulb", "visium_1.0.0_fixture", "visium_mouse_brain_crop", "weights"),
    }


def test_every_pin_is_well_formed():
    form = {"sha256": r"[0-9a-f]{64}", "git": r"[0-9a-f]{40}", "md5": r"[0-9a-f]{32}", "size": r"\d+"}
    for _, file in FILES:
        if file.pin is not None:
            kind, _, value = file.pin.partition(":")
            assert re.fullmatch(form[kind], value), file
    assert {(dataset, file.name) for dataset, file in FILES if file.pin is None} == {
        ("cscc", "GSE144240_RAW.tar"),
        ("stnet", "29ntw7sh4r-5.zip"),
    }


def test_every_address_is_fixed_by_a_commit_or_a_version():
    for dataset, file in FILES:
        if dataset == "weights":
            assert file.url is None
        elif dataset in ("cscc", "stnet"):
            assert file.url.startswith("https://")
        else:
            assert re.match(r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/", file.url)
            assert file.url.endswith(file.name.rpartition("/")[2].replace("+", "%2B"))


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../up", "C:/windows", "a\\b"])
def test_no_file_can_lie_outside_its_folder(name):
    with pytest.raises(ValueError, match="outside its data set's folder"):
        File(name, "http://127.0.0.1/", PIN)


def test_the_sections_are_the_36_in_order():
    assert len(HER2ST_SECTIONS) == 36
    assert list(HER2ST_SECTIONS) == sorted(HER2ST_SECTIONS)
    # mclSTExp's 32 sections are A2 to G3 of the sorted list.
    assert (HER2ST_SECTIONS.index("A2"), HER2ST_SECTIONS.index("G3")) == (1, 32)


def test_each_section_has_its_roles(monkeypatch):
    monkeypatch.setattr(data_registry, "fetch", lambda dataset, files, progress: {name: Path(name) for name in files})
    paths = fetch_sections("her2st")
    assert tuple(paths) == HER2ST_SECTIONS
    for section, roles in paths.items():
        labels = {"labels"} if section in {"A1", "B1", "C1", "D1", "E1", "F1", "G2", "H1"} else set()
        assert set(roles) == {"counts", "spots", "image"} | labels
        for role in ("counts", "spots", *labels):
            assert roles[role].name.startswith(section)
        if section == "A1":
            assert roles["image"] == Path("app/www/imgs/A1_HE_image_dark.png")
        else:
            assert roles["image"].parent == Path(f"ST-imgs/{section[0]}/{section}")
    assert fetch_sections(sections="C2") == {"C2": paths["C2"]}
    listed = {file.name for file in DATASETS["her2st"].files}
    assert sum(name.startswith("ST-imgs/") for name in listed) == 36
    assert {str(path) for roles in paths.values() for path in roles.values()} <= listed


@needs_mirror
@pytest.mark.parametrize("name", ["her2st", "gene_lists", "tcga_luad", "weights", "st_mouse_olfactory_bulb"])
def test_a_mirror_serves_whole_data_sets(name, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))
    present = [file for file, status in verify(name).items() if status.state == "ok"]
    assert present
    paths = fetch(name, present)
    assert all(path == Path(MIRROR) / name / file for file, path in paths.items())
    assert not list(tmp_path.iterdir())


@needs_mirror
def test_sections_come_from_the_mirror():
    paths = fetch_sections("her2st", ("A1", "B4", "C2", "C3", "C4", "C5", "C6"))
    assert all(path.is_file() for roles in paths.values() for path in roles.values())
    assert [section for section, roles in paths.items() if "labels" in roles] == ["A1"]


@needs_mirror
def test_the_table_agrees_with_the_mirror_s_own_list_of_hashes():
    listed = Path(MIRROR, "SHA256SUMS")
    if not listed.is_file():
        pytest.skip("this mirror has no SHA256SUMS")
    sums = dict(reversed(line.split()) for line in listed.read_text().splitlines())
    sums.pop("her2st/GIT_BLOBS.tsv", None)  # a list of pins, not data
    table = {f"{dataset}/{file.name}": file.pin for dataset, file in FILES}
    assert sums == {name: table[name].removeprefix("sha256:") for name in sums}
    assert sum(pin is not None and pin.startswith("sha256:") for pin in table.values()) == len(sums)


@needs_mirror
def test_the_git_pins_agree_with_the_commit_s_list_of_blobs():
    listed = Path(MIRROR, "her2st/GIT_BLOBS.tsv")
    if not listed.is_file():
        pytest.skip("this mirror has no list of git blobs")
    blobs = {
        name.removeprefix("data/"): f"git:{blob}" for blob, name in map(str.split, listed.read_text().splitlines())
    }
    by_git = {file.name: file.pin for _, file in FILES if file.pin and file.pin.startswith("git:")}
    assert len([name for name in by_git if name.startswith("ST-imgs/")]) == 30
    assert by_git == {name: blobs[name] for name in by_git}
    # The same list holds files that are at hand, so that the way a git pin is computed meets real bytes.
    for name in ("ST-cnts/C2.tsv.gz", "ST-spotfiles/C2_selection.tsv", "ST-imgs/C/C2/5714_HE_BT_C2.jpg"):
        path = Path(MIRROR, "her2st", name)
        assert blobs[name] == git_blob(path.read_bytes()) == data_registry._found(path, "git")


AT_HAND = [(dataset, file) for dataset, file in FILES if MIRROR and Path(MIRROR, dataset, file.name).is_file()]


@needs_mirror
@pytest.mark.parametrize(("dataset", "file"), AT_HAND, ids=[f"{dataset}/{file.name}" for dataset, file in AT_HAND])
def test_the_table_agrees_with_the_bytes_of_the_mirror(dataset, file):
    content = Path(MIRROR, dataset, file.name).read_bytes()
    expected = {"sha256": f"sha256:{hashlib.sha256(content).hexdigest()}", "git": git_blob(content)}
    assert file.pin == expected[file.pin.partition(":")[0]]
    assert file.size_bytes in (None, len(content))


# ----------------------------------------------------------------------------------------------------------- the rest


def test_the_module_stands_alone():
    tree = ast.parse(Path(data_registry.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in imported}
    assert roots - sys.stdlib_module_names == {"pooch", "requests", "tqdm"}
    assert "pickle" not in roots
