"""Trainings that are cut off."""

import pytest

from occflow.training.optimiser import Trainer


class PowerCut(BaseException):
    """What no training expects."""


@pytest.fixture()
def cut(monkeypatch):
    """cut(job, updates): run `job` until the optimisers have made so many updates; True where it was cut off."""

    def run_until(job, updates: int) -> bool:
        step, left = Trainer.step, [updates]

        def counted(trainer, loss):
            if not left[0]:
                raise PowerCut
            left[0] -= 1
            return step(trainer, loss)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", counted)
            try:
                job()
            except PowerCut:
                return True
            return False

    return run_until
