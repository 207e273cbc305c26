"""Which samples of torch's operator database are run, and what is expected of those that cannot be equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

DTYPES = (torch.float32, torch.int64, torch.bool)

# Values that nobody can compare: shape and dtype are.
DRAWN = {
    *("bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal", "normal-in_place"),
    *("normal-number_mean", "randint", "randint_like", "randn", "randn_like", "rand_like", "uniform"),
    *("nn.functional.dropout", "nn.functional.multi_head_attention_forward"),
}
UNDEFINED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}

DATA = "the shape or a Python number of the result depends on data"
TIES = "which of several equal elements is found is torch's own choice"
TRAINING = "for training: eval() is what is captured"
SPARSE = "sparse tensors"
STRIDES = "elements beyond the view, by torch's strides"
DTYPE = "a dtype that MLX or numpy lacks"
CUDA = "for CUDA only"
SOLVERS = "a factorisation that MLX lacks"
RECURRENCE = "special functions that are declared missing"
NEVER = "operators that no network was seen to use"

# id -> (reason, what the failure says). Samples that fail otherwise fail the test, and so does an entry that passes.
EXCEPTIONS: dict[str, tuple[str, str]] = {}


def _except(reason: str, failure: str, *names: str) -> None:
    EXCEPTIONS.update(dict.fromkeys(names, (reason, failure)))


_except(DATA, "DataDependent|depend", "allclose", "corrcoef", "cov", "equal", "item", "tensor_split", "unique")
_except(DATA, "depend|data|unbacked|u0", "argwhere", "bincount", "combinations", "masked_select", "narrow", "nonzero")
_except(DATA, "depend|data|unbacked", "nn.functional.gaussian_nll_loss", "nn.functional.one_hot", "repeat_interleave")
_except(DATA, "depend|data|unbacked|DynamicOutputShape", "nn.functional.ctc_loss", "unique_consecutive")
_except(TIES, "not equal", "argsort", "kthvalue", "mode", "sort", "topk")
_except(TRAINING, "eval()", "nn.functional.dropout2d", "nn.functional.dropout3d", "nn.functional.alpha_dropout")
_except(TRAINING, "eval()", "nn.functional.feature_alpha_dropout-with_train", "nn.functional.rrelu")
_except(TRAINING, "eval()", "nn.functional.scaled_dot_product_attention")
_except(CUDA, "CUDA", *(f"jiterator_{kind}" for kind in ("binary", "unary", "binary_return_by_ref")))
_except(CUDA, "CUDA", "jiterator_4inputs_with_extra_args", "jiterator_2inputs_2outputs")
_except(SPARSE, "sparse", "to_sparse", "sparse.sampled_addmm", "sparse.mm-reduce")
_except(STRIDES, "view", "as_strided-partial_views")
_except(DTYPE, "bfloat16|complex32|float16|PEP", "bfloat16", "chalf")
_except(
    RECURRENCE,
    "no form of",
    "special.airy_ai",
    *(f"special.{shift}chebyshev_polynomial_{kind}" for shift in ("", "shifted_") for kind in "tuvw"),
    *(f"special.{family}" for family in ("hermite_polynomial_h", "hermite_polynomial_he")),
    *(f"special.{family}" for family in ("laguerre_polynomial_l", "legendre_polynomial_p")),
)


def identifier(info: Any) -> str:
    """As `div-floor_rounding`."""
    return f"{info.name}-{info.variant_test_name}" if info.variant_test_name else info.name


def chosen(info: Any, dtype: torch.dtype) -> Iterator[tuple[int, Any]]:
    """The first sample, the last and some in between; then the first of each edge that these leave out."""
    torch.manual_seed(0)
    samples = list(info.sample_inputs("cpu", dtype, requires_grad=False))
    count = min(len(samples), 4 if dtype == torch.float32 else 2)
    places = {round(k * (len(samples) - 1) / max(count - 1, 1)) for k in range(count)}
    seen = {edge for place in places for edge in edges(samples[place])}
    for place, sample in enumerate(samples):
        if new := edges(sample) - seen:
            places.add(place)
            seen |= new
    return ((place, samples[place]) for place in sorted(places))


def edges(sample: Any) -> set[str]:
    """What is unusual about a sample's tensors."""
    tensors = [each for each in pytree.tree_leaves([sample.input, sample.args]) if isinstance(each, torch.Tensor)]
    if any(each.layout != torch.strided for each in tensors):
        return set()
    found = {"0-d"} if any(each.ndim == 0 for each in tensors) else set()
    found |= {"empty"} if any(each.numel() == 0 for each in tensors) else set()
    found |= {"not contiguous"} if any(not each.is_contiguous() for each in tensors) else set()
    return found | ({"broadcast"} if len({each.shape for each in tensors}) > 1 else set())
