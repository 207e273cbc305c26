"""Activation functions."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, binary, call, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.elementwise import floating
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.errors import CaptureError


def _activation(function: str, *names: str) -> None:
    @lowers(*names)
    def lower(e: Emitter, x: Tensor) -> Code:
        return call(function, floating(e, x))


for _name in ("tanh", "sigmoid", "silu", "mish"):
    _activation(f"runtime.{_name}", f"{_name}.default")
_activation("runtime.sigmoid", "special_expit.default")
_activation("nn.log_sigmoid", "log_sigmoid.default")
_activation("nn.hardswish", "hardswish.default")
_activation("runtime.selu", "selu.default")


@lowers("relu6.default")
def relu6(e: Emitter, x: Tensor) -> Code:
    return call("nn.relu6", x) if x.is_floating else call("mx.clip", x, 0, 6)


@lowers("gelu.default")
def gelu(e: Emitter, x: Tensor, *, approximate: str = "none") -> Code:
    return e.runtime("gelu_tanh" if approximate == "tanh" else "gelu", x)


@lowers("leaky_relu.default")
def leaky_relu(e: Emitter, x: Tensor, slope: float) -> Code:
    if slope > 1:  # MLX takes the larger of x and slope x
        return e.runtime("leaky_relu", x, e.literal(slope, "negative_slope"))
    return call("nn.leaky_relu", x, negative_slope=None if slope == 0.01 else e.literal(slope, "negative_slope"))


@lowers("elu.default")
def elu(e: Emitter, x: Tensor, alpha: Any, scale: Any, input_scale: Any) -> Code:
    given = {"alpha": alpha, "scale": scale, "input_scale": input_scale}
    return e.runtime("elu", x, **{key: None if v == 1 else e.literal(v, key) for key, v in given.items()})


@lowers("celu.default")
def celu(e: Emitter, x: Tensor, alpha: float) -> Code:
    return e.runtime("celu", x, alpha=None if alpha == 1 else e.literal(alpha, "alpha"))


@lowers("glu.default")
def glu(e: Emitter, x: Tensor, dim: int) -> Code:
    return call("nn.glu", x, axis=None if dim in (-1, x.ndim - 1) else dim)


@lowers("prelu.default", "_prelu_kernel.default")
def prelu(e: Emitter, x: Tensor, weight: Tensor) -> Code:
    slopes: Code = weight
    if weight.ndim == 1 and weight.shape[0] != 1 and x.ndim > 2:
        slopes = method(weight, "reshape", -1, *[1] * (x.ndim - 2))
    elif weight.ndim == 1 and x.ndim == 0:
        slopes = method(weight, "reshape", Code("()"))
    return call("nn.prelu", x, slopes)


@lowers("rrelu.default")
def rrelu(e: Emitter, x: Tensor, lower: float, upper: float, training: bool, *rest: Any) -> Code:
    if training:
        raise CaptureError("rrelu draws slopes in training; call eval() on the model first")
    return leaky_relu(e, x, (lower + upper) / 2)


@lowers("threshold.default")
def threshold(e: Emitter, x: Tensor, bound: Any, value: Any) -> Code:
    return e.runtime("threshold", x, e.literal(bound, "threshold"), e.literal(value))


@lowers("hardsigmoid.default")
def hardsigmoid(e: Emitter, x: Tensor) -> Code:
    return binary("/", call("nn.relu6", binary("+", x, 3)), 6)


@lowers("softplus.default")
def softplus(e: Emitter, x: Tensor, beta: Any, threshold_: Any) -> Code:
    if beta == 1 and threshold_ == 20:  # beyond it both are x
        return call("nn.softplus", x)
    return e.runtime("softplus", x, beta=e.literal(beta, "beta"), threshold=e.literal(threshold_, "threshold"))


@lowers("softshrink.default")
def softshrink(e: Emitter, x: Tensor, bound: Any) -> Code:
    return e.runtime("softshrink", x, *([] if bound == 0.5 else [e.literal(bound, "lambd")]))


@lowers("hardshrink.default")
def hardshrink(e: Emitter, x: Tensor, bound: Any) -> Code:
    return e.runtime("hardshrink", x, *([] if bound == 0.5 else [e.literal(bound, "lambd")]))


@lowers("logit.default", "special_logit.default")
def logit(e: Emitter, x: Tensor, eps: float | None) -> Code:
    return e.runtime("logit", floating(e, x), eps=None if eps is None else e.literal(eps, "eps"))
