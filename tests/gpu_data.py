"""Data and calls of the tests in gpu/. In: a dtype, a device. Out: inputs there, or wide ones on the CPU.

Importing it skips the importing module where there is no CUDA device. ``LASTLAYER_TEST_DEVICE=cpu`` runs the
tests that need no GPU on the CPU, to try the tests themselves: by PyTorch's operations, or with
``TRITON_INTERPRET=1`` by Triton's interpreter.
"""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")

import lastlayer as ll  # noqa: E402 - torch may be absent
import lastlayer.torch as lt  # noqa: E402
from lastlayer import selection  # noqa: E402

DEVICE = torch.device(os.environ.get("LASTLAYER_TEST_DEVICE", "cuda"))
if DEVICE.type == "cuda" and not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

needs_cuda = pytest.mark.skipif(DEVICE.type != "cuda", reason="it is of CUDA")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of the largest result; a 16-bit result is rounded.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}
N, V, D, K = 64, 37, 16, 4


class Data:
    """Inputs of a dtype on a device; with ``wide`` the same numbers in float64 on the CPU."""

    def __init__(self, dtype, device=DEVICE, wide=False):
        g = torch.Generator().manual_seed(0)

        def of(t):
            """Logits and what has their dtype."""
            return t.to(dtype).double() if wide else t.to(dtype).to(device)

        def put(t):
            """Everything else."""
            return t.double() if wide and t.is_floating_point() else t.to("cpu" if wide else device)

        def normal(*shape):
            return torch.randn(*shape, generator=g)

        def classes(high, *shape):
            return torch.randint(0, high, shape, generator=g)

        z, y = normal(N, V) * 5, classes(V, N)
        ignored = y.clone()
        ignored[::7] = -100
        q = torch.softmax(normal(N, V), 1)
        top = torch.topk(z, K)
        self.z, self.p, self.log_p = of(z), of(torch.softmax(z, 1)), of(torch.log_softmax(z, 1))
        self.y, self.y32, self.ignored, self.hot = (
            put(y),
            put(y.int()),
            put(ignored),
            put(torch.eye(V)[y].long()),
        )
        self.q, self.w, self.s = (
            put(q),
            put(torch.rand(V, generator=g) + 0.5),
            put(torch.rand(N, generator=g) + 0.5),
        )
        self.mask, self.row_mask = (
            put(torch.rand(N, V, generator=g) > 0.3),
            put(torch.rand(V, generator=g) > 0.3),
        )
        self.top = put(top.indices), put(torch.softmax(top.values, 1))
        self.rest = put(torch.full((N,), 0.25))
        self.x, self.weight, self.bias = of(normal(N, D)), of(normal(V, D)), of(normal(V))
        self.image, self.labels = of(normal(2, 5, 6, 7)), put(classes(5, 2, 6, 7))
        self.image_q = put(torch.softmax(normal(2, 5, 6, 7), 1))
        self.three, self.half = put(torch.tensor(3.0)), put(torch.tensor(0.5))
        self.wide, self.out = wide, torch.empty_like(self.z)


def leaf(t):
    return t.detach().requires_grad_()


def grads(function, *inputs):
    leaves = [leaf(t) for t in inputs]
    return torch.autograd.grad(function(*leaves), leaves)


def both(function, *inputs):
    leaves = [leaf(t) for t in inputs]
    value = function(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def statistics(d, *targets):
    names = ("lse", "entropy", "argmax", "confidence") + (("nll", "rank") if targets else ())
    found = ll.row_stats(d.z, *targets)
    return tuple(getattr(found, name) for name in names)


def in_place(function, d, **options):
    z = d.z.clone()
    found = function(z, out=z, **options)
    assert found is z
    return z


# Forward: every public function and option.
FORWARD = {
    "softmax": lambda d: ll.softmax(d.z),
    "softmax where": lambda d: ll.softmax(d.z, where=d.mask),
    "softmax where, of classes": lambda d: ll.softmax(d.z, where=d.row_mask),
    "softmax axis 0": lambda d: ll.softmax(d.z, 0),
    "softmax temperature": lambda d: ll.softmax(d.z, temperature=2.0),
    "softmax temperature, a tensor": lambda d: ll.softmax(d.z, temperature=d.half),
    "softmax out": lambda d: ll.softmax(d.z, out=torch.empty_like(d.z)),
    "softmax in place": lambda d: in_place(ll.softmax, d),
    "softmax in place, axis 0": lambda d: in_place(ll.softmax, d, axis=0),
    "softmax all axes": lambda d: ll.softmax(d.z, None),
    "softmax two axes": lambda d: ll.softmax(d.image, (1, 3)),
    "log_softmax": lambda d: ll.log_softmax(d.z),
    "log_softmax where": lambda d: ll.log_softmax(d.z, where=d.mask),
    "log_softmax temperature": lambda d: ll.log_softmax(d.z, temperature=0.5),
    "log_softmax in place": lambda d: in_place(ll.log_softmax, d),
    "logsumexp": lambda d: ll.logsumexp(d.z),
    "logsumexp where": lambda d: ll.logsumexp(d.z, where=d.mask, keepdims=True),
    "logsumexp axis 1": lambda d: ll.logsumexp(d.image, 1),
    "loss": lambda d: ll.cross_entropy(d.z, d.y),
    "loss int32": lambda d: ll.cross_entropy(d.z, d.y32),
    "loss ignore": lambda d: ll.cross_entropy(d.z, d.ignored),
    "loss none": lambda d: ll.cross_entropy(d.z, d.ignored, reduction="none"),
    "loss sum": lambda d: ll.cross_entropy(d.z, d.y, reduction="sum"),
    "loss dense": lambda d: ll.cross_entropy(d.z, d.q),
    "loss dense none": lambda d: ll.cross_entropy(d.z, d.q, reduction="none"),
    "loss one-hot": lambda d: ll.cross_entropy(d.z, d.hot),
    "loss top-k": lambda d: ll.cross_entropy(d.z, d.top),
    "loss top-k rest": lambda d: ll.cross_entropy(d.z, (*d.top, d.rest), label_smoothing=0.1),
    "loss class weights": lambda d: ll.cross_entropy(d.z, d.ignored, class_weight=d.w),
    "loss sample weights": lambda d: ll.cross_entropy(d.z, d.ignored, sample_weight=d.s),
    "loss all weights, smoothing": lambda d: ll.cross_entropy(
        d.z, d.ignored, class_weight=d.w, sample_weight=d.s, label_smoothing=0.1
    ),
    "loss softcap": lambda d: ll.cross_entropy(d.z, d.y, softcap=10.0),
    "loss softcap, a tensor": lambda d: ll.cross_entropy(d.z, d.y, softcap=d.three),
    "loss temperature": lambda d: ll.cross_entropy(d.z, d.y, temperature=2.0),
    "loss z_loss": lambda d: ll.cross_entropy(d.z, d.y, z_loss=1e-3, reduction="none"),
    "loss every option": lambda d: ll.cross_entropy(
        d.z, d.ignored, softcap=10.0, temperature=2.0, z_loss=1e-3, label_smoothing=0.1, class_weight=d.w
    ),
    "loss dense, every option": lambda d: ll.cross_entropy(
        d.z, d.q, softcap=10.0, temperature=2.0, z_loss=1e-3, label_smoothing=0.1, sample_weight=d.s
    ),
    "loss denominator": lambda d: ll.cross_entropy(d.z, d.y, denominator=7.0),
    "loss denominator, a tensor": lambda d: ll.cross_entropy(d.z, d.y, denominator=d.three),
    "loss images": lambda d: ll.cross_entropy(d.image, d.labels, axis=1),
    "loss images, dense": lambda d: ll.cross_entropy(d.image, d.image_q, axis=1),
    "gradient": lambda d: ll.cross_entropy_grad(d.z, d.ignored),
    "gradient none": lambda d: ll.cross_entropy_grad(d.z, d.ignored, reduction="none"),
    "gradient every option": lambda d: ll.cross_entropy_grad(
        d.z, d.ignored, softcap=10.0, temperature=2.0, z_loss=1e-3, label_smoothing=0.1, class_weight=d.w
    ),
    "gradient dense": lambda d: ll.cross_entropy_grad(d.z, d.q),
    "gradient top-k": lambda d: ll.cross_entropy_grad(d.z, d.top),
    "gradient images": lambda d: ll.cross_entropy_grad(d.image, d.labels, axis=1),
    "row_stats": lambda d: statistics(d, d.y),
    "row_stats without targets": lambda d: statistics(d),
    "predict": lambda d: ll.predict(d.z),
    "top_k": lambda d: ll.top_k(d.z, 5),
    "log_loss": lambda d: ll.log_loss(d.p, d.y),
    "nll_loss": lambda d: ll.nll_loss(d.log_p, d.y),
    "linear loss": lambda d: ll.linear_cross_entropy(d.x, d.weight, d.ignored, bias=d.bias),
    "linear loss, options": lambda d: ll.linear_cross_entropy(
        d.x, d.weight, d.ignored, softcap=10.0, label_smoothing=0.1, class_weight=d.w, z_loss=1e-3, shift=1
    ),
    "linear loss, statistics": lambda d: ll.linear_cross_entropy(d.x, d.weight, d.ignored, return_stats=True)[
        0
    ],
    "linear loss, memory": lambda d: ll.linear_cross_entropy(d.x, d.weight, d.ignored, max_memory=1e6),
    "linear gradients": lambda d: (lambda loss, parts: (loss, *(t for t in parts if t is not None)))(
        *ll.linear_cross_entropy_grad(d.x, d.weight, d.ignored, bias=d.bias)
    ),
    "linear row_stats": lambda d: ll.linear_row_stats(d.x, d.weight, d.ignored).nll,
    "linear top_k": lambda d: ll.linear_top_k(d.x, d.weight, 5)[1],
    "drop-in softmax": lambda d: lt.softmax(d.image, 1),
    "drop-in log_softmax": lambda d: lt.log_softmax(d.image, 1),
    "drop-in logsumexp": lambda d: lt.logsumexp(d.image, 1),
    "drop-in loss": lambda d: lt.cross_entropy(d.image, d.labels),
    "drop-in nll_loss": lambda d: lt.nll_loss(d.log_p, d.y),
    "drop-in linear loss": lambda d: lt.linear_cross_entropy(d.x, d.weight, d.ignored),
    "CrossEntropyLoss": lambda d: lt.CrossEntropyLoss(label_smoothing=0.1, weight=d.w)(d.z, d.ignored),
}

# Forward and backward, and derivatives beyond.
BACKWARD = {
    "softmax": lambda d: grads(lambda z: (ll.softmax(z).to(d.q.dtype) * d.q).sum(), d.z),
    "softmax where": lambda d: grads(lambda z: (ll.softmax(z, where=d.mask).to(d.q.dtype) * d.q).sum(), d.z),
    "softmax axis 0": lambda d: grads(lambda z: (ll.softmax(z, 0).to(d.q.dtype) * d.q).sum(), d.z),
    "log_softmax": lambda d: grads(lambda z: (ll.log_softmax(z).to(d.q.dtype) * d.q).sum(), d.z),
    "logsumexp": lambda d: grads(lambda z: (ll.logsumexp(z) * d.s).sum(), d.z),
    "loss": lambda d: both(lambda z: ll.cross_entropy(z, d.ignored), d.z),
    "loss sum": lambda d: both(lambda z: ll.cross_entropy(z, d.ignored, reduction="sum"), d.z),
    "loss scaled": lambda d: both(lambda z: 3 * ll.cross_entropy(z, d.y), d.z),
    "loss none": lambda d: both(
        lambda z: (ll.cross_entropy(z, d.ignored, reduction="none") * d.s).sum(), d.z
    ),
    "loss smoothing": lambda d: both(lambda z: ll.cross_entropy(z, d.ignored, label_smoothing=0.1), d.z),
    "loss every option": lambda d: both(
        lambda z: ll.cross_entropy(
            z, d.ignored, softcap=10.0, temperature=2.0, z_loss=1e-3, label_smoothing=0.1, class_weight=d.w
        ),
        d.z,
    ),
    "loss dense": lambda d: both(lambda z: ll.cross_entropy(z, d.q), d.z),
    "loss dense, of targets too": lambda d: grads(lambda z, q: ll.cross_entropy(z, q), d.z, d.q),
    "loss top-k": lambda d: both(lambda z: ll.cross_entropy(z, (*d.top, d.rest)), d.z),
    "loss images": lambda d: both(lambda z: ll.cross_entropy(z, d.labels, axis=1), d.image),
    "loss sample weights": lambda d: both(
        lambda z: ll.cross_entropy(z, d.y, sample_weight=d.s, reduction="sum"), d.z
    ),
    "entropy": lambda d: grads(lambda z: ll.row_stats(z).entropy.sum(), d.z),
    "nll of row_stats": lambda d: grads(lambda z: (ll.row_stats(z, d.y).nll * d.s).sum(), d.z),
    "linear loss": lambda d: both(
        lambda x, w, b: ll.linear_cross_entropy(x, w, d.ignored, bias=b), d.x, d.weight, d.bias
    ),
    "drop-in loss": lambda d: both(lambda z: lt.cross_entropy(z, d.labels, label_smoothing=0.1), d.image),
    "LinearHead": lambda d: head(d),
}


def head(d):
    found = lt.LinearHead(D, V, device=d.x.device, dtype=d.x.dtype)
    with torch.no_grad():
        found.weight.copy_(d.weight)
        found.bias.copy_(d.bias)
    x = leaf(d.x)
    loss = lt.cross_entropy(found(x), d.y)
    return torch.autograd.grad(loss, [x, *found.parameters()])


def flat(found):
    """The tensors of a result."""
    if isinstance(found, (tuple, list)):
        return [t for part in found for t in flat(part)]
    return [found]


def assert_close(found, truth, dtype, device=DEVICE, factor=1.0):
    """Raise unless all results are on the device, near the truth, and NaN or infinite only where it is.

    ``truth`` computes it, by the backend of the CPU.
    """
    with selection.use(None):
        found, truth = flat(found), flat(truth())
    if len(found) != len(truth):
        raise AssertionError(f"{len(found)} results, not {len(truth)}")
    for i, (got, right) in enumerate(zip(found, truth, strict=True)):
        if got.device.type != device.type or got.shape != right.shape:
            raise AssertionError(
                f"result {i} is {tuple(got.shape)} on {got.device}, not {tuple(right.shape)}"
            )
        a, b = got.detach().cpu().double(), right.detach().cpu().double()
        finite = b.isfinite()
        if not torch.equal(a.isfinite(), finite) or not torch.equal(
            a[~finite].nan_to_num(), b[~finite].nan_to_num()
        ):
            raise AssertionError(f"result {i} is finite elsewhere than the truth")
        error = float((a - b)[finite].abs().max()) if finite.any() else 0.0
        most = factor * TOLERANCE[dtype] * (float(b[finite].abs().max()) + 1e-30 if finite.any() else 1.0)
        if not error <= most:
            raise AssertionError(f"result {i} is off by {error:.3g}; expected at most {most:.3g}")
