"""Linear algebra; MLX has it in float32 and on the CPU."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, call, item
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers, missing
from pytorch_to_mlx.errors import CaptureError

CPU = Code("mx.cpu")

missing("eigenvalues in the order of PyTorch's LAPACK", "linalg_eig.default", "linalg_eigvals.default")
missing("least squares", "linalg_lstsq.default")
missing(
    "the LDL decomposition", "linalg_ldl_factor.default", "linalg_ldl_factor_ex.default", "linalg_ldl_solve.default"
)
missing(
    "Householder reflectors",
    "geqrf.default",
    "ormqr.default",
    "linalg_householder_product.default",
    "orgqr.default",
)


def of(e: Emitter, function: str, *args: Any, **options: Any) -> Code:
    """A call of one of `mx.linalg` or `runtime`."""
    for x in args:
        if not isinstance(x, Tensor):
            continue
        name = str(e.node.target).removeprefix("aten.")
        if x.dtype.is_complex:
            raise CaptureError(f"{name}: of complex matrices, which MLX does not decompose")
        if any(isinstance(size, int) and size == 0 for size in x.shape):
            raise CaptureError(f"{name}: of an empty matrix, at which MLX ends the process")
    return call(function, *args, **options, **({"stream": CPU} if function.startswith("mx.") else {}))


def _no_error(e: Emitter, result: int) -> Code:
    """Torch's report that the routine did not fail: MLX raises when it does."""
    return call("mx.zeros", e.shape(e.out[result].shape), dtype=e.dtype(e.out[result].dtype))


@lowers("linalg_inv.default", "inverse.default")
def inverse(e: Emitter, x: Tensor) -> Code:
    return of(e, "mx.linalg.inv", x)


@lowers("linalg_inv_ex.default")
def inverse_ex(e: Emitter, x: Tensor, **options: Any) -> tuple[Code, Code]:
    return of(e, "mx.linalg.inv", x), _no_error(e, 1)


@lowers("linalg_solve.default")
def solve(e: Emitter, a: Tensor, b: Tensor, *, left: bool = True) -> Code:
    return of(e, "runtime.solve", a, b, left=None if left else False)


@lowers("linalg_solve_ex.default")
def solve_ex(e: Emitter, a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> tuple[Code, Code]:
    return solve(e, a, b, left=left), _no_error(e, 1)


@lowers("linalg_solve_triangular.default")
def solve_triangular(
    e: Emitter, a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Code:
    return of(
        e,
        "runtime.solve_triangular",
        a,
        b,
        upper=True if upper else None,
        left=None if left else False,
        unitriangular=True if unitriangular else None,
    )


@lowers("triangular_solve.default")
def triangular_solve(
    e: Emitter, b: Tensor, a: Tensor, upper: bool = True, turned: bool = False, unitriangular: bool = False
) -> tuple[Code, Code]:
    matrix = Tensor(f"{a.atom}.swapaxes(-1, -2)", value=a.value, node=a.node) if turned else a
    return solve_triangular(e, matrix, b, upper=upper != turned, unitriangular=unitriangular), a


@lowers("linalg_cholesky.default")
def cholesky(e: Emitter, x: Tensor, *, upper: bool = False) -> Code:
    return of(e, "mx.linalg.cholesky", x, upper=True if upper else None)


@lowers("cholesky.default")
def plain_cholesky(e: Emitter, x: Tensor, upper: bool = False) -> Code:
    return cholesky(e, x, upper=upper)


@lowers("linalg_cholesky_ex.default")
def cholesky_ex(e: Emitter, x: Tensor, *, upper: bool = False, check_errors: bool = False) -> tuple[Code, Code]:
    return cholesky(e, x, upper=upper), _no_error(e, 1)


@lowers("cholesky_inverse.default")
def cholesky_inverse(e: Emitter, x: Tensor, upper: bool = False) -> Code:
    return of(e, "mx.linalg.cholesky_inv", x, upper=True if upper else None)


@lowers("cholesky_solve.default")
def cholesky_solve(e: Emitter, b: Tensor, triangle: Tensor, upper: bool = False) -> Code:
    return of(e, "runtime.cholesky_solve", b, triangle, upper=True if upper else None)


@lowers("linalg_qr.default")
def qr(e: Emitter, x: Tensor, mode: str = "reduced") -> Any:
    rows, columns = x.shape[-2:]
    if mode == "complete" and not rows <= columns:
        raise CaptureError("linalg_qr: mode='complete' of a tall matrix, for which MLX has the reduced one only")
    if mode == "r":
        return call("mx.zeros", (0,)), item(of(e, "mx.linalg.qr", x), "1")
    return of(e, "mx.linalg.qr", x)


@lowers("qr.default")
def plain_qr(e: Emitter, x: Tensor, some: bool = True) -> Any:
    return qr(e, x, "reduced" if some else "complete")


@lowers("linalg_svd.default")
def svd(e: Emitter, x: Tensor, full: bool = True, *, driver: str | None = None) -> Any:
    if e.uses(0) or e.uses(2):
        raise CaptureError("linalg_svd: singular vectors, whose signs differ between PyTorch's LAPACK and MLX's")
    values = singular_values(e, x)
    return values, values, values


@lowers("linalg_svdvals.default")
def singular_values(e: Emitter, x: Tensor, *, driver: str | None = None) -> Code:
    return of(e, "mx.linalg.svd", x, compute_uv=False)


@lowers("linalg_eigh.default")
def eigh(e: Emitter, x: Tensor, triangle: str = "L") -> tuple[Code, Code]:
    if e.uses(1):
        raise CaptureError("linalg_eigh: eigenvectors, whose signs differ between PyTorch's LAPACK and MLX's")
    values = eigvalsh(e, x, triangle)
    return values, values


@lowers("linalg_eigvalsh.default")
def eigvalsh(e: Emitter, x: Tensor, triangle: str = "L") -> Code:
    return of(e, "mx.linalg.eigvalsh", x, **_triangle(triangle))


def _triangle(triangle: str) -> dict[str, str]:
    return {} if triangle.upper() == "L" else {"UPLO": "U"}


@lowers("linalg_det.default", "det.default")
def det(e: Emitter, x: Tensor) -> Code:
    return of(e, "mx.linalg.det", x)


@lowers("linalg_slogdet.default", "slogdet.default")
def slogdet(e: Emitter, x: Tensor) -> Code:
    return of(e, "mx.linalg.slogdet", x)


@lowers("logdet.default")
def logdet(e: Emitter, x: Tensor) -> Code:
    return of(e, "runtime.logdet", x)


@lowers("linalg_pinv.atol_rtol_float", "linalg_pinv.atol_rtol_tensor")
def pinv(e: Emitter, x: Tensor, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Code:
    given = {
        name: value if isinstance(value, Tensor) or value is None else e.literal(value, name)
        for name, value in (("atol", atol), ("rtol", rtol))
    }
    return of(e, "runtime.pinv", x, **given, hermitian=True if hermitian else None)


@lowers("linalg_lu_factor.default")
def lu_factor(e: Emitter, x: Tensor, *, pivot: bool = True) -> Code:
    if not pivot:
        raise CaptureError("linalg_lu_factor: pivot=False")
    return of(e, "runtime.lu_factor", x)


@lowers("linalg_lu_factor_ex.default")
def lu_factor_ex(e: Emitter, x: Tensor, *, pivot: bool = True, check_errors: bool = False) -> tuple[Code, ...]:
    both = lu_factor(e, x, pivot=pivot)
    return item(both, "0"), item(both, "1"), _no_error(e, 2)


@lowers("linalg_lu.default")
def lu(e: Emitter, x: Tensor, *, pivot: bool = True) -> Code:
    if not pivot:
        raise CaptureError("linalg_lu: pivot=False")
    return of(e, "runtime.lu", x)


@lowers("linalg_matrix_power.default", "matrix_power.default")
def matrix_power(e: Emitter, x: Tensor, n: int) -> Code:
    return of(e, "runtime.matrix_power", x, n) if n < 0 else e.runtime("matrix_power", x, n)


@lowers("matrix_exp.default", "linalg_matrix_exp.default")
def matrix_exp(e: Emitter, x: Tensor) -> Code:
    return e.runtime("matrix_exp", x)
