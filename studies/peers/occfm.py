"""A forecaster of the shape of OccFM (Liu, Zhao and Rhinehart, arXiv:2506.23434), its networks untrained.

Source of what is done with them: forecast/models/worldmodels/occfm.py, tools/cfgs/occfm.yaml and forecast/datasets/
nuscenes_dataset.py of github.com/Orbis36/OccFM-NeurIPS2025 (9f5e457).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from studies.peers import occfm_autoencoder, occfm_flow
from studies.peers.occfm_autoencoder import OccFMAutoencoder, OccFMCoding
from studies.peers.occfm_flow import OccFMFlow, OccFMFlowShape

HISTORY, HORIZON = 4, 6  # frames: HIST_LAST, SEQUENCE_LENGTH
STEPS, GUIDANCE, SHIFT = 10, 2.0, 3.0  # SAMPLE_STEP, UNCOND_SCALE, ALPHA_STEP
RESCALED = 10.0  # latents, for the flow: RESCALE_FACTOR


class OccFM(nn.Module):
    """Encoded frames and where the car goes, in; classes of the frames to come, out.

    `horizon` frames come after as many places for past ones, of which the last HISTORY are filled (the dataset's
    hist_last) and the others zero.
    """

    def __init__(self, coding: OccFMCoding = occfm_autoencoder.PUBLISHED,
                 shape: OccFMFlowShape = occfm_flow.PUBLISHED) -> None:
        super().__init__()
        self.autoencoder, self.flow, self.horizon = OccFMAutoencoder(coding), OccFMFlow(shape), shape.frames // 2

    def encode(self, classes: Tensor) -> Tensor:
        """[F, X, Y, Z] int64 -> [F, C, X / 4, Y / 4]."""
        return self.autoencoder.encode(classes)

    def past(self, history: Tensor) -> Tensor:
        """Encoded frames [F, C, X, Y], at most `horizon` -> [1, horizon, C, X, Y], as the flow takes them."""
        empty = history.new_zeros(self.horizon - len(history), *history.shape[1:])
        return RESCALED * torch.cat([empty, history])[None]

    def evaluated(self, past: Tensor, future: Tensor, t: float, route: Tensor) -> Tensor:
        """The velocity of the frames to come, by one evaluation: [1, horizon, C, X, Y]."""
        return self.flow(torch.cat([past, future], dim=1), past.new_full((1,), t), route)[:, self.horizon:]

    def guided(self, past: Tensor, future: Tensor, t: float, route: Tensor) -> Tensor:
        """As published: two evaluations, one of them without history, in one batch."""
        pair = torch.cat([torch.cat([torch.zeros_like(past), future], dim=1), torch.cat([past, future], dim=1)])
        without, with_it = self.flow(pair, past.new_full((2,), t), route.expand(2, -1, -1))[:, self.horizon:].chunk(2)
        return without + GUIDANCE * (with_it - without)

    def sampled(self, past: Tensor, route: Tensor) -> Tensor:
        """As published: STEPS Euler steps with guidance -> latents [horizon, C, X, Y]."""
        passed = torch.linspace(0, 1, STEPS + 1)
        times = (1 - SHIFT * passed / (1 + (SHIFT - 1) * passed)).flip(0).tolist()
        future = torch.randn_like(past)
        for t, following in zip(times, times[1:]):
            future = future + (following - t) * self.guided(past, future, t, route)
        return future[0] / RESCALED

    def in_one_step(self, past: Tensor, route: Tensor) -> Tensor:
        """By one evaluation, as a distilled student would -> latents [horizon, C, X, Y]."""
        future = torch.randn_like(past)
        return (future + self.evaluated(past, future, 0.0, route))[0] / RESCALED

    def labels(self, latents: Tensor) -> Tensor:
        """As published: all frames at once, and the largest of two softmaxes -> [F, X, Y, Z] int64."""
        likely = self.autoencoder.similarity(latents).permute(0, 4, 1, 2, 3).softmax(dim=1)
        return likely.softmax(dim=1).argmax(dim=1)

    def lean_labels(self, latents: Tensor) -> Tensor:
        """Frame by frame, and the largest similarity -> [F, X, Y, Z] int64."""
        return torch.cat([self.autoencoder.similarity(one).argmax(dim=-1) for one in latents.split(1)])
