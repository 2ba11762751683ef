"""Every data set that we use: what it is, where it lives, what pins it, whose it is, and how to get it.

The table below is meant to be read. A file has a name, a size in bytes (``?`` where we never held it) and a pin, which
says what its content must be: ``sha256:``; ``git:``, the SHA-1 that git gives it (of ``"blob "``, the size in decimal,
a zero byte and the content), for files that we know only from the commit that holds them; ``md5:``; or ``size:`` in
bytes. Two archives have none, as we never held them and their publishers state no hash: `fetch` warns when it gets one.

A file is looked for in three places, and verified in each:

1. ``STLEARN_DATA_MIRROR``, a folder laid out like the table (``her2st/ST-cnts/C2.tsv.gz``), used in place, not written;
2. the cache, ``data`` under ``STLEARN_CACHE`` or else under the user's cache folder, laid out the same way;
3. its address. Interrupted downloads continue where they ended.

Example:
    >>> DATASETS["her2st"].title
    'HER2-positive breast tumours, spatial transcriptomics'
    >>> from pathlib import PurePath
    >>> [file.name for file in DATASETS["her2st"].files if PurePath(file.name).match("C2*")]
    ['ST-cnts/C2.tsv.gz', 'ST-spotfiles/C2_selection.tsv']
    >>> try:
    ...     fetch("her2")
    ... except DataError as error:
    ...     str(error)
    "There is no data set 'her2'. Did you mean 'her2st'? Known are: her2st, cscc, alex_10x, stnet, stimage_1k4m, ..."
"""

import errno
import hashlib
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

import pooch
import requests

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = (10, 60)  # to connect, and between two packets
_LOCK_TIMEOUT_S = 3600


class DataError(Exception):
    """Base of every error of this module: it says what is wrong, where, and what to do."""


class UnknownNameError(DataError, ValueError):
    """The table has no such data set, file or section."""


class AccessError(DataError):
    """The data set cannot be fetched by a program alone: it takes an account, an agreement, or a download by hand."""


class NetworkError(DataError):
    """The address could not be reached, or the connection broke."""


class HashError(DataError):
    """A file is not the one that the table pins."""


class StorageError(DataError):
    """The cache cannot be written (full, read-only, locked), or the mirror is no folder."""


@dataclass(frozen=True)
class File:
    """One file: `name` below the data set's folder, address, pin (``"kind:value"``) and size in bytes; None if unknown.

    Example:
        >>> File("../elsewhere", None, None)
        Traceback (most recent call last):
            ...
        ValueError: '../elsewhere' would lie outside its data set's folder.
    """

    name: str
    url: str | None
    pin: str | None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or not path.parts or {"\\", ":"} & set(self.name):
            raise ValueError(f"{self.name!r} would lie outside its data set's folder.")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: what it is, in what format, whose, under what terms, how large, how to get it, and its files.

    `access` is ``"open"`` where `fetch` downloads it, and otherwise the steps that a person has to take. `files` is
    empty where we have no list of them.
    """

    title: str
    description: str
    format: str
    licence: str
    citation: str
    size: str
    access: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Status:
    """What `verify` found at `path`: the state, and, unless ``"missing"``, the hash as ``"kind:value"``."""

    state: Literal["ok", "missing", "corrupt", "unpinned"]
    path: Path
    found: str | None


def _files(url: str, folder: str, rows: str) -> tuple[File, ...]:
    """Read rows of ``name size pin``: files at the address `url` + name, kept under `folder` + name."""
    return tuple(
        File(folder + name, url + quote(name), pin, None if size == "?" else int(size))
        for name, size, pin in (row.split() for row in rows.strip().splitlines())
    )


_GITHUB = "https://raw.githubusercontent.com"
_HER2ST = f"{_GITHUB}/almaan/her2st/85df7411b987a7dec3feff9718b869a7a82091ec"
_MCLSTEXP = f"{_GITHUB}/shizhiceng/mclSTExp/fdd3ab1fb5aff0f026936a4a2cb72b0c0e6d82f0"
_NH2ST = f"{_GITHUB}/MCPathology/NH2ST/e385a1c6239b0907eb54484eb8a4baff34f084a1"
_RANKBYGENE = f"{_GITHUB}/winston52/RankByGene/96a15496c2c1819af7df521ea0a5cf97bed5991b"
_MCAT = f"{_GITHUB}/mahmoodlab/MCAT/b9cca63be83c67de7f95308d54a58f80b78b0da1"
_XFUSE = f"{_GITHUB}/ludvb/xfuse/c420abb013c02f44120205ac184c393c14dcd14d"
_SCANPY = f"{_GITHUB}/scverse/scanpy/fabadb9412c0d1cd9df9d9c2e95ac266d564ee18"
_SQUIDPY = f"{_GITHUB}/scverse/squidpy/be17fcf6afddbf06011429a6cf43b70cb9fac9b4"

DATASETS: dict[str, Dataset] = {
    # ----------------------------------------------------------------------------------------- what the papers train on
    "her2st": Dataset(
        title="HER2-positive breast tumours, spatial transcriptomics",
        description=(
            "36 sections of the tumours of 8 patients (the letter is the patient), spots of 100 µm at a pitch of 200 "
            "µm, with H&E images; a pathologist labelled the spots of 8 sections (A1 B1 C1 D1 E1 F1 G2 H1; J1 has "
            "labels and no counts). mclSTExp uses 32 of the sections, A2 to G3 in sorted order. A1 also comes as a "
            "reduced image (2,000 x 2,138 px), its background masked to black."
        ),
        format=(
            "Counts: TSV, spots x genes. Spot files: TSV, array x and y and the pixel centre in the image. Images: "
            "JPEG of about 9,270 x 9,900 px, and the reduced A1 as PNG. Labels: TSV, a label per spot."
        ),
        licence=(
            "not stated in the GitHub repository; the authors' copy of the data on Zenodo is catalogued as CC BY 4.0 "
            "(doi:10.5281/zenodo.4751624)"
        ),
        citation=(
            "Andersson et al., Spatial deconvolution of HER2-positive breast cancer delineates tumor-associated cell "
            "type interactions, Nature Communications 12:6012 (2021), doi:10.1038/s41467-021-26271-2"
        ),
        size="about 190 MB: 37 MB of counts, 36 images of about 4 MB",
        access="open",
        files=_files(
            f"{_HER2ST}/data/ST-cnts/",
            "ST-cnts/",
            """
            A1.tsv.gz 1033376 sha256:d91035e5d8a9c4ce7865e4c61446deec1a7318602d41b3220e9fcb3ce7e41fe3
            A2.tsv.gz 1340590 sha256:1c84f44bfc0bce6d5647b78e4598e2456f769e29f72ca52911d5bc4be81e410c
            A3.tsv.gz 1358980 sha256:dd0107ff76b643d7b72330c7bfe282e2b27eb7dd58b77680b0e6bcbeae95852f
            A4.tsv.gz 1297246 sha256:3283ba1bf1550b26119966fe06a844d815e7fc73c493943b936dd3d933c4c331
            A5.tsv.gz 1247949 sha256:ff40c29d552391b3a4c4f37bb8c5cefce82e4dc64a277d4b80e2425405c59722
            A6.tsv.gz 1314417 sha256:65b4f4d25b1afab5b6556c7a6aab2b8910562d03b173cebcf568ab7190695aec
            B1.tsv.gz  657516 sha256:97b3abf2676c596ac7dd53829780005724cab62a6f676697516006481a443f74
            B2.tsv.gz  596436 sha256:b43cef41e3164ffe4a3b43b6ed396f664d971451d3dc151dea4d91a09e84d95c
            B3.tsv.gz  613993 sha256:bd1fd03f33bdc14ca68a271525587d27b1e78323ea695413d274d6c388becf7a
            B4.tsv.gz  563881 sha256:e38231c2a38c9bc7e6d550eec0e527c1869ee0e525fc913e708d1323c34f5ebb
            B5.tsv.gz  688429 sha256:05bdd1ea4234f62d5223f94a96d37f2f87b48e95062251560cdd676f5514948a
            B6.tsv.gz  625356 sha256:bfb2b4e5d99b6021c43f546a3e773c32f4f13a4b461cdd1684d364f9fe550e2b
            C1.tsv.gz  752999 sha256:8383130eebf0f9f8186f006ed6b704149ba62303605a312a9080fa9901be9c20
            C2.tsv.gz  821408 sha256:c1c59ea6cffae36b9ecb561b8e2a97e3aa5f4085f748e991a0e330ed9d09773d
            C3.tsv.gz  847901 sha256:e00c55a3eb9caac5d9c71b8906aae8be8b38f93e23938f4a0ebee17683ef6a2a
            C4.tsv.gz  886246 sha256:33201f76d41d7131dc600a0f87d9a70383af3503e81698b4d11e6f2e8d73e9da
            C5.tsv.gz  845308 sha256:c0f310315ca6110d74dbdf7011e5b42432ba0b8eb5f001824764911988f39338
            C6.tsv.gz  892853 sha256:60478b0d2411501866685f41312c65c6591e499d64d5b719be8ee9bab25c9bc8
            D1.tsv.gz 1251370 sha256:8fe13d29763b3f6a9e85322dae97e05c4ca42b57cef4b1077c88b9b7b6a980ac
            D2.tsv.gz  990376 sha256:e63818ad8717b47ca949e082c1f28b9c807475b8d722a6f5c1acda7b618b5495
            D3.tsv.gz 1061872 sha256:0bdfa82f3a2f4c659757cbd9f9b5734f9faabc44c4ee72094bf2b8609c86e01f
            D4.tsv.gz 1023224 sha256:4da2a65ffdd6ce52993e4f68b3730326c00ce9304cf8aebaf125efe9997fb898
            D5.tsv.gz 1073620 sha256:a1592e1742913cd37f2534153467752ded6eade730d5acdc227daad55c9e551f
            D6.tsv.gz 1011895 sha256:3b9ab37e0cacf7956da1354c8c0ee2a7fc5e12be78ccb4d10578df36a6bf7271
            E1.tsv.gz 1017499 sha256:b2f572ea0a95d256cb172a9284e96b6d2ff236398d4934a992df85c96d11c4cc
            E2.tsv.gz 1256268 sha256:a725a87e1a74ef0c096d421664dd9100bf973e5768c28acfa9c17abb63677a95
            E3.tsv.gz 1237843 sha256:8030d33e51c2831f7c758ed0374baa9f121d2e2dce6decd47228ff070c7f0ac4
            F1.tsv.gz 1778749 sha256:187aa13f204d514851d3674dfa09b4a8d7f2676f1d40d2ef63e9e368c7cf672a
            F2.tsv.gz 1880241 sha256:7de4ca7c3ccb923f4d636b21a4639284c66da9d97a93e1ab6712b3c453229c04
            F3.tsv.gz 1900113 sha256:6b7eb2d7ff8c6a8826cfba304de2d3b87bb8e30f68d050b83007de9888546743
            G1.tsv.gz  852454 sha256:396153436dfc39e199bdc01447b3f8929aef598d7064c0c24a33da00f54570ea
            G2.tsv.gz  954118 sha256:9d51a5ed85bdf60069dcf51beeffba4e90e35e8630ec3b707a2453ffdd608e3b
            G3.tsv.gz  837354 sha256:9fd3c8efb94239b567157860224a33417d798a65d3a28fb9982651795cb2259e
            H1.tsv.gz  972770 sha256:90b391782535f38c9ab20fe8b38f44ebbfdad2201075a677a198cbef12c29b07
            H2.tsv.gz 1023577 sha256:e839f271f2cde0ccf8f43f4358133f066be5d75d982839eba75abd7967486a34
            H3.tsv.gz  733852 sha256:5771d4793f4e1377ed066f27cdbc703d3317c81b7dd5323a175d2227c7e3ae1d
            """,
        )
        + _files(
            f"{_HER2ST}/data/ST-spotfiles/",
            "ST-spotfiles/",
            """
            A1_selection.tsv 12879 sha256:e5f79223be2ea2aebb082c4759059ab7079b0132052d0944209048ac57788c5d
            A2_selection.tsv 11958 sha256:b21f48c8492ff1d71c0d0d396dbde64735ff8fa5419bcc6f5cffe60f68d7cb09
            A3_selection.tsv 13441 sha256:09a5434745c4ce3c6859f3af00ea414a4b947685977e97f24595e77d1a0ff78e
            A4_selection.tsv 12712 sha256:d1e41fb1d50ea04b55743f3c67104bdde46e1aea6a086e6cfdaf5109da0d2e02
            A5_selection.tsv 12398 sha256:1237571fecfa2809292eeb7c7ee6b7da220a516121b94a71802cbbc971dc0daa
            A6_selection.tsv 11860 sha256:d771bdc9dcb386cce0e628339c9ff94e5392fff191790b31aba4d73ff44b7554
            B1_selection.tsv 10794 sha256:7ea9963677db80199db928d763b0b34ea1015fb7452e85ac7b21d42ee15c3875
            B2_selection.tsv  9838 sha256:963e3f0b0e6eb17586788f2228dbd829ca7d13eb0211bf8b1a5685d3a33b8153
            B3_selection.tsv 10924 sha256:23b07cc9e5142802915cefedb7a8259766b58544fa7a2ac3eda21feaa267b9c9
            B4_selection.tsv 10560 sha256:192b46f3ca414c85753a01a4fb5760a697ca6c0a1aadb949c4687cc6efa9faa0
            B5_selection.tsv 10631 sha256:dc206c6e6448e81ba55d01f16fa862d07f5f7087fe16772eab919355e43cd1a7
            B6_selection.tsv 10247 sha256:63b90d6283071d2db43d5486eeba0e76091998e64fa8c4a95b4501086c8aff33
            C1_selection.tsv  6631 sha256:9a5187c98d2c312064057d3bad192d4a19105b5135ff2b68f5e4547cade0954d
            C2_selection.tsv  7053 sha256:235b5f4306b3b57c628ffc82c98c7109602474fbcc79a917b9c50517f99b6b1c
            C3_selection.tsv  6728 sha256:7fd76c13370b7804ac3bb377b846d22485cf9223f9dd8dfc25be06e5aaf65755
            C4_selection.tsv  6960 sha256:47e79f3b9dbfa3a8c18af9e948ba7ba4bf0a75ea1b4c292bc714ced7d0917d4c
            C5_selection.tsv  6802 sha256:2114cc3b4da759772112897f1e247d5443c9f8c808e6a9a952eb4fda379a194c
            C6_selection.tsv  6655 sha256:efdbbc6759c6af43baa966505c31705f09c087c1dccf1ea3e0d1db7b55717117
            D1_selection.tsv 11444 sha256:7ba7843b52ddc2b147ee968fe9466a5d1fa0d884b51def292ce340d88da034eb
            D2_selection.tsv 11223 sha256:5e0cadc230094060d071124cfb5ab6223d3dbb56b6aa6c3e4f8f9c8f1e329fb5
            D3_selection.tsv 11120 sha256:e820564d7720c1fbc9910f5440368a43a2b862d617a9c107582ddb706af61a3b
            D4_selection.tsv 11260 sha256:82e12ff5f14a9564fd0aa9755243e4412e6786fdb559210cef9c3c6ff35a05b0
            D5_selection.tsv 11517 sha256:f19eebb34f6a031fe766715d7f97a7682e201f30097fd0fa15ebf8f34ff95853
            D6_selection.tsv 11921 sha256:82d80015e0e789bbbfe2d6ea033da43207a1803666a0ec5b162db380b3cc1cb7
            E1_selection.tsv 21672 sha256:a979c36f6310fff965c96f05ad290ca322d88e400b5aed2a1139fdd6f0e2da92
            E2_selection.tsv 21116 sha256:1beeac4b7a45e432eb4d9c34460e7a2a3342f77e0bb6dcffae66ae31b1584444
            E3_selection.tsv 21146 sha256:f0fe37cfb98e3757587d0d43d45fc734b3627d336ccab4da179548b86c5c1d9c
            F1_selection.tsv 25344 sha256:cf479a5812c317541c7f7d6a4ebf1bfd93b0a1ab3eef35a8da15b9e76164f2f4
            F2_selection.tsv 25504 sha256:3a9149a67b05971dfb27edb2261d9ffd2443543021356b0d46f26d8237c1a20d
            F3_selection.tsv 26018 sha256:106ba9b275b29fd745116b8961a1a0bb39ec41d9d0433932d6b129f98a46c093
            G1_selection.tsv 16203 sha256:0e2f630e09a7c0e1869918c0c9afebcff36b86006a6809533fb09405c831a01d
            G2_selection.tsv 17128 sha256:abae30bb6f434cb2aae34b8ef56da6b613c840d48c49279d55f4600ad496245c
            G3_selection.tsv 17139 sha256:6f258aa6b4d432d29f0b7ba4a9be64ac7e58fbc430523a41e4eb5bdf13127272
            H1_selection.tsv 22695 sha256:fc9cc5bad3a1e26e48f435696259df38b500042a9565486c15fd37ab7d8f9ed6
            H2_selection.tsv 22331 sha256:c38d3ade8b5674633097b23a66a554831193cee48ba54a7d7418291a9f5533f9
            H3_selection.tsv 18964 sha256:430da6f95105eb660f4e8b9b688d44d0d28b3ff66fee3e201cc160ee5739a28c
            """,
        )
        + _files(
            f"{_HER2ST}/data/ST-imgs/",
            "ST-imgs/",
            """
            A/A1/9769_C1_HE_small.jpg       ? git:9e3ffa0bc368b2c89fb56f6db66f124aca2d8805
            A/A2/9769_C2_HE_small.jpg       ? git:fac2f91748e04e6ddcd11d38bb8578d17e9c466c
            A/A3/9769_D1_HE_small.jpg       ? git:ce582dea438de7231b253ea442aafa8110411e6d
            A/A4/9769_D2_HE_small.jpg       ? git:0ff7e4aec940feb63670953c4399b01128b674f7
            A/A5/9769_E1_HE_small.jpg       ? git:16e736aed143d7c6a38845722111734bc2e8d29e
            A/A6/9769_E2_HE_small.jpg       ? git:2655460c930e21f0bb865cbfbfd472cfba7fc9a3
            B/B1/BT10737_C1_HE.jpg          ? git:2f88e1cdbf5fc2ddc79a21e0d61353b659a6915c
            B/B2/BT10737_C2_HE.jpg          ? git:081fb671960850911a0c796fcf80f6509e3ae947
            B/B3/BT10737_D1_HE.jpg          ? git:317b9ea3406243173f117c6b7675a0ed645ad2eb
            B/B4/BT10737_D2_HE.jpg    4076552 sha256:3cb165614ce2a13426381e450220dccac980cc9bda6a90fb041c28ca0e2c753d
            B/B5/BT10737_E1_HE.jpg          ? git:d095e63aaa5d173c57211fdf5fb05c61add344d9
            B/B6/BT10737_E2_HE.jpg          ? git:3c904f992aa1f001fe951d1d29b422db22ce877e
            C/C1/5714_HE_BT_C1.jpg          ? git:3b128d5006a5d7a67a11fd3be5e3d482063663c7
            C/C2/5714_HE_BT_C2.jpg    3990230 sha256:26e2f73ae840cdd46c5bba405aae181f13a56a376b9848dff23f7a9c5de7f19e
            C/C3/5714_HE_BT_D1.jpg    3915842 sha256:0005a92674014d473040a28f0afca89ce5fa5c44019b479b638ceb3272ceb568
            C/C4/5714_HE_BT_D2.jpg    3806070 sha256:f40607eb1d5f0d125decd71c48b0c5d29cf6776ad92297fd185631208c82d6f2
            C/C5/5714_HE_BT_E1.jpg    3719130 sha256:34028ea41e376396b50c42b0a11a7e689c85be4a8022e668d0a09cc128c04c65
            C/C6/5714_HE_BT_E2.jpg    3941039 sha256:dddd87232589648861a9b6776dc1749be8306213f6589aeef0e805fb2b1ee263
            D/D1/10426_HE_BT_C1.jpg         ? git:0666416fa4640d15994a949397390f02a7bf6952
            D/D2/10426_HE_BT_C2.jpg         ? git:e9041416ece731aad3e47be37c4af37259d02116
            D/D3/10426_HE_BT_D1.jpg         ? git:0b277a7bd72f9d3d430b904e456a8937d7c8d116
            D/D4/10426_HE_BT_D2.jpg         ? git:29a7f39c9f6641398d70df65a17ad9285e694151
            D/D5/10426_HE_BT_E1.jpg         ? git:891c8e83304a1fd3b6eeba7f4c364141033fe7a0
            D/D6/10426_HE_BT_E2.jpg         ? git:c4b63fa0ca5939d681b0acea378e776b764952d4
            E/E1/HE_BT23567_D2.jpg          ? git:002df3eb261e101533c481d2f8c29ec3a558f94a
            E/E2/HE_BT23567_E1.jpg          ? git:9ff4b135b74955e4f42e7712e2ffcc8cadc24dad
            E/E3/HE_BT23567_E2.jpg          ? git:ca100ef000f50efcd6625c51c38983d0c6529f9f
            F/F1/HE_BT23810_D2.jpg          ? git:d0863987f72d96517b28c7515854700cfbb4556d
            F/F2/HE_BT23810_E1.jpg          ? git:a9ce69a96e8f9ac6048f652320181e0465ef7cc6
            F/F3/HE_BT23810_E2.jpg          ? git:636f267974dac208c34bac44488614a87528d1b9
            G/G1/HE_BT23903_C1a.jpg         ? git:a27a666047d394035ea369123a02485583256ba5
            G/G2/HE_BT23903_C2a.jpg         ? git:19914bbc8169a2e33799c6e295a5b5afb6e496a0
            G/G3/HE_BT23903_D1a.jpg         ? git:4e3178f618b990a4a5548f791794bb2d4aac9279
            H/H1/HE_BT24044_D2.jpg          ? git:9a9b455fa697252cd9faa63b1b0b91c18e600566
            H/H2/HE_BT24044_E1.jpg          ? git:a8dde449dfd8ee9c988b0c49451eae9e894071d2
            H/H3/HE_BT24044_E2.jpg          ? git:e1f23756d6926a4b41d95669f6e16141cdda943f
            """,
        )
        + _files(
            f"{_HER2ST}/app/www/imgs/",
            "app/www/imgs/",
            """
            A1_HE_image_dark.png 4001062 sha256:e3836547df4772907bb537e53f41794fe4e603e9a6c99c1f6e91ef4342b95a6d
            """,
        )
        + _files(
            f"{_HER2ST}/data/ST-pat/lbl/",
            "ST-pat/lbl/",
            """
            A1_labeled_coordinates.tsv 22117 sha256:23a0a68dccd54a8397ea4066994edb7110e88373d5b3bc6e35254dda9253fa5f
            B1_labeled_coordinates.tsv 18510 sha256:f7050caa71c47a4c95fcca2a7f29560d387310877b1c9e4a54f841059db837ee
            C1_labeled_coordinates.tsv 11396 sha256:41b6e1bbb1031480d969e725e739971cb39dbdb6e2b6d662d585bebacf093040
            D1_labeled_coordinates.tsv 19707 sha256:c8bf26103d1aac42611d9c85ba3db9c596b9a80ec045ca9b246b8d14d8b3c20f
            E1_labeled_coordinates.tsv 37579 sha256:29db60fe5b306bb982fbd2bbdd1f9c60eedf90c6ac1d56bedd3c18ed5a369829
            F1_labeled_coordinates.tsv 43854 sha256:3b59970f0c6ba09d8e0fc9286ace2a295bf06d36c59684162b7a8aca0e021ec5
            G2_labeled_coordinates.tsv 29799 sha256:8466275647ad125569ee94d099cc7b78c15028968ba1dd267a85a81c001a16ff
            H1_labeled_coordinates.tsv 38594 sha256:b65cbc99ed7a01281bc2eb87be87b902312e47ca91bc1f00ff351489b78434c3
            J1_labeled_coordinates.tsv 16280 sha256:36fa0cdccfd07ca4f77940481f893a6a8b92762bc27abd891cc246fdf2beece1
            """,
        )
        + _files(
            f"{_HER2ST}/data/ST-pat/img/",
            "ST-pat/img/",
            """
            A1_annotated.png ? git:601c799d415d5e13e327a33a677f491f33980cb2
            B1_annotated.png ? git:42927f4c6d90af262091186fba9155e1de8b0158
            C1_annotated.png ? git:aca812a3c3ddadc11c2685613bc30d0ada16821b
            D1_annotated.png ? git:f2211520550e491b261a0186a8b47dd20544ecb0
            E1_annotated.png ? git:ac208411a0163001947c36234e8cf094bf9a0185
            F1_annotated.png ? git:cf2934d750b855044f2474528f0d1e2fa78064c1
            G1_annotated.png ? git:1ea21b58501dba6e3be501c4cc7845f319c22f6e
            H1_annotated.png ? git:9d692f178e6570c6ac1d56e812818b081307e5f1
            """,
        )
        + _files(
            f"{_HER2ST}/data/clinical_data/",
            "clinical_data/",
            """
            10_HER2+_info.xlsx ? git:02f92ca83de1041477f916ff18e5ab45962fd9f4
            """,
        ),
    ),
    "cscc": Dataset(
        title="Cutaneous squamous cell carcinoma (GSE144240)",
        description=(
            "Skin tumours; mclSTExp and NH2ST ('Skin') use the 12 spatial transcriptomics sections, patients P2, P5, "
            "P9, P10 with three replicates each (samples GSM4284316 to GSM4284327). The archive holds the series' "
            "single-cell data too."
        ),
        format=(
            "One tar. A section in it: GSM4284316_P2_ST_rep1_stdata.tsv.gz (counts, spots x genes), "
            "GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz (spots) and the H&E image of the same name."
        ),
        licence="not stated by the authors; GEO places no restriction of its own on the use of its data",
        citation=(
            "Ji et al., Multimodal analysis of composition and spatial architecture in human squamous cell carcinoma, "
            "Cell 182:497 (2020), doi:10.1016/j.cell.2020.05.039"
        ),
        size="not known to us",
        access="open",
        files=(
            File("GSE144240_RAW.tar", "https://www.ncbi.nlm.nih.gov/geo/download/?acc=GSE144240&format=file", pin=None),
        ),
    ),
    "alex_10x": Dataset(
        title="Alex+10x: nine breast cancer sections, Visium",
        description=(
            "mclSTExp's third data set: six sections of Wu et al. from Alex Swarbrick's laboratory (1142243F, "
            "1160920F, CID4290, CID4465, CID44971, CID4535) and three that 10x Genomics publishes (block 1, block 2, "
            "FFPE)."
        ),
        format=(
            "Space Ranger output folders (count matrix, spatial/tissue_positions_list.csv, scale factors) with H&E "
            "images."
        ),
        licence="the authors' record on Zenodo states it; not known to us",
        citation=(
            "Wu et al., A single-cell and spatially resolved atlas of human breast cancers, Nature Genetics 53:1334 "
            "(2021), doi:10.1038/s41588-021-00911-1; 10x Genomics, Visium example data; as put together by Min et al. "
            "(mclSTExp), Briefings in Bioinformatics 25 (2024), doi:10.1093/bib/bbae551"
        ),
        size="not known to us",
        access=(
            "open to everyone, by hand, as we have no list of its files: (1) open "
            "https://zenodo.org/records/13117873, which holds the three data sets of mclSTExp together, or "
            "https://zenodo.org/records/4739739 for the six sections of Wu et al. alone; (2) download the archives "
            "and compare their MD5 with the one that Zenodo shows beside each file; (3) unpack them and read a "
            "section as a Space Ranger folder."
        ),
        files=(),
    ),
    "stnet": Dataset(
        title="STNet: breast cancer, 23 patients",
        description=(
            "68 spatial transcriptomics sections of the tumours of 23 patients, spots of 100 µm at a pitch of 200 µm. "
            "NH2ST uses it in 8 folds over the patients."
        ),
        format=(
            "One zip: for each section counts (TSV), spot coordinates (CSV), tumour annotation and an H&E image (JPEG)."
        ),
        licence="CC BY 4.0, as the data set is catalogued on Mendeley Data",
        citation=(
            "He et al., Integrating spatial gene expression and breast tumour morphology via deep learning, Nature "
            "Biomedical Engineering 4:827 (2020), doi:10.1038/s41551-020-0578-x; data doi:10.17632/29ntw7sh4r.5"
        ),
        size="about 0.8 GB",
        access="open",
        files=(File("29ntw7sh4r-5.zip", "https://data.mendeley.com/public-api/zip/29ntw7sh4r/download/5", pin=None),),
    ),
    "stimage_1k4m": Dataset(
        title="STimage-1K4M (PCW and Mouse)",
        description=(
            "1,149 slides of spatial transcriptomics with 4.3 million spots. NH2ST uses two parts of it: PCW (three "
            "age groups, in weeks after conception) and Mouse (4 folds over the slides); its authors publish the "
            "genes (see gene_lists) and no list of slides. The slide names and their tissues are in meta/ of the data "
            "set."
        ),
        format="Per technology (ST, Visium, VisiumHD): image/*.png, coord/*_coord.csv, gene_exp/*_count.csv.",
        licence="MIT on the hub's card; the studies gathered in it keep their own terms",
        citation=(
            "Chen et al., STimage-1K4M: a histopathology image-gene expression dataset for spatial transcriptomics "
            "(2024), arXiv:2406.06393, doi:10.48550/arXiv.2406.06393"
        ),
        size="hundreds of GB in all (the hub's card: 100 to 1,000 GB)",
        access=(
            "open to everyone, by hand, as we have no list of the slides that NH2ST used: (1) pip install "
            "huggingface_hub; (2) hf download jiawennnn/STimage-1K4M --repo-type dataset --include 'meta/*' "
            "--local-dir FOLDER; (3) choose slides there and repeat with --include 'ST/*/SLIDE*' (and a fixed "
            "--revision, noted with your results)."
        ),
        files=(),
    ),
    "hest_1k": Dataset(
        title="HEST-1k (INT, ZEN, Breast-ST, Lung-ST)",
        description=(
            "More than 1,200 spatial transcriptomics samples with whole-slide images. NH2ST uses the samples named "
            "INT* and ZEN40 to ZEN49; RankByGene takes Breast-ST1, Breast-ST2 and Lung-ST from it, without a list of "
            "slides."
        ),
        format=(
            "Per sample: st/*.h5ad (counts and spots), wsis/*.tif, patches/*.h5 (224 px around each spot), "
            "metadata/*.json."
        ),
        licence="CC BY-NC-SA 4.0: no commercial use",
        citation=(
            "Jaume et al., HEST-1k: a dataset for spatial transcriptomics and histology image analysis, NeurIPS 2024, "
            "arXiv:2406.16192, doi:10.48550/arXiv.2406.16192"
        ),
        size="about 2 TB in all; st and patches of a sample far less than its slide",
        access=(
            "gated by an agreement: (1) make an account on https://huggingface.co; (2) open "
            "https://huggingface.co/datasets/MahmoodLab/hest, read the terms and accept them; (3) pip install "
            "huggingface_hub and run: hf auth login; (4) hf download MahmoodLab/hest --repo-type dataset --include "
            "'*INT*' '*ZEN4*' --local-dir FOLDER. Its files are not listed here, as they stand behind the agreement; "
            "note the --revision that you used."
        ),
        files=(),
    ),
    # ------------------------------------------------------------------------------ slide-level tasks, as in RankByGene
    "tcga_brca": Dataset(
        title="TCGA-BRCA: breast cancer slides with survival",
        description=(
            "Diagnostic whole-slide images and clinical follow-up; RankByGene predicts survival from bags of patch "
            "features. Its slides can be replaced by published features of the same slides: patches of 256 px at 20x."
        ),
        format=(
            "Slides: SVS. Features: one TRIDENT .h5 per slide, of 1,536 (UNI2-h, Prov-GigaPath) or 2,560 (Virchow2) "
            "values per patch. Survival: the clinical tables (TSV or JSON)."
        ),
        licence="TCGA's open-access tier: free to use, with citation; the features add the terms of their cards",
        citation=(
            "The Cancer Genome Atlas Network, Comprehensive molecular portraits of human breast tumours, Nature "
            "490:61 (2012), doi:10.1038/nature11412"
        ),
        size="slides: 1,133, about 1 TB; features: far less",
        access=(
            "open to everyone, by hand: (1) survival: on https://portal.gdc.cancer.gov choose the project TCGA-BRCA "
            "and download Clinical; (2a) features: pip install huggingface_hub, then hf download "
            "sofieneb/uni2h_features (or sofieneb/gigapath_features, or sofieneb/virchow2_features once you have "
            "accepted its agreement) --repo-type dataset --local-dir FOLDER, restricted with --include to TCGA-BRCA; "
            "(2b) or the slides: in the same portal add the project's diagnostic slides to the cart, download the "
            "manifest and run: gdc-client download -m MANIFEST, which checks each file's MD5."
        ),
        files=(),
    ),
    "bcnb": Dataset(
        title="BCNB: early breast cancer core-needle biopsies",
        description=(
            "Core-needle biopsy slides of 1,058 patients with clinical data, among them lymph node metastasis, grade "
            "and receptor status; RankByGene classifies its slides."
        ),
        format="Whole-slide images, clinical table, annotated tumour regions.",
        licence="non-commercial use with citation, no redistribution of the data (terms on the data set's page)",
        citation=(
            "Xu et al., Predicting axillary lymph node metastasis in early breast cancer using deep learning on "
            "primary tumor biopsy slides, Frontiers in Oncology 11:759007 (2021), doi:10.3389/fonc.2021.759007"
        ),
        size="not known to us",
        access=(
            "on request: (1) open https://bupt-ai-cz.github.io/BCNB/; (2) read the terms, agree to them and fill in "
            "the form; (3) download from the links that it gives you. No files are listed here, as we hold none."
        ),
        files=(),
    ),
    "tcga_luad": Dataset(
        title="TCGA-LUAD: lung adenocarcinoma, survival and molecular profile",
        description=(
            "516 slides of 453 patients: survival in months, censorship, site, and 3,000 columns of RNA expression and "
            "copy number, as prepared for MCAT."
        ),
        format="A zip that holds one CSV.",
        licence="TCGA's open-access tier: free to use, with citation; MCAT's table: see its repository",
        citation=(
            "The Cancer Genome Atlas Research Network, Comprehensive molecular profiling of lung adenocarcinoma, "
            "Nature 511:543 (2014), doi:10.1038/nature13385; table: Chen et al., Multimodal co-attention transformer "
            "for survival prediction in gigapixel whole slide images, ICCV 2021"
        ),
        size="3.7 MB",
        access="open",
        files=_files(
            f"{_MCAT}/datasets_csv_sig/",
            "",
            """
            tcga_luad_all_clean.csv.zip 3674644 sha256:08a04cb3429f8bbe360906e3246973d478d179dc05a2e4e5ed161a24c4bc5e74
            """,
        ),
    ),
    # --------------------------------------------------------------------------------------------- small and everywhere
    "gene_lists": Dataset(
        title="The gene lists of the three papers",
        description=(
            "mclSTExp: 785 genes for HER2+, 171 for cSCC, 685 for Alex+10x. NH2ST: 250 each for STNet, Skin, PCW, "
            "Mouse, INT and ZEN. RankByGene: prognostic genes of the Human Protein Atlas, 447 for breast and 1,916 "
            "for lung."
        ),
        format=(
            "npy (some are object arrays, so pickles inside), a pickled pandas Index, and CSV whose first line is a "
            "gene, not a header. A pickle can run code: read them with a reader that builds nothing but strings."
        ),
        licence="mclSTExp: not known to us, see its repository; NH2ST: none stated by the authors; RankByGene: MIT",
        citation=(
            "mclSTExp: Min et al., Briefings in Bioinformatics 25 (2024), doi:10.1093/bib/bbae551; NH2ST: Qu et al., "
            "MICCAI 2025, arXiv:2506.23827; RankByGene: Huang et al. (2026), arXiv:2411.15076"
        ),
        size="96 kB",
        access="open",
        files=_files(
            f"{_MCLSTEXP}/data/",
            "mclstexp/",
            """
            1000hvg_common.pkl     5816 sha256:8b582e05966d6346a264d2cab1247cdba81ea8593fa1ba29edaaf92f92bd77c7
            her_hvg_cut_1000.npy  28388 sha256:c3492478d462c72796a2f9603302af8e0b34cb884cd55cbd864c193001c9402b
            skin_hvg_cut_1000.npy  2365 sha256:126e6bdc55966c2c0289e0727d4afdd1983ed3e985ca99b02f9bba3bc59765a9
            """,
        )
        + _files(
            f"{_NH2ST}/data/",
            "nh2st/",
            """
            genes_INT.npy   14128 sha256:5e7e7d4f622a3ade706988640013456c0ee6e9fe209c672c4b4043e106d8fe49
            genes_Mouse.npy  3362 sha256:6330bc225a9b9f5071d8458e5c34a7ba9c78c372242ea460c95d73576c4d99af
            genes_PCW.npy    3353 sha256:ba24d581b210694f90efcf1b1262290d5ed9fddec3ed838be50dcecca19d9226
            genes_ZEN.npy   17128 sha256:f6366cd93a182a8795f79a60bb9615b07dacf59ef16d364f1976dc55c4cd3b7e
            genes_skin.npy   3303 sha256:9b86d74b2dafa1772f1b31f2726b994f3a1836c9ae7144f0c27f32fbe8522f34
            genes_stnet.npy  3289 sha256:c0f5c20b7c8f692989f29f1e5915850ef0ebef98fd24ec87ca66389d38b6389b
            """,
        )
        + _files(
            f"{_RANKBYGENE}/data_preprocessing/genelist/",
            "rankbygene/",
            """
            breast_survival.csv  2806 sha256:d82b897fd734dcb74c329a3cfe79ec59e7543e66a81156a18e9c09f63096dd37
            lung_survival.csv   11944 sha256:98e3461aa8a3696f8b516a6a295baa9e7dd7d4e5bf5cd37a83c64f3c833ac4be
            """,
        ),
    ),
    "st_mouse_olfactory_bulb": Dataset(
        title="Mouse olfactory bulb, a small real ST section",
        description="282 spots and 10 genes, with its image, cut out of a section for the tests of xfuse.",
        format="TSV counts and spots, a JPEG image of 929 x 990 px, a PNG tissue mask.",
        licence="that of the xfuse repository (file LICENSE there); none is stated for the section itself",
        citation=(
            "Ståhl et al., Visualization and analysis of gene expression in tissue sections by spatial "
            "transcriptomics, Science 353:78 (2016), doi:10.1126/science.aaf2403; cut-out: Bergenstråhle et al., "
            "Super-resolved spatial transcriptomics by deep data fusion, Nature Biotechnology (2021), "
            "doi:10.1038/s41587-021-01075-3"
        ),
        size="0.2 MB",
        access="open",
        files=_files(
            f"{_XFUSE}/tests/data/files/st/",
            "",
            """
            counts.tsv  10114 sha256:de25c5995e09b1017073913b565864345c864c2b998d13ee980b94613b4c2e0e
            image.jpg  177888 sha256:48920b7829368175a22cf605aa291b8958df85038b53013000cacba221051eb0
            mask.png     2124 sha256:b64122d00b11aa14628ef2fd6ff022a346aaa9be385b6d4cf81b7a2b66adfff4
            spots.tsv    8461 sha256:9fb9e0545fe7477d04096fda43680af2a29e4cbb05190356e834b62d2078b95e
            """,
        ),
    ),
    "visium_1.0.0_fixture": Dataset(
        title="Space Ranger 1.0 output, reduced",
        description="A Visium output folder with few genes, from the tests of scanpy; library 'custom'.",
        format="The layout of Space Ranger 1.0: filtered_feature_bc_matrix.h5 and spatial/.",
        licence="BSD-3-Clause, as the scanpy repository; none is stated for the section itself",
        citation=(
            "Wolf et al., SCANPY: large-scale single-cell gene expression data analysis, Genome Biology 19:15 (2018), "
            "doi:10.1186/s13059-017-1382-0"
        ),
        size="0.8 MB",
        access="open",
        files=_files(
            f"{_SCANPY}/tests/_data/visium_data/1.0.0/",
            "",
            """
            filtered_feature_bc_matrix.h5 35962 sha256:9b6cb386df8327ea7aec1d3ea87c73bac766dbf9b03003d70154c024c61f855a
            """,
        )
        + _files(
            f"{_SCANPY}/tests/_data/visium_data/1.0.0/spatial/",
            "spatial/",
            """
            scalefactors_json.json       179 sha256:569586afb623a0aa90aaa7997894d954ea4242e5796e9fedfed4826f6be349dc
            tissue_hires_image.png     20014 sha256:2647a9d1ac01e4269b669cc183dd0b4d0ea5c69c2de97b6c02d19d53002cc01e
            tissue_lowres_image.png   518124 sha256:7069e504911a86c16aac826194fd28a3a0883d05e7ccb84b72781635c676891d
            tissue_positions_list.csv 186623 sha256:c0703fb655e1ba42b4ad355284311635de035b947820886f41e3c4c62873d5aa
            """,
        ),
    ),
    "visium_mouse_brain_crop": Dataset(
        title="Mouse brain, a crop of a Visium section",
        description="49 spots of V1_Adult_Mouse_Brain with their image, from the tests of squidpy.",
        format="h5ad and a JPEG image.",
        licence="BSD-3-Clause, as the squidpy repository; none is stated for the section itself",
        citation=(
            "Palla et al., Squidpy: a scalable framework for spatial omics analysis, Nature Methods 19:171 (2022), "
            "doi:10.1038/s41592-021-01358-2; section: 10x Genomics, Visium example data"
        ),
        size="0.8 MB",
        access="open",
        files=_files(
            f"{_SQUIDPY}/tests/_data/",
            "",
            """
            test_data.h5ad 602117 sha256:f0227d2639b803401afd65c432ac047c6f04710221dbdf7f3d70a18eff1a3766
            test_img.jpg   229870 sha256:b87670003e05039f8c924d53fe98f3606991c78ffc629a3ee8f56bc5dd134269
            """,
        ),
    ),
    "weights": Dataset(
        title="MobileNetV2 1.0/224, ImageNet weights laid out as timm's mobilenetv2_100",
        description=(
            "Dequantised from tf2_mobilenet_v2_1.0_224_ptq.tflite of google-coral/test_data @ "
            "104342d2d3480b3e66203073dac24f4e2dbb4c41: a pretrained encoder for machines without a network. Build it "
            "with timm.create_model('mobilenetv2_100', num_classes=0, pad_type='same') and leave out the keys that "
            "start with 'classifier.'; pixels as RGB in 0..1, mean 0.5, standard deviation 0.5; batch norms are "
            "folded and stay frozen."
        ),
        format="safetensors, 1,001 classes (0 is the background).",
        licence="Apache-2.0",
        citation=(
            "Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018, arXiv:1801.04381, "
            "doi:10.1109/CVPR.2018.00474"
        ),
        size="7.2 MB",
        access=(
            "a derived file without a public address: it is used where a mirror holds it. (1) Put it at "
            "weights/mobilenetv2_100_imagenet.safetensors in the folder that STLEARN_DATA_MIRROR names; (2) or do "
            "without: with a network, timm loads its own pretrained weights from the model hub."
        ),
        files=(
            File(
                "mobilenetv2_100_imagenet.safetensors",
                None,
                "sha256:bf08af17011c3c2a12aafd49491761f02cf10142111bc28448c08d9158c31003",
                7247092,
            ),
        ),
    ),
}

HER2ST_SECTIONS: tuple[str, ...] = tuple(
    f"{patient}{number}"
    for patient, sections in {"A": 6, "B": 6, "C": 6, "D": 6, "E": 3, "F": 3, "G": 3, "H": 3}.items()
    for number in range(1, sections + 1)
)
_REDUCED_IMAGES = {"A1": "app/www/imgs/A1_HE_image_dark.png"}


def describe(dataset: str) -> Dataset:
    """Give a data set's entry in the table.

    Args:
        dataset: A name in `DATASETS`.

    Returns:
        The entry.

    Raises:
        UnknownNameError: If the table has no such data set; it names those that come close.

    Example:
        >>> describe("tcga_luad").access
        'open'
    """
    if dataset not in DATASETS:
        raise UnknownNameError(f"There is no data set {dataset!r}. {_known(dataset, DATASETS)}")
    return DATASETS[dataset]


def fetch(dataset: str, files: str | Iterable[str] | None = None, *, progress: bool = True) -> dict[str, Path]:
    """Give the local paths of a data set's files: from the mirror, from the cache, or downloaded into the cache.

    Every file is verified against its pin, wherever it comes from. A download is written beside its final place and
    moved there once it is whole and right, so that no half file ever has the final name; one that was interrupted
    continues with the next call, and two processes that want the same file wait for one another.

    Args:
        dataset: A name in `DATASETS`.
        files: Names or glob patterns (``"ST-cnts/C*"``; ``*`` also crosses ``/``). All files if None.
        progress: Whether to show a bar for each download.

    Returns:
        The path of each file by its name, in the order asked for.

    Raises:
        UnknownNameError: If the table has no such data set or file.
        AccessError: If the files have to be requested, agreed to or downloaded by hand; it gives the steps.
        NetworkError: If the address could not be reached or the connection broke.
        HashError: If a file is not the one that the table pins.
        StorageError: If the cache cannot be written, or the mirror is no folder.

    Example:
        >>> try:
        ...     fetch("bcnb")
        ... except AccessError as error:
        ...     print(error)  # doctest: +ELLIPSIS
        bcnb cannot be fetched by a program alone; access: on request: (1) open https://bupt-ai-cz.github.io/BCNB/; ...
    """
    entry = describe(dataset)
    if not entry.files:
        raise AccessError(_steps(dataset))
    return {file.name: _fetch_file(dataset, file, progress) for file in _select(dataset, files)}


def fetch_sections(
    dataset: str = "her2st",
    sections: str | Iterable[str] = HER2ST_SECTIONS,
    *,
    roles: Iterable[str] = ("counts", "spots", "image", "labels"),
    progress: bool = True,
) -> dict[str, dict[str, Path]]:
    """Fetch all that belongs to each section: counts, spots, image, and labels where a pathologist gave them.

    A1's image is the reduced one (2,000 x 2,138 px, background masked), as it is the only image of a labelled section
    that we hold, have looked at, and know the SHA-256 of. A1's spot file counts in pixels of the full image: multiply
    by 2000/6954. The full image, pinned by git, is ``fetch("her2st", "ST-imgs/A/A1/*")``.

    Args:
        dataset: A data set that is laid out by sections; so far ``"her2st"``.
        sections: Names of sections. All of `HER2ST_SECTIONS` if not given.
        roles: What is wanted of each section; leave out ``"image"`` where the tables are enough.
        progress: Whether to show a bar for each download.

    Returns:
        For each section, the paths by role: ``"counts"``, ``"spots"``, ``"image"`` and, if there is one, ``"labels"``.

    Raises:
        UnknownNameError: If the data set has no sections, or not this one.
        DataError: Whatever `fetch` raises.

    Example:
        >>> try:
        ...     fetch_sections("her2st", ["C2", "J1"])
        ... except UnknownNameError as error:
        ...     print(error)
        her2st has no section 'J1'. Its sections are: A1, A2, A3, A4, A5, A6, B1, B2, ...
    """
    names = section_files(dataset, sections, roles=roles)
    paths = fetch(dataset, [name for by_role in names.values() for name in by_role.values()], progress=progress)
    return {section: {role: paths[name] for role, name in by_role.items()} for section, by_role in names.items()}


def section_files(
    dataset: str,
    sections: str | Iterable[str] = HER2ST_SECTIONS,
    *,
    roles: Iterable[str] = ("counts", "spots", "image", "labels"),
) -> dict[str, dict[str, str]]:
    """Name the files that belong to each section; nothing is fetched.

    Args:
        dataset: A data set that is laid out by sections; so far ``"her2st"``.
        sections: Names of sections. All of `HER2ST_SECTIONS` if not given.
        roles: What is wanted of each section.

    Returns:
        For each section, names in the data set's table by role.

    Raises:
        UnknownNameError: If the data set has no sections, or not this one.

    Example:
        >>> section_files("her2st", "C2", roles=["counts", "spots"])
        {'C2': {'counts': 'ST-cnts/C2.tsv.gz', 'spots': 'ST-spotfiles/C2_selection.tsv'}}
    """
    describe(dataset)
    if dataset != "her2st":
        raise UnknownNameError(f"{dataset} is not laid out by sections; her2st is. Use fetch({dataset!r}) instead.")
    wanted = set(roles)
    return {
        section: {role: name for role, name in _roles(section).items() if role in wanted}
        for section in ([sections] if isinstance(sections, str) else sections)
    }


def verify(dataset: str, files: str | Iterable[str] | None = None) -> dict[str, Status]:
    """Compare the local files, in the mirror or else in the cache, with their pins; nothing is downloaded or changed.

    Args:
        dataset: A name in `DATASETS`.
        files: Names or glob patterns, as for `fetch`. All files if None.

    Returns:
        The status of each file by its name; empty for a data set whose files are not listed.

    Raises:
        UnknownNameError: If the table has no such data set or file.
        StorageError: If the mirror is no folder.

    Example:
        >>> {status.state for status in verify("weights").values()} <= {"ok", "missing"}
        True
        >>> verify("bcnb")
        {}
    """
    return {file.name: _status(file, _local(dataset, file)) for file in _select(dataset, files)}


def _known(asked: str, names: Iterable[str]) -> str:
    """Name what comes close to `asked`, and the first names that there are."""
    table = {name.lower(): name for name in names}
    close = get_close_matches(asked.lower(), table, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(table[name]) for name in close)}? " if close else ""
    return f"{hint}Known are: {', '.join(list(table.values())[:5])}{', ...' if len(table) > 5 else ''}"


def _select(dataset: str, files: str | Iterable[str] | None) -> list[File]:
    table = {file.name: file for file in describe(dataset).files}
    if files is None:
        return list(table.values())
    chosen: dict[str, File] = {}
    for asked in [files] if isinstance(files, str) else files:
        names = [asked] if asked in table else [name for name in table if fnmatchcase(name, asked)]
        if not names:
            raise UnknownNameError(f"{dataset} has no file {asked!r}. {_known(asked, table)}")
        chosen.update((name, table[name]) for name in names)
    return list(chosen.values())


def _roles(section: str) -> dict[str, str]:
    if section not in HER2ST_SECTIONS:
        first = ", ".join(HER2ST_SECTIONS[:8])
        raise UnknownNameError(f"her2st has no section {section!r}. Its sections are: {first}, ...")
    names = [file.name for file in DATASETS["her2st"].files]
    image = next(name for name in names if name.startswith(f"ST-imgs/{section[0]}/{section}/"))
    roles = {
        "counts": f"ST-cnts/{section}.tsv.gz",
        "spots": f"ST-spotfiles/{section}_selection.tsv",
        "image": _REDUCED_IMAGES.get(section, image),
        "labels": f"ST-pat/lbl/{section}_labeled_coordinates.tsv",
    }
    return {role: name for role, name in roles.items() if name in names}


def _steps(dataset: str) -> str:
    return f"{dataset} cannot be fetched by a program alone; access: {DATASETS[dataset].access}"


def _cached(dataset: str, file: File) -> Path:
    root = os.environ.get("STLEARN_CACHE") or pooch.os_cache("stlearn-lib")
    return Path(root).expanduser() / "data" / dataset / file.name


def _local(dataset: str, file: File) -> Path:
    """Give the file's place in the mirror if it is there, else in the cache, whether or not it is there."""
    mirror = os.environ.get("STLEARN_DATA_MIRROR")
    if mirror:
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            raise StorageError(f"STLEARN_DATA_MIRROR names {folder}, which is no folder. Correct it, or unset it.")
        if (folder / dataset / file.name).is_file():
            return folder / dataset / file.name
    return _cached(dataset, file)


def _found(path: Path, kind: str) -> str:
    """Compute what would pin the file at `path`, as ``"kind:value"``."""
    size = path.stat().st_size
    if kind == "size":
        return f"size:{size}"
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if kind == "git" else hashlib.new(kind)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"{kind}:{digest.hexdigest()}"


def _status(file: File, path: Path) -> Status:
    if not path.is_file():
        return Status("missing", path, None)
    found = _found(path, (file.pin or "sha256:").partition(":")[0])
    return Status("unpinned" if file.pin is None else "ok" if found == file.pin else "corrupt", path, found)


def _fetch_file(dataset: str, file: File, progress: bool) -> Path:
    local, cached = _status(file, _local(dataset, file)), _cached(dataset, file)
    if local.state in ("ok", "unpinned"):
        return local.path
    if local.path != cached and local.state == "corrupt":
        raise HashError(
            f"{local.path} in the mirror is not the file that the registry pins: expected {file.pin}, "
            f"found {local.found}. Copy it there again from {file.url or 'where you had it'}, or remove it."
        )
    if file.url is None:
        raise AccessError(_steps(dataset))
    part = cached.with_name(cached.name + ".part")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with _locked(cached.parent):
            if _status(file, cached).state in ("missing", "corrupt"):  # else another process was faster
                _download(file, part, progress)
                part.replace(cached)
    except requests.RequestException as error:
        kept = f" The {part.stat().st_size} bytes that came are kept: call again to go on." if part.is_file() else ""
        raise NetworkError(
            f"{file.url} could not be downloaded: {error}.{kept} Without a network: put a copy of the file at "
            f"{dataset}/{file.name} in a folder of your choice and set STLEARN_DATA_MIRROR to that folder."
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"{cached} could not be written: {_reason(error, cached.parent)} Or set STLEARN_CACHE to another folder."
        ) from error
    if file.pin is None:
        found = _found(cached, "sha256")
        warnings.warn(f"No hash of {file.url} is known; {found} came. Note it with your results.", stacklevel=2)
    return cached


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: SQLite's, which the standard library has on every system and which a crash releases."""
    with closing(sqlite3.connect(folder / ".lock", timeout=_LOCK_TIMEOUT_S, isolation_level=None)) as lock:
        lock.execute("PRAGMA journal_mode = OFF")  # nothing is written
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _reason(error: Exception, folder: Path) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error):  # the latter are SQLite's words
        return f"the disk is full ({error}). Free some space and call again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or (folder.is_dir() and not os.access(folder, os.W_OK)):
        return f"the folder is read-only ({error}). Allow writing there."
    if "locked" in str(error):
        return f"another process has been downloading into the folder for {_LOCK_TIMEOUT_S // 60} minutes. Look for it."
    return f"{error}."


def _download(file: File, part: Path, progress: bool) -> None:
    """Complete `part`, from where an earlier attempt ended, until it is the file that the table pins."""
    while True:
        if part.is_file() and (file.pin is None or part.stat().st_size > (file.size_bytes or float("inf"))):
            part.unlink()  # without a pin nothing would tell whether the rest fits; and more than the whole is wrong
        resumed = part.is_file()
        try:
            if not (resumed and _status(file, part).state == "ok"):
                _transfer(file, part, progress)
        except requests.HTTPError as error:
            past_the_end = getattr(error.response, "status_code", None) == 416
            if not (resumed and past_the_end):
                raise
        status = _status(file, part)
        if status.state in ("ok", "unpinned"):
            return
        part.unlink(missing_ok=True)
        if not resumed:
            raise HashError(
                f"{file.url} gave another file than the registry pins: expected {file.pin}, found "
                f"{status.found or 'nothing'}. Nothing was kept. Try again; if it stays so, something on the way "
                "answers in its place (a proxy, a sign-in page) or the source has changed: get the file another way, "
                "put it in a folder laid out like the registry, and set STLEARN_DATA_MIRROR to that folder."
            )


def _transfer(file: File, part: Path, progress: bool) -> None:
    """Append to `part` what it lacks, or write it anew where the server does not continue files."""
    from tqdm import tqdm

    whole = 0
    bar = tqdm(total=file.size_bytes or 1, desc=file.name, unit="B", unit_scale=True, disable=not progress)
    try:
        with ExitStack() as answers, bar, part.open("ab") as out:
            have = out.tell()

            def begin(answer: requests.Response, *_: object, **__: object) -> None:
                nonlocal whole
                answers.callback(answer.close)
                if answer.status_code == 200 and have:
                    out.truncate(0)
                if answer.status_code in (200, 206):
                    whole = part.stat().st_size + int(answer.headers.get("Content-Length", 0))

            # A compressed answer would count its bytes differently, so that a part of it would not fit.
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
            download = pooch.HTTPDownloader(
                progressbar=bar, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S, headers=headers, hooks={"response": begin}
            )
            download(file.url, out, None)
        if part.stat().st_size < whole:
            raise requests.ConnectionError(f"the connection ended after {part.stat().st_size} of {whole} bytes")
    finally:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
