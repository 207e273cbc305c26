"""Linear algebra, on the CPU: MLX has it nowhere else."""

from __future__ import annotations

import math

import mlx.core as mx


def solve(a: mx.array, b: mx.array, left: bool = True) -> mx.array:
    """X with a X = b, or with X a = b unless `left`, as `torch.linalg.solve`.

    Args:
        a: (..., n, n).
        b: (..., n, k) or (n,), or of as many axes less one as a: vectors.
    """
    vectors = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if vectors:
        return solve(a, b[..., None]).squeeze(-1)
    if not left:
        return solve(a.swapaxes(-1, -2), b.swapaxes(-1, -2)).swapaxes(-1, -2)
    before = mx.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (mx.broadcast_to(each, (*before, *each.shape[-2:])) for each in (a, b))
    return mx.linalg.solve(a, b, stream=mx.cpu)


def solve_triangular(
    a: mx.array, b: mx.array, upper: bool = False, left: bool = True, unitriangular: bool = False
) -> mx.array:
    """X with a X = b, or with X a = b unless `left`, as `torch.linalg.solve_triangular`.

    Args:
        a: (..., n, n), of which one triangle is read.
        unitriangular: take the diagonal of a for ones.
    """
    a = mx.triu(a) if upper else mx.tril(a)
    if unitriangular:
        main = mx.eye(a.shape[-1], dtype=mx.bool_)
        a = mx.where(main, mx.ones((), a.dtype), a)
    if not left:
        return solve_triangular(a.swapaxes(-1, -2), b.swapaxes(-1, -2), not upper).swapaxes(-1, -2)
    before = mx.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (mx.broadcast_to(each, (*before, *each.shape[-2:])) for each in (a, b))
    return mx.linalg.solve_triangular(a, b, upper=upper, stream=mx.cpu)


def cholesky_solve(b: mx.array, triangle: mx.array, upper: bool = False) -> mx.array:
    """X with A X = b, given Cholesky's triangle of A, as `torch.cholesky_solve`."""
    turned = triangle.swapaxes(-1, -2)
    lower, higher = (turned, triangle) if upper else (triangle, turned)
    return solve_triangular(higher, solve_triangular(lower, b), upper=True)


def pinv(
    x: mx.array,
    atol: mx.array | float | None = None,
    rtol: mx.array | float | None = None,
    hermitian: bool = False,
) -> mx.array:
    """The pseudo-inverse, as `torch.linalg.pinv`: singular values up to atol and rtol times the largest count as 0.

    Args:
        x: (..., n, m).
        atol, rtol: numbers, or (...,). rtol is max(n, m) times the precision by default, 0 if there is an atol.
        hermitian: read the lower triangle of x only.
    """
    if hermitian:
        x = mx.tril(x) + mx.tril(x, -1).swapaxes(-1, -2)
    rows, columns = x.shape[-2:]
    if rtol is None:
        rtol = max(rows, columns) * mx.finfo(x.dtype).eps if atol is None else 0.0
    u, s, vt = mx.linalg.svd(x, stream=mx.cpu)
    count = min(rows, columns)
    least = mx.maximum(_column(atol or 0.0 if not isinstance(atol, mx.array) else atol), _column(rtol) * s[..., :1])
    inverse = mx.where(s > least, 1 / s, mx.zeros((), s.dtype))
    return (vt[..., :count, :].swapaxes(-1, -2) * inverse[..., None, :]) @ u[..., :count].swapaxes(-1, -2)


def _column(value: mx.array | float) -> mx.array:
    return value[..., None] if isinstance(value, mx.array) else mx.array(value)


def logdet(x: mx.array) -> mx.array:
    """The logarithm of the determinant, nan where that is negative, as `torch.logdet`."""
    sign, logarithm = mx.linalg.slogdet(x, stream=mx.cpu)
    return mx.where(sign < 0, mx.array(mx.nan, x.dtype), logarithm)


def lu_factor(x: mx.array) -> tuple[mx.array, mx.array]:
    """Both triangles in one matrix and the rows exchanged, counted from 1, as `torch.linalg.lu_factor`."""
    factors, pivots = mx.linalg.lu_factor(x, stream=mx.cpu)
    return factors, pivots.astype(mx.int32) + 1


def lu(x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """P, L and U with x = P L U, as `torch.linalg.lu`."""
    rows, lower, upper = mx.linalg.lu(x, stream=mx.cpu)
    places = mx.arange(x.shape[-2], dtype=rows.dtype)
    return (rows[..., :, None] == places).astype(x.dtype), lower, upper


def matrix_power(x: mx.array, n: int) -> mx.array:
    """The product of n times x, and of its inverse for a negative n, as `torch.linalg.matrix_power`."""
    if n < 0:
        return matrix_power(mx.linalg.inv(x, stream=mx.cpu), -n)
    result = None
    while n:
        if n % 2:
            result = x if result is None else result @ x
        n //= 2
        x = x @ x if n else x
    return mx.broadcast_to(mx.eye(x.shape[-1], dtype=x.dtype), x.shape) if result is None else result


def matrix_exp(x: mx.array) -> mx.array:
    """The exponential of matrices, as `torch.linalg.matrix_exp`, by 18 terms of its series and repeated squares.

    How many squares depends on the largest matrix, so x is evaluated.
    """
    if x.size == 0:
        return x
    largest = mx.max(mx.sum(mx.abs(x).astype(mx.float32), axis=-1)).item()
    assert isinstance(largest, float)
    dtype, x = x.dtype, x if mx.issubdtype(x.dtype, mx.complexfloating) else x.astype(mx.float32)
    halvings = max(0, math.ceil(math.log2(largest)) + 1) if 0 < largest < math.inf else 0
    x = x / 2**halvings
    one = mx.broadcast_to(mx.eye(x.shape[-1], dtype=x.dtype), x.shape)
    y = one
    for term in range(18, 0, -1):
        y = one + (x @ y) / term
    for _ in range(halvings):
        y = y @ y
    return y.astype(dtype)
