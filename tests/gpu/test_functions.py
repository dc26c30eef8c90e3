"""Every public function and option on a GPU, forward and backward, against float64 on the CPU."""

import pytest
from gpu_data import BACKWARD, DTYPES, FORWARD, Data, assert_close


@pytest.fixture(scope="module", params=DTYPES)
def pair(request):
    dtype = DTYPES[request.param]
    return Data(dtype), Data(dtype, wide=True), dtype


def more(name):
    """Products of matrices are rounded to 16 bits, and a softmax follows."""
    return 4 if "inear" in name else 1


@pytest.mark.parametrize("name", FORWARD)
def test_forward(name, pair):
    data, wide, dtype = pair
    assert_close(FORWARD[name](data), lambda: FORWARD[name](wide), dtype, factor=more(name))


@pytest.mark.parametrize("name", BACKWARD)
def test_backward(name, pair):
    data, wide, dtype = pair
    assert_close(BACKWARD[name](data), lambda: BACKWARD[name](wide), dtype, factor=more(name))
