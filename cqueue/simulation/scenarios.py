"""Every directed scenario by name, and how one is run."""

from __future__ import annotations

from cqueue.simulation import late_jobs, lost_jobs
from cqueue.simulation.run import Verdict, judge, simulated
from cqueue.simulation.stage import SCENARIOS, Failed, Stage

__all__ = ["SCENARIOS", "late_jobs", "lost_jobs", "run_scenario"]


def run_scenario(name: str, *, seed: int = 0, without: str | None = None) -> Verdict:
    """Tell the story `name` of `SCENARIOS`, then mend everything, let it settle, and judge.

    Args:
        name: of the scenario.
        seed: decides what the story leaves open: delays, and the like.
        without: a mend to take away, see `cqueue.simulation.unmended`.
    """
    told = SCENARIOS[name]
    with simulated(without):
        stage = Stage(seed, told.setup)
        try:
            stage.open()
            told.story(stage)
        except Failed:
            stage.broken.append("the story did not get where it wanted to")
        stage.mend()
        verdict = judge(seed, stage.cluster, stage.history)
    verdict.broken = stage.broken + verdict.broken
    return verdict
