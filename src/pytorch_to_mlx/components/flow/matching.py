"""From noise to a mel spectrogram: chatterbox/models/s3gen/flow_matching.py (CausalConditionalCFM).

Flow matching (Lipman et al. 2023, arXiv:2210.02747) solved with Euler's method: in ten steps with classifier-free
guidance (Ho & Salimans 2022, arXiv:2207.12598), or in two by an estimator of mean velocities that needs none
(Geng et al. 2025, arXiv:2505.13447; Zhao et al. 2025, arXiv:2510.07979).
"""

from __future__ import annotations

from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.components.flow.estimator import ConditionalDecoder
from pytorch_to_mlx.layers.cores import apart
from pytorch_to_mlx.parity import is_recording, tap

GUIDANCE = 0.7
STEPS = 10
MEANFLOW_STEPS = 2


class FlowMatching(nn.Module):
    """The solver around the estimator."""

    def __init__(self, meanflow: bool) -> None:
        super().__init__()
        self.estimator = ConditionalDecoder(meanflow)
        self._guided = not meanflow

    def times(self, steps: int | None = None) -> mx.array:
        """When the steps start and end: (steps + 1,) float32 from 0 to 1, slow at first unless meanflow.

        Standard without `steps`: 10, or 2 for meanflow.
        """
        steps = steps or (STEPS if self._guided else MEANFLOW_STEPS)
        # numpy in float32 and from both ends, as torch.linspace: time is scaled by 1000 before it is encoded.
        index = np.arange(steps + 1, dtype=np.float32)
        step = np.float32(1 / steps)
        times = np.where(index < (steps + 1) // 2, index * step, 1 - (steps - index) * step).astype(np.float32)
        if self._guided:
            times = 1 - np.cos(times * np.float32(0.5) * np.float32(np.pi))
        return mx.array(times)

    def __call__(self, z: mx.array, mu: mx.array, speaker: mx.array, prompt: mx.array, times: mx.array) -> mx.array:
        """Follow the flow from the first of `times` to the last.

        Args:
            z: the state at the first, noise at 0: (1, frames, 80).
            mu: the encoder's frames (1, frames, 80).
            speaker: (1, 80).
            prompt: mel spectrogram (1, frames, 80), zero where it is to be generated.
            times: (steps + 1,) float32.

        Returns:
            The state at the last, (1, frames, 80) float32.
        """
        context = mx.concatenate([mu, mx.broadcast_to(speaker[:, None], mu.shape), prompt.astype(mu.dtype)], axis=-1)
        if self._guided:
            context = mx.concatenate([context, mx.zeros_like(context)])
        embedded = self.estimator.embed_times(times)
        weights = self.estimator.parameters()
        x = z.astype(mx.float32)
        for step in range(len(embedded)):
            time = embedded[step : step + 1]
            estimate = partial(self.estimator, x, time=time)
            # Guidance makes a batch of two, which is recorded as one.
            velocity = estimate(context) if is_recording() else apart(estimate, context, weights, x, time)
            if self._guided:
                velocity = (1 + GUIDANCE) * velocity[:1] - GUIDANCE * velocity[1:]
            x = tap(f"state.{step + 1}", x + (times[step + 1] - times[step]) * velocity)
            mx.async_eval(x)  # the next step is laid out while this one runs
        return x
