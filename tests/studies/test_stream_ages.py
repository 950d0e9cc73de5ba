"""Ages by a clock of the worker's own time: it jumps where the worker waits, and sweeps come as they would."""

from types import SimpleNamespace

from stream_world import Drive

from occflow.stream.source import Arrival
from studies.stream_ages import MOST_WAITING, OwnTime, Waiting, replay


def test_what_comes_while_the_worker_works_is_taken_together():
    spent = [5.0]
    clock = OwnTime(lambda: spent[0])
    clock.wait_until(7.0)
    assert clock.now() == 7.0
    clock.wait_until(6.0)
    assert clock.now() == 7.0
    steps = []

    def step(batch: list[Arrival]) -> None:
        steps.append((round(clock.now(), 3), [round(one.sweep.stamp_s, 2) for one in batch]))
        spent[0] += 0.6 if len(steps) == 1 else 0.0 if len(steps) < 4 else 4.0

    sweeps = [Drive().sweep(index) for index in range(30)]
    waiting = Waiting([Arrival(sweep, (0, "drive"), 8.0 + sweep.stamp_s) for sweep in sweeps], clock)
    replay(SimpleNamespace(step=step), waiting)
    assert steps[:4] == [(8.0, [0.0]), (8.6, [0.25, 0.5]), (8.75, [0.75]), (9.0, [1.0])]
    assert steps[4][0] == 13.0 and len(steps[4][1]) == MOST_WAITING and steps[4][1][-1] == 5.0
    assert not waiting and not waiting.has_come()
