"""A network in a stream: every frame is encoded once, the steps of a forecast are timed one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from occflow.models.flow_model import Encoding, FlowModel
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Task
from occflow.stream.latency import LatencyRecord


class StreamNetwork:
    """The one-step student of forecasting.networks, taken apart for a stream."""

    name = "student-1"

    def __init__(self, model: FlowModel, record: LatencyRecord) -> None:
        self.model, self._record = model.eval(), record

    @torch.inference_mode()
    def encode(self, frame: OccupancyFrame) -> Encoding:
        """The encoding of a frame."""
        with self._record.stage("encode"):
            encoding = self.model.encode_frames((frame,))
            self._finish()
            return encoding

    @torch.inference_mode()
    def forecast(self, task: Task, encoded: Sequence[Encoding], seed: int) -> tuple[OccupancyFrame, ...]:
        """One sample of the task's future, as `StudentForecaster.forecast` gives it."""
        with self._record.stage("propose"):
            observation = self.model.observe(task, encoded=encoded)
            self._finish()
        with self._record.stage("network"):
            condition = self.model.condition(observation)
            noise = torch.randn(condition.forecast.mean.shape, generator=torch.Generator().manual_seed(seed))
            state = condition.state(self.model.one_step(noise.to(self.model.device), condition))
            self._finish()
        with self._record.stage("decode"):
            return self.model.decoder(observation, task.targets)(state)

    def _finish(self) -> None:
        """Wait for a device that works behind Python's back, so that each stage has its own milliseconds."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
