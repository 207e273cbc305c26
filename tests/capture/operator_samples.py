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
    *("nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d"),
}
UNDEFINED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}

# What a CaptureError says of a sample that MLX, or this project, does not do: it was told instead of computed wrongly.
LIMITS = {
    r"no form of [\w. ]+\((?!not yet)": "declared in operators/: MLX lacks the primitive",
    r"call eval\(\)|is for training|export the model in eval": "training is not captured",
    r"of an empty matrix": "MLX ends the process",
    r"whose signs differ": "singular vectors are free to turn round",
    r"integers, which MLX does not|of integers": "MLX multiplies floating-point matrices",
    r"depends? on data|shapes depend": "the result's shape follows from values",
}

# Of these no sample is done although their operators have a form; of others without one, the operator is declared so.
LIMITED = {"svd_lowrank", "pca_lowrank", "_native_batch_norm_legit"}

DATA = "torch cannot trace it: a shape or a Python number depends on data"
TIES = "which of several equal elements is found is torch's own choice"
STRIDES = "elements beyond the view, by torch's strides"
DTYPE = "a dtype that MLX or numpy lacks"
INTEGERS = "MLX convolves floating-point numbers"
CUDA = "for CUDA only"
TRAINING = "for training: eval() is what is captured"
NOT_YET = "no lowering yet"

# id -> (reason, what the failure says). Samples that fail otherwise fail the test, and so does an entry that passes.
EXCEPTIONS: dict[str, tuple[str, str]] = {}


def _except(reason: str, failure: str, *names: str) -> None:
    EXCEPTIONS.update(dict.fromkeys(names, (reason, failure)))


_except(DATA, "DataDependent", "allclose", "corrcoef", "cov", "equal", "nn.functional.gaussian_nll_loss")
_except(DATA, "unbacked|u0|size u|DataDependent", "combinations", "narrow", "nn.functional.one_hot", "tensor_split")
_except(DATA, "DynamicOutputShape", "linalg.lstsq", "linalg.lstsq-grad_oriented", "nn.functional.ctc_loss")
_except(TIES, "not equal", "argsort", "kthvalue", "mode", "sort", "topk")
_except(CUDA, "CUDA", *(f"jiterator_{kind}" for kind in ("binary", "unary", "binary_return_by_ref")))
_except(CUDA, "CUDA", "jiterator_4inputs_with_extra_args", "jiterator_2inputs_2outputs")
_except(STRIDES, "view", "as_strided-partial_views")
_except(DTYPE, "bfloat16|complex32|float16|PEP", "bfloat16", "chalf")
_except(TRAINING, "not yet", "_batch_norm_with_update", "_native_batch_norm_legit", "native_batch_norm")
_except(TRAINING, "not yet", "max_pool2d_with_indices_backward")
_except(INTEGERS, "floating point types", *(f"nn.functional.conv{rank}d" for rank in (2, 3)))
_except(INTEGERS, "floating point types", *(f"nn.functional.conv_transpose{rank}d" for rank in (1, 2, 3)))
_except(NOT_YET, "not yet", "_segment_reduce-lengths", "_segment_reduce-offsets", "hash_tensor")
_except(NOT_YET, "not yet", "histogram", "histogramdd", "linalg.lu_solve", "lu_solve", "lu_unpack")
_except(NOT_YET, "not yet", *(f"nn.functional.linear_cross_entropy-{kind}" for kind in ("chunked", "chunked_none")))


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
