"""Archives are unpacked whole or refused: what leaves the folder, grows without end, or is broken, is named."""

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.data import archives
from stlearn_lib.data.archives import decompress, unpack
from stlearn_lib.errors import ArchiveError

FILES = {"counts/A1.tsv": b"3\n" * 5000, "A1.jpg": bytes(range(256)) * 100, "empty.txt": b""}

SYMLINK = tarfile.SYMTYPE.decode()


def tar(path, members, mode="w"):
    """Write a tar; a member is its bytes, or the type of something else."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            else:
                info.type, info.linkname = content.encode(), "/etc/passwd"
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def zipped(path, members):
    """Write a zip; a member is its bytes, or the kind of Unix file that it claims to be."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if not isinstance(content, bytes):
                info.external_attr, content = (content | 0o777) << 16, b"/etc/passwd"
            archive.writestr(info, content)
    return path


MAKERS = {
    "raw.tar": tar,
    "raw.tar.gz": lambda path, members: tar(path, members, "w:gz"),
    "raw.tar.xz": lambda path, members: tar(path, members, "w:xz"),
    "raw.zip": zipped,
}


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", MAKERS)
def test_files_are_unpacked_and_nothing_else(tmp_path, name):
    archive = MAKERS[name](tmp_path / name, FILES.items())
    written = unpack(archive, tmp_path / "raw")
    assert tree(tmp_path / "raw") == FILES
    assert [str(path.relative_to(tmp_path / "raw")) for path in written] == list(FILES)
    (tmp_path / "raw" / "A1.jpg").write_bytes(b"half")
    unpack(archive, tmp_path / "raw")
    assert tree(tmp_path / "raw") == FILES, "done again"


def test_folders_and_modes_are_not_taken_over(tmp_path):
    with tarfile.open(tmp_path / "raw.tar", "w") as archive:
        folder = tarfile.TarInfo("./")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o000
        archive.addfile(folder)
        info = tarfile.TarInfo("./run.sh")
        info.mode, info.uid = 0o6777, 4711
        archive.addfile(info, io.BytesIO())
    (path,) = unpack(tmp_path / "raw.tar", tmp_path / "raw")
    found = path.stat()
    assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR) and found.st_uid == os.getuid()


DANGEROUS = {
    "absolute": ("/escaped", b"x", "outside the folder"),
    "up": ("../escaped", b"x", "outside the folder"),
    "up, hidden": ("counts/../../escaped", b"x", "outside the folder"),
    "up, of Windows": ("..\\escaped", b"x", "outside the folder"),
    "a drive": ("C:escaped", b"x", "outside the folder"),
    "the folder itself": (".", b"x", "outside the folder"),
    "twice": ("A1.jpg", b"other", "is there twice"),
    "twice, hidden": ("./counts//A1.tsv", b"other", "is there twice"),
    "in a file": ("A1.jpg/inside", b"x", "lies in what is a file"),
}
KINDS = {
    tar: (SYMLINK, *(kind.decode() for kind in (tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE))),
    zipped: (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", DANGEROUS)
@pytest.mark.parametrize("name", ["raw.tar", "raw.zip"])
def test_what_must_not_be_unpacked_is_refused_before_anything_is_written(tmp_path, name, case):
    member, content, message = DANGEROUS[case]
    (tmp_path / "in").mkdir()
    archive = MAKERS[name](tmp_path / "in" / name, [*FILES.items(), (member, content)])
    with pytest.raises(ArchiveError, match=message) as caught:
        unpack(archive, tmp_path / "out" / "raw")
    assert str(archive) in str(caught.value) and member.rsplit("/")[-1].strip("./") in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", name]


@pytest.mark.parametrize(("make", "kind"), [(make, kind) for make, kinds in KINDS.items() for kind in kinds])
def test_links_and_devices_are_refused(tmp_path, make, kind):
    archive = make(tmp_path / ("raw.tar" if make is tar else "raw.zip"), [("good", b"x"), ("evil", kind)])
    with pytest.raises(ArchiveError, match="'evil' is a link or a device"):
        unpack(archive, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_link_cannot_be_written_through(tmp_path):
    """What tarfile was attacked with: a link out of the folder, then a file below it."""
    archive = tar(tmp_path / "raw.tar", [("out", SYMLINK), ("out/passwd", b"x")])
    with pytest.raises(ArchiveError, match="link"):
        unpack(archive, tmp_path / "raw")


@pytest.mark.parametrize("name", MAKERS)
def test_limits(tmp_path, name):
    archive = MAKERS[name](tmp_path / name, [(f"f{i}", b"\0" * 10**5) for i in range(5)])
    with pytest.raises(ArchiveError, match=r"more than 4 members, the last seen 'f4'"):
        unpack(archive, tmp_path / "raw", max_files=4)
    with pytest.raises(ArchiveError, match=r"raw.*f2 is larger, unpacked, than the 50,000 bytes that are left"):
        unpack(archive, tmp_path / "raw", max_bytes=250_000)
    assert tree(tmp_path / "raw") == {f"f{i}": b"\0" * 10**5 for i in range(2)}, "whole files only"
    assert len(unpack(archive, tmp_path / "raw", max_files=5, max_bytes=500_000)) == 5


def test_a_zip_that_lies_about_its_size_is_stopped_by_what_is_written(tmp_path):
    content, size = b"\0" * 10**7, (10**7).to_bytes(4, "little")
    raw = zipped(tmp_path / "raw.zip", [("bomb", content)]).read_bytes()
    assert raw.count(size) == 2  # in the member's header and in the directory
    (tmp_path / "raw.zip").write_bytes(raw.replace(size, (10**9).to_bytes(4, "little")))
    with pytest.raises(ArchiveError, match="bomb is larger, unpacked"):
        unpack(tmp_path / "raw.zip", tmp_path / "raw", max_bytes=10**6)
    (tmp_path / "raw.zip").write_bytes(raw.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(ArchiveError, match=r"raw\.zip: bomb is broken"):
        unpack(tmp_path / "raw.zip", tmp_path / "raw")
    assert not tree(tmp_path / "raw")


def test_a_sparse_tar_of_holes_is_stopped(tmp_path):
    """A few hundred bytes that say that they are a gigabyte of zeros, as GNU tar stores sparse files."""
    info = tarfile.TarInfo("bomb")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[483:495] = b"%011o\0" % 2**30  # the real size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "raw.tar").write_bytes(bytes(head) + bytes(10240))
    with pytest.raises(ArchiveError, match="bomb is larger, unpacked"):
        unpack(tmp_path / "raw.tar", tmp_path / "raw", max_bytes=10**6)
    assert not tree(tmp_path / "raw")


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("keep", [0, 0.3, 0.6, 0.8])
def test_a_truncated_archive_is_broken(tmp_path, name, keep):
    raw = MAKERS[name](tmp_path / name, [("a", os.urandom(20_000)), ("b", os.urandom(20_000))]).read_bytes()
    (tmp_path / name).write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(ArchiveError, match=r"raw.* is (broken|cut short)"):
        unpack(tmp_path / name, tmp_path / "raw")


def test_a_tar_cut_between_two_members_is_broken(tmp_path):
    raw = tar(tmp_path / "raw.tar", [("a", b"x" * 512), ("b", b"y" * 512)]).read_bytes()
    (tmp_path / "raw.tar").write_bytes(raw[:1024])
    with pytest.raises(ArchiveError, match="cut short: it has no end"):
        unpack(tmp_path / "raw.tar", tmp_path / "raw")


def test_damage_and_secrets_are_named(tmp_path):
    raw = bytearray(zipped(tmp_path / "raw.zip", [("a", b"counts " * 50), ("b", b"x")]).read_bytes())
    raw[40] ^= 0xFF
    (tmp_path / "raw.zip").write_bytes(raw)
    with pytest.raises(ArchiveError, match=r"raw\.zip: a is broken"):
        unpack(tmp_path / "raw.zip", tmp_path / "raw")
    raw = bytearray(zipped(tmp_path / "raw.zip", [("a", b"x")]).read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # encrypted, as the directory says
    raw[6] |= 1
    (tmp_path / "raw.zip").write_bytes(raw)
    with pytest.raises(ArchiveError, match=r"raw\.zip: a is broken .*encrypted"):
        unpack(tmp_path / "raw.zip", tmp_path / "raw")
    with pytest.raises(ArchiveError, match=r"nowhere\.tar does not exist"):
        unpack(tmp_path / "nowhere.tar", tmp_path / "raw")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(["raw.tar", "raw.zip", "raw.tar.gz"]))
def test_any_damage_is_an_archive_error_or_none(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("fuzz")
    raw = bytearray(MAKERS[name](folder / name, [("a/b", b"counts" * 30), ("c", b"x" * 40)]).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=6)):
        raw[place] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(raw)
    try:
        unpack(folder / name, folder / "inner" / "raw", max_bytes=10**6)
    except ArchiveError as error:
        assert name in str(error)
    inside = folder / "inner" / "raw"
    assert all(inside in path.parents for path in folder.rglob("*") if path.is_file() and path.name != name)


KILLED = """
import os, signal, sys
from stlearn_lib.data import archives
read, blocks = archives._named, iter(range(6))
archives._BLOCK = 1000
class Dying:
    def __init__(self, *some): self.inner = read(*some)
    def __enter__(self):
        if next(blocks, None) is None: os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.__enter__()
    def __exit__(self, *some): return self.inner.__exit__(*some)
archives._named = Dying
archives.unpack(sys.argv[1], sys.argv[2])
"""


def test_a_killed_unpack_leaves_no_half_file_and_is_finished_by_the_next(tmp_path):
    archive = tar(tmp_path / "raw.tar", FILES.items())
    done = subprocess.run([sys.executable, "-c", KILLED, archive, tmp_path / "raw"], capture_output=True, timeout=60)
    assert done.returncode < 0, done.stderr
    visible = {
        name: content for name, content in tree(tmp_path / "raw").items() if not name.rpartition("/")[2].startswith(".")
    }
    assert visible.items() <= FILES.items() and len(visible) < len(FILES)
    unpack(archive, tmp_path / "raw")
    assert tree(tmp_path / "raw") == FILES, "and its leftovers are gone"


def test_a_gzip_file_is_decompressed_once(tmp_path, monkeypatch):
    (tmp_path / "A1.jpg.gz").write_bytes(gzip.compress(b"image"))
    assert decompress(tmp_path / "A1.jpg.gz") == tmp_path / "A1.jpg"
    assert (tmp_path / "A1.jpg").read_bytes() == b"image"
    monkeypatch.setattr(archives.gzip, "open", lambda *_: pytest.fail("again"))
    decompress(tmp_path / "A1.jpg.gz")


def test_a_broken_or_endless_gzip_file_is_named(tmp_path):
    for name, raw in {"none": None, "empty": b"", "cut": gzip.compress(b"x" * 99)[:-9], "text": b"plain"}.items():
        if raw is not None:
            (tmp_path / f"{name}.gz").write_bytes(raw)
        with pytest.raises(ArchiveError, match=rf"{name}\.gz is broken"):
            decompress(tmp_path / f"{name}.gz")
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10**7)))
    with pytest.raises(ArchiveError, match=r"bomb\.gz is larger, unpacked, than the 1,000 bytes"):
        decompress(tmp_path / "bomb.gz", max_bytes=1000)
    assert not (tmp_path / "bomb").exists()
