"""Gathered embeddings in two processes, which this file starts as a script: ``python test_gather.py FOLDER``."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from stlearn_lib.losses import clip_loss, gather_embeddings, weighted_info_nce

N = 6  # spots, half of them in each process


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, x, y):
        return gather_embeddings(self.a(x)), gather_embeddings(self.b(y))


def spots():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, 4, generator=generator), torch.randn(N, 5, generator=generator)


LOSSES = {
    "clip": clip_loss,
    "weighted": weighted_info_nce,
    "weighted, both ways": partial(weighted_info_nce, symmetric=True),
    "rows": lambda a, b: (a * torch.arange(N)[:, None]).sum() - b.square().mean(),
    "transposed": lambda a, b: (a.T @ b).sum(),  # whose gradient does not lie in memory row by row
    "sum": lambda a, b: (a + b).sum(),  # whose gradients are a single number in memory
}


def gradients(model, towers, loss, rows):
    model.zero_grad()
    loss(*model(*(values[rows] for values in spots()))).backward()
    return {name: parameter.grad.clone() for name, parameter in towers.named_parameters()}


def main(folder):
    rank = 0 if os.fork() else 1  # after the imports, which take longer than everything else
    distributed.init_process_group("gloo", init_method=(folder / "meeting").as_uri(), rank=rank, world_size=2)
    towers, rows = Towers(), slice(rank * N // 2, (rank + 1) * N // 2)
    model = DistributedDataParallel(towers)
    result = {name: gradients(model, towers, loss, rows) for name, loss in LOSSES.items()}
    ranks = torch.full((2, 3), rank, dtype=torch.float64)
    result["order"] = gather_embeddings(ranks)[:, 0]
    result["strided"] = gather_embeddings(torch.arange(6.0).reshape(3, 2).T + 10 * rank)
    torch.save(result, folder / f"{rank}.pt")
    distributed.destroy_process_group()
    if rank == 0:
        sys.exit(os.wait()[1] != 0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of the two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    if not hasattr(os, "fork"):
        pytest.skip("needs a system that forks processes")
    # A process with threads of its own must not fork.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = os.environ | single | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "error", __file__, folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_whole_batch(results, name):
    towers = Towers()
    expected = gradients(towers, towers, LOSSES[name], slice(None))
    for result in results:
        torch.testing.assert_close(result[name], expected, rtol=1e-5, atol=1e-6)


def test_embeddings_stand_in_the_order_of_the_processes(results):
    first, second = torch.arange(6.0).reshape(3, 2).T, 10 + torch.arange(6.0).reshape(3, 2).T
    for result in results:
        assert result["order"].tolist() == [0, 0, 1, 1]
        assert torch.equal(result["strided"], torch.cat([first, second]))


def test_in_one_process_nothing_is_gathered():
    embeddings = torch.ones(2, 3, requires_grad=True)
    assert gather_embeddings(embeddings) is embeddings


if __name__ == "__main__":
    main(Path(sys.argv[1]))
