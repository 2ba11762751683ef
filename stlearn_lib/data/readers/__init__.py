"""Readers: files on disk to sections, one platform or publisher in one file."""

from stlearn_lib.data.readers.st import read_st

__all__ = ["read_st"]
