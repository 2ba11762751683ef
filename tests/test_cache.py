import pytest

from stlearn_lib.cache import cache_folder, written_whole


def test_folder_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "here"))
    assert cache_folder("patches") == tmp_path / "here/patches"
    assert cache_folder("patches").is_dir()


def test_file_appears_whole(tmp_path):
    with written_whole(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "file.txt").exists() and temporary.suffix == ".txt"
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "whole"


def test_failure_leaves_the_old_file(tmp_path):
    (tmp_path / "file.txt").write_text("old")
    with pytest.raises(KeyError), written_whole(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "old"
