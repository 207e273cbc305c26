"""The token loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mlx.core as mx


def generate(
    step: Callable[[mx.array], mx.array],
    logits: mx.array,
    sampler: Callable[[mx.array], mx.array],
    *,
    stop: int,
    max_tokens: int,
) -> Iterator[int]:
    """Yield tokens until `stop`, which is not yielded, or until there are `max_tokens`.

    The step after a token is on its way to the device before the token is read, so the device does not wait for the
    host: one read a token, and one step too many when `stop` comes. A `step` that itself reads values (to guard the
    generation by attention, say) works too and gives that up.

    Args:
        step: the token just drawn (1,) to the logits that follow it (1, V). Guidance, and any other change to
            logits, is its affair, and the caller's for the first ones.
        logits: those of the first token, (1, V).
        sampler: logits (1, V) to a token (1,).
    """
    if max_tokens < 1:
        return
    token = sampler(logits)
    mx.async_eval(token)
    for remaining in reversed(range(max_tokens)):
        following = token
        if remaining:
            following = sampler(step(token))
            mx.async_eval(following)
        value = int(token)
        if value == stop:
            return
        yield value
        token = following
