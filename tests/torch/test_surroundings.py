"""What is around a call: worker processes, threads, modules that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_and_numpy_do_without_torch():
    code = (
        "import sys, numpy as np, lastlayer as ll; ll.cross_entropy(np.zeros((2, 3)), [0, 1]); "
        "ll.softmax([0.0]); print('torch' in sys.modules)"
    )
    assert run(code) == "False"


def test_tensors_need_neither_array_api_compat_nor_ml_dtypes():
    code = (
        "import sys; sys.modules['array_api_compat'] = sys.modules['ml_dtypes'] = None\n"
        "import torch, lastlayer as ll\n"
        "x = torch.zeros(2, 4, dtype=torch.bfloat16, requires_grad=True); y = torch.tensor([0, 1])\n"
        "ll.cross_entropy(x, y, class_weight=torch.ones(4, dtype=torch.bfloat16)).backward()\n"
        "stats = ll.row_stats(x, torch.full((2, 4), 0.25, dtype=torch.bfloat16))\n"
        "print(ll.softmax(x).dtype, x.grad.dtype, stats.nll.tolist() == stats.entropy.tolist())"
    )
    assert run(code) == "torch.bfloat16 torch.bfloat16 True"


def test_without_the_compiled_core():
    code = (
        "import sys; sys.modules['lastlayer._core'] = None\n"
        "import torch, lastlayer as ll\n"
        "x = torch.zeros(2, 4, requires_grad=True)\n"
        "ll.cross_entropy(x, torch.tensor([0, 1])).backward(); print(ll.softmax(x)[0].tolist(), x.grad[0, 0])"
    )
    assert run(code) == "[0.25, 0.25, 0.25, 0.25] tensor(-0.3750)"


class Losses(torch.utils.data.Dataset):
    """Items that are computed in the worker."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        x = torch.arange(4096 * 4, dtype=torch.float32).view(4096, 4) % (i + 2)
        x.requires_grad_()
        loss = ll.cross_entropy(x, torch.zeros(4096, dtype=torch.int64))
        return torch.stack([loss.detach(), torch.autograd.grad(loss, x)[0].sum()])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_a_data_loader():
    data = Losses()
    expected = torch.stack([data[i] for i in range(8)])  # the core's threads run before the fork
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert torch.equal(torch.cat(list(loader)), expected)


FORK = """
import os, torch, lastlayer as ll
torch.set_num_threads(2)
x = torch.randn(512, 1000)
before = ll.softmax(x).numpy().tobytes()  # by PyTorch's workers, which the child has not
child = os.fork()
if child == 0:
    os._exit(0 if ll.softmax(x).numpy().tobytes() == before else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_workers_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=60)


@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_the_same_bits_for_every_number_of_threads(classes):
    x = torch.randn(200_000 // classes, classes, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    y = torch.arange(len(x)) % classes
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            loss = ll.cross_entropy(x, y)
            found.append((loss, torch.autograd.grad(loss, x)[0], ll.softmax(x)))
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_calls_from_several_threads():
    x = torch.randn(64, 500, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.arange(64)

    def gradient():
        return torch.autograd.grad(ll.cross_entropy(x, y), x)[0]

    expected, found = gradient(), []
    workers = [threading.Thread(target=lambda: found.extend(gradient() for _ in range(20))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 80
    assert all(torch.equal(g, expected) for g in found)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "function",
    [
        ll.softmax,
        ll.logsumexp,
        lambda x: ll.cross_entropy(x, torch.tensor([0, 3])),
        lambda x: ll.cross_entropy(x, torch.tensor([0, 3]), label_smoothing=0.1),
        lambda x: ll.linear_cross_entropy(x, torch.eye(4), torch.tensor([0, 3])),
        lambda x: ll.row_stats(x).entropy,
    ],
)
def test_a_trace_by_torch_jit_is_no_constant(function):
    first, second = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    traced = torch.jit.trace(function, (first,), check_trace=False)
    torch.testing.assert_close(traced(second), function(second))
