"""Readers: files on disk to sections, one platform or publisher in one file."""

from stlearn_lib.data.readers.anndata_files import read_visium_h5ad
from stlearn_lib.data.readers.cscc import read_cscc
from stlearn_lib.data.readers.hest import read_hest
from stlearn_lib.data.readers.plain import read_plain
from stlearn_lib.data.readers.space_ranger import read_visium, read_visium_hd
from stlearn_lib.data.readers.spatial_data import read_spatialdata
from stlearn_lib.data.readers.st import read_st
from stlearn_lib.data.readers.stimage import read_stimage

__all__ = [
    "read_cscc",
    "read_hest",
    "read_plain",
    "read_spatialdata",
    "read_st",
    "read_stimage",
    "read_visium",
    "read_visium_h5ad",
    "read_visium_hd",
]
