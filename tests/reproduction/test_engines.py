"""One task after the other or on a Ray cluster: the same numbers, and whoever dies is replaced."""

import os
import signal
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest

from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.errors import ReproductionError, StlearnError
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.reproduction import engines
from stlearn_lib.reproduction.catalogue import EXPERIMENTS
from stlearn_lib.reproduction.engines import Outcome, run_here, run_on_ray
from stlearn_lib.reproduction.tasks import plan

OF_A_RUN = {"fit_s", "predict_s", "duration_s", "peak_memory_gb", "date"}
NAMES = ["C2", "C3", "C4", "C5", "C6"]
"""In the place of tasks where none is computed: a worker that knows no task starts in an instant."""


def test_without_tasks_no_cluster_is_started(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("started"))
    assert list(run_on_ray([])) == []


def test_a_cluster_of_its_own_is_started_and_stopped(monkeypatch):
    """Without an address it is this machine's alone, whatever the environment names."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    asked = {}
    monkeypatch.setattr(
        ray, "init", lambda **options: asked.update(options) or (_ for _ in ()).throw(ConnectionError("no"))
    )
    with pytest.raises(ReproductionError, match="no Ray cluster at None: no"):
        list(run_on_ray(NAMES[:1]))
    assert asked["address"] == "local"


def test_a_cluster_that_was_started_is_stopped(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(engines, "_attempt", lambda task: task)
    assert sorted(run_on_ray(NAMES)) == NAMES
    assert not ray.is_initialized()


def test_without_ray_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ReproductionError, match=r"pip install 'stlearn-lib\[ray\]'"):
        list(run_on_ray(NAMES[:1]))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster with room for two tasks."""
    ray = pytest.importorskip("ray")
    own = {"STLEARN_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}
    quiet = {"log_to_driver": False, "include_dashboard": False, "configure_logging": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, runtime_env={"env_vars": own}, **quiet)
    yield ray
    ray.shutdown()


def without_times(result):
    rows = [{name: value for name, value in row.items() if name not in OF_A_RUN} for row in result.rows]
    return asdict(result) | {"rows": rows}


def test_ray_computes_what_is_computed_here(cluster, small, simulated_genes, short_preset, monkeypatch):
    options = {"prepared": str(small), "device": "cpu", "seeds": [1]}
    tasks = plan(EXPERIMENTS["nh2st/skin"], folds=["P2", "P5"], preset="ridge-colour", **options)
    tasks += plan(EXPERIMENTS["mclstexp/cscc"], folds=["P2_ST_rep1"], preset="mclstexp_cscc_cpu", **options)
    own = engines._attempt

    def attempt(task):
        """What is changed in this process has to be changed in a worker, too."""
        from stlearn_lib.methods.registry import METHODS
        from stlearn_lib.reproduction import tasks

        METHODS["mclstexp_cscc_cpu"] = preset.create
        tasks.load_gene_list = lambda name, **_: gene_names()
        return own(task)

    short_preset("mclstexp_cscc_cpu", features=("colour_texture",))
    preset = PRESETS["mclstexp_cscc_cpu"]
    here = list(run_here(tasks))
    monkeypatch.setattr(engines, "_attempt", attempt)
    there = {outcome.task: outcome for outcome in run_on_ray(tasks, cpus=2)}
    assert [outcome.error for outcome in [*here, *there.values()]] == [""] * 6
    *linear, network = ((outcome.result, there[outcome.task].result) for outcome in here)
    for one, other in linear:
        assert without_times(one) == without_times(other)
    one, other = network
    assert one.identity == other.identity and one.genes.keys() == other.genes.keys()
    for test, found in one.genes.items():  # sums of a network's arithmetic depend on how memory happens to lie
        r, theirs = (np.array(values, dtype=float) for values in (found["r"], other.genes[test]["r"]))
        np.testing.assert_allclose(r, theirs, rtol=0, atol=1e-4)


def test_a_task_that_fails_is_an_outcome_and_a_mistake_is_raised(cluster, monkeypatch):
    own = engines._attempt

    def typed(task):
        def run(task):
            raise StlearnError(f"{task} cannot be had")

        return own(task, run)

    monkeypatch.setattr(engines, "_attempt", typed)
    for run in (run_here, run_on_ray):
        (outcome,) = run(NAMES[:1])
        assert outcome == Outcome("C2", None, "C2 cannot be had")

    def mistaken(task):
        return own(task, lambda task: 1 / 0)

    monkeypatch.setattr(engines, "_attempt", mistaken)
    for run in (run_here, run_on_ray):
        with pytest.raises(ZeroDivisionError):
            list(run(NAMES[:1]))


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(cluster, monkeypatch, tmp_path):
    def attempt(task):
        """Leave a mark for each start; the first to begin C4 waits to be killed."""
        (tmp_path / f"{task}-{os.getpid()}-{time.time_ns()}").touch()
        if task == "C4" and len(list(tmp_path.glob("C4-*"))) == 1:
            time.sleep(60)
        return task

    monkeypatch.setattr(engines, "_attempt", attempt)
    outcomes = []
    for outcome in run_on_ray(NAMES):
        outcomes.append(outcome)
        if len(outcomes) == len(NAMES) - 1:
            _kill_first(tmp_path)
    assert sorted(outcomes) == NAMES and outcomes[-1] == "C4"
    starts = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert sorted(starts) == ["C2", "C3", "C4", "C4", "C5", "C6"]


def _kill_first(folder):
    """Kill the worker that began C4 first, as a machine that is switched off would."""
    deadline = time.monotonic() + 60
    while not (marks := sorted(folder.glob("C4-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(int(marks[0].name.split("-")[1]), signal.SIGKILL)


def test_a_task_that_kills_every_worker_fails_alone(cluster, monkeypatch):
    def attempt(task):
        if task == "C4":
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    monkeypatch.setattr(engines, "_attempt", attempt)
    outcomes = list(run_on_ray(NAMES, retries=1))
    (dead,) = (one for one in outcomes if isinstance(one, Outcome))
    assert sorted([*(one for one in outcomes if one is not dead), dead.task]) == NAMES
    assert dead.task == "C4" and dead.result is None and dead.error.startswith("its worker died 2 times: ")


@pytest.mark.parametrize(
    ("demands", "message"),
    [
        ({"cpus": 3}, "a task takes 3 cores and 0 GPUs, but no machine of the cluster has more than 2 and 0"),
        ({"gpus": 0.25}, r"a task takes 1 cores and 0\.25 GPUs, but no machine"),
        ({"gpus": 1.5}, "more than one GPU are whole"),
        ({"cpus": -1}, "shares are 0 or more"),
        ({"cpus": float("nan")}, "shares are 0 or more"),
    ],
)
def test_demands_that_cannot_be_met(cluster, demands, message):
    with pytest.raises(ReproductionError, match=message):
        list(run_on_ray(NAMES, **demands))


def test_a_task_may_take_half_a_core(cluster, monkeypatch):
    monkeypatch.setattr(engines, "_attempt", lambda task: task)
    assert sorted(run_on_ray(NAMES, cpus=0.5)) == NAMES
