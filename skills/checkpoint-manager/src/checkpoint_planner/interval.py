"""How often to checkpoint: Young's and Daly's intervals, and what an interval loses.

One model underneath: failures arrive at random at a constant rate (exponential times between them, mean M); a job alternates tau seconds
of work and delta seconds in which a checkpoint holds it up; a failure costs everything since the last checkpoint, and R seconds to come back.

Sources: J. W. Young, "A first order approximation to the optimum checkpoint interval", Communications of the ACM 17(9), 1974.
J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation Computer Systems 22(3), 2006.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LARGEST_EXPONENT = 700.0
"""exp() of more leaves the range of a double: such a job never ends."""


def young_s(cost_s: float, mtbf_s: float) -> float:
    """Young 1974: tau = sqrt(2 delta M). First order: right where the cost is small beside the mean time between failures."""
    return math.sqrt(2 * cost_s * mtbf_s)


def daly_s(cost_s: float, mtbf_s: float) -> float:
    """Daly 2006: tau = sqrt(2 delta M) (1 + sqrt(delta/2M)/3 + (delta/2M)/9) - delta where delta < 2M, else tau = M."""
    if cost_s >= 2 * mtbf_s:
        return mtbf_s
    ratio = cost_s / (2 * mtbf_s)
    return math.sqrt(2 * cost_s * mtbf_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What a failure of the job costs, and how often one comes."""

    mtbf_s: float
    """Mean seconds between failures of the job: any node ends it."""
    cost_s: float
    """Seconds that one checkpoint holds the training loop (delta)."""
    delay_s: float
    """Seconds until a checkpoint is durable after the loop goes on; 0 where the loop waits for it."""
    recovery_s: float
    """Seconds from the failure until training goes on."""

    def lost_fraction(self, interval_s: float) -> float:
        """The part of the job's time that is no progress: checkpoints, repeated work, recoveries.

        Daly 2006: a second of work takes M exp(R/M) (exp((tau + delta)/M) - 1) / tau seconds. A checkpoint that becomes
        durable later protects later: a failure then repeats that much more work on average, so the delay counts like recovery.
        """
        exponent = (interval_s + self.cost_s) / self.mtbf_s
        recovery = (self.recovery_s + self.delay_s) / self.mtbf_s
        if exponent + recovery > LARGEST_EXPONENT:
            return 1.0
        return 1 - interval_s / (self.mtbf_s * math.exp(recovery) * math.expm1(exponent))

    def blocked_fraction(self, interval_s: float) -> float:
        """The part of the time that checkpoints hold the loop, without any failure."""
        return self.cost_s / (interval_s + self.cost_s)
