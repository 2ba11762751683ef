"""Ctrl-C ends a command with one line; what was done is kept, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from runpy import run_path

import pandas as pd
import pytest

import data_registry
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.reproduction import tasks
from stlearn_lib.reproduction.store import Store
from stlearn_lib.slides.bags import write_bag
from stlearn_lib.slides.simulated import simulate_cohort

TESTS = Path(__file__).parents[1]
LINE = "stopped; what is done is kept, the same command goes on"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a signal of Unix")


def stop(arguments, begun, before="") -> None:
    """Run a command in a process of its own, and press Ctrl-C as soon as something has begun."""
    code = f"import sys\n{before}\nfrom stlearn_lib.cli import main\nmain()"
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background ignores
    )
    end = time.monotonic() + 120
    while not begun():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == LINE and "Traceback" not in said


def test_a_download_goes_on(run, tmp_path, monkeypatch):
    registry = run_path(str(TESTS / "test_data_registry.py"))
    server, content = registry["Server"](), registry["CONTENT"]
    thread = registry["threading"].Thread(target=server.serve_forever)
    thread.start()
    text = dict.fromkeys(("title", "description", "format", "licence", "citation", "size"), "toy")
    file = data_registry.File("file.bin", server.url(), registry["PIN"], len(content))
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))
    monkeypatch.setitem(data_registry.DATASETS, "toy", data_registry.Dataset(**text, access="open", files=(file,)))
    server.pause_after = len(content) // 2
    part = tmp_path / "data/toy/file.bin.part"
    toy = (
        f"import data_registry; from data_registry import Dataset, File; text = {text}; "
        f"data_registry.DATASETS['toy'] = Dataset(**text, access='open', files=({file!r},))"
    )
    stop(["data", "fetch", "toy"], lambda: part.is_file() and part.stat().st_size > 0, toy)
    came = part.stat().st_size
    server.pause_after = None
    server.go_on.set()
    assert run("data", "fetch", "toy").returncode == 0
    assert (tmp_path / "data/toy/file.bin").read_bytes() == content
    assert server.asked == [None, f"bytes={came}-"]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_training_goes_on(run, tmp_path):
    cohort = simulate_cohort(24, seed=2)
    for slide in cohort.table.index:
        write_bag(cohort.bag(slide), tmp_path / f"bags/{slide}.h5")
    cohort.table.astype({"event": int}).to_csv(tmp_path / "table.csv", index_label="slide")
    command = ["slides", "classify", tmp_path / "bags", tmp_path / "table.csv", "--folds", 2, "--epochs", 60]
    stopped = [*command, "--runs", tmp_path / "runs", "--output", tmp_path / "stopped.csv"]
    stop(stopped, lambda: len(list(tmp_path.glob("runs/**/last.ckpt"))))
    (history,) = tmp_path.glob("runs/**/history.csv")
    done = len(pd.read_csv(history))
    assert 1 <= done < 60 and not (tmp_path / "stopped.csv").exists()
    assert run(*stopped).returncode == 0
    assert run(*command, "--output", tmp_path / "undisturbed.csv").returncode == 0
    assert (tmp_path / "stopped.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
    assert len(pd.read_csv(history)) == 60


def test_a_reproduction_goes_on(run, tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    prepare = run_path(str(TESTS / "reproduction/conftest.py"))["prepare"]
    prepare(tmp_path / "prepared", "cscc", gene_names(), tmp_path / "scans")
    monkeypatch.setattr(tasks, "load_gene_list", lambda name, **_: gene_names())
    monkeypatch.setattr(tasks, "code_version", lambda *_: "the same")
    before = (
        "from stlearn_lib.data.synthetic import gene_names; from stlearn_lib.reproduction import tasks; "
        "tasks.load_gene_list = lambda name, **_: gene_names(); tasks.code_version = lambda *_: 'the same'"
    )
    where = ["--prepared", tmp_path / "prepared", "--results", tmp_path / "results"]
    command = ["reproduce", "run", "mclstexp/cscc", "--preset", "oracle", "--device", "cpu", *where]
    kept = lambda: list(tmp_path.glob("results/tasks/**/[!.]*.json"))  # noqa: E731
    stop(command, kept, before)
    done = len(kept())
    assert done >= 1 and not (tmp_path / "results/ledger.csv").exists()
    finished = run(*command)
    assert finished.returncode == 0 and f"{done} were there, 0 failed." in finished.out
    assert len(Store(tmp_path / "results").rows()) == len(kept()) > done
