"""What is killed by `kills.py`, and done twice at once by `together.py`: five works that leave files in a folder."""

import hashlib
import os
import re
import signal
import sys
import time
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np

from stlearn_lib.errors import TrainingError

TESTS = Path(__file__).parents[1]
REFUSED = 3


class Work(ABC):
    """Something that takes a moment and leaves files in a folder."""

    @abstractmethod
    def __init__(self, scratch: Path) -> None:
        """Make what it works on, and slow down what would be over too soon to be hit."""

    @abstractmethod
    def run(self, folder: Path) -> None:
        """Do it, or go on with it."""

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Raise if a file with a final name is not whole."""

    @abstractmethod
    def result(self, folder: Path) -> Any:
        """Return what it ends with, to be compared."""

    def end(self) -> None:  # noqa: B027
        """Stop what was started for it."""


class Download(Work):
    """A file of the registry, from a slow server."""

    CONTENT = bytes(range(256)) * 4000

    def __init__(self, scratch: Path) -> None:
        import data_registry

        server = HTTPServer(("127.0.0.1", 0), _Slow)
        self.server = os.fork()
        if not self.server:
            server.serve_forever()
        url, pin = f"http://127.0.0.1:{server.server_port}/", f"sha256:{hashlib.sha256(self.CONTENT).hexdigest()}"
        server.server_close()
        text = dict.fromkeys(("title", "description", "format", "licence", "citation", "size"), "toy")
        files = (data_registry.File("file.bin", url, pin),)
        data_registry.DATASETS["toy"] = data_registry.Dataset(**text, access="open", files=files)
        os.environ.pop("STLEARN_DATA_MIRROR", None)
        self.fetch = data_registry.fetch

    def run(self, folder: Path) -> None:
        os.environ["STLEARN_CACHE"] = str(folder)
        self.fetch("toy", progress=False)

    def check(self, folder: Path) -> None:
        for path in folder.rglob("*.bin"):
            assert path.read_bytes() == self.CONTENT, path
        for path in folder.rglob("*.part"):
            assert self.CONTENT.startswith(path.read_bytes()), path

    def result(self, folder: Path) -> Any:
        return [path.read_bytes() for path in folder.rglob("*.bin")]

    def end(self) -> None:
        os.kill(self.server, signal.SIGKILL)


class _Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        start = int(re.findall(r"\d+", self.headers.get("Range", "0"))[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(Download.CONTENT) - start))
        self.end_headers()
        try:
            for at in range(start, len(Download.CONTENT), 16384):
                self.wfile.write(Download.CONTENT[at : at + 16384])
                time.sleep(0.002)
        except ConnectionError:  # the client was killed
            pass

    def log_message(self, *_: object) -> None:
        pass


class Patches(Work):
    """The patches of a simulated section."""

    def __init__(self, scratch: Path) -> None:
        from stlearn_lib.data import patches
        from stlearn_lib.data.synthetic import simulate_section

        self.cut, self.open = patches.cut_patches, patches.open_section_image
        self.section = simulate_section("S1", scratch)
        patches.open_section_image = self.open_slowly

    def run(self, folder: Path) -> None:
        os.environ["STLEARN_CACHE"] = str(folder)
        self.cut(self.section, 100)

    def open_slowly(self, section: Any) -> SimpleNamespace:
        image = self.open(section)

        def window(*where: int) -> np.ndarray:
            time.sleep(0.001)
            return image.window(*where)

        return SimpleNamespace(window=window)

    def check(self, folder: Path) -> None:
        for path in folder.rglob("[!.]*.npy"):
            assert np.load(path)[-1].any(), path

    def result(self, folder: Path) -> Any:
        return [path.read_bytes() for path in folder.rglob("[!.]*.npy")]


class Features(Work):
    """Features of patches, kept."""

    def __init__(self, scratch: Path) -> None:
        from stlearn_lib.models.encoders import create_encoder, extract_features

        self.patches = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
        self.encoder, self.extract = create_encoder("resnet10t", weights=None), extract_features
        np.save = self.save_slowly

    def run(self, folder: Path) -> None:
        self.extract(self.patches, self.encoder, cache=folder, progress=False)

    @staticmethod
    def save_slowly(path: Path, array: np.ndarray) -> None:
        with path.open("wb", buffering=0) as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            for row in array:
                file.write(row.tobytes())
                time.sleep(0.001)

    def check(self, folder: Path) -> None:
        for path in folder.glob("[!.]*"):
            assert np.load(path).shape == (64, 512), path

    def result(self, folder: Path) -> Any:
        return [path.read_bytes() for path in folder.glob("[!.]*")]


class Training(Work):
    """The small model of the tests of training, with everything that has a state or is random."""

    def __init__(self, scratch: Path) -> None:
        import torch

        self.small, self.load = run_path(str(TESTS / "training/killed.py")), torch.load

    def run(self, folder: Path) -> None:
        self.small["train"](folder, None)

    def check(self, folder: Path) -> None:
        for name in ("last.ckpt", "best.ckpt"):
            if (folder / name).exists():
                self.load(folder / name, weights_only=True)
        if (folder / "history.csv").exists():
            assert (folder / "history.csv").read_bytes().endswith(b"\n")

    def result(self, folder: Path) -> Any:
        result = self.load(folder.with_suffix(".pt"), weights_only=True)
        history = {name: values for name, values in result["history"].items() if name != "seconds"}
        return history, {name: tensor.numpy().tobytes() for name, tensor in result["weights"].items()}


class Reproduction(Work):
    """The command ``reproduce run``: four tasks and their ledger."""

    COMMAND = ("reproduce", "run", "mclstexp/cscc", "--preset", "oracle", "--folds", "P2_ST_rep1,P5_ST_rep1")

    def __init__(self, scratch: Path) -> None:
        from stlearn_lib.cli import app
        from stlearn_lib.data.synthetic import gene_names
        from stlearn_lib.reproduction import tasks
        from stlearn_lib.reproduction.prepared import load_prepared, patients_of
        from stlearn_lib.reproduction.store import read_result

        conftest = run_path(str(TESTS / "reproduction/conftest.py"))
        self.prepared, self.read = scratch / "prepared", read_result
        (scratch / "scans").mkdir()
        conftest["prepare"](self.prepared, "cscc", gene_names(), scratch / "scans")
        tasks.load_gene_list = lambda name, **_: gene_names()
        tasks.code_version = lambda *_: "the same"
        load_prepared("cscc", list(patients_of("cscc", self.prepared)), self.prepared)  # once for all
        self.app = app

    def run(self, folder: Path) -> None:
        folders = ["--prepared", str(self.prepared), "--results", str(folder)]
        self.app([*self.COMMAND, "--seeds", "0,1", *folders], standalone_mode=False)

    def check(self, folder: Path) -> None:
        import pandas as pd

        for path in folder.rglob("[!.]*.json"):
            assert self.read(path)["key"] in path.name
        for path in folder.glob("[!.]*.parquet"):
            assert len(pd.read_parquet(path))

    def result(self, folder: Path) -> Any:
        import pandas as pd

        of_a_run = ["fit_s", "predict_s", "duration_s", "peak_memory_gb", "date"]
        ledger, genes = (pd.read_parquet(folder / name) for name in ("ledger.parquet", "genes.parquet"))
        return ledger.drop(columns=of_a_run).to_csv(), genes.to_csv(), len(list(folder.rglob("[!.]*.json")))


WORKS = {work.__name__.lower(): work for work in (Download, Patches, Features, Training, Reproduction)}


def start(work: Work, folder: Path) -> int:
    """Do the work in a process of its own, which has all that is imported by now."""
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            work.run(folder)
        except TrainingError as error:
            sys.stderr.write(f"{error}\n")
            os._exit(REFUSED)
        os._exit(0)
    return process


def ended(process: int) -> int:
    """Wait for a process to end; return its exit code, or the signal that killed it, negative."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code not in (0, REFUSED, -signal.SIGKILL):
        sys.exit(f"a process failed: {code}")
    return code
