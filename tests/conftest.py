"""What every test shares: how much Hypothesis tries.

`--hypothesis-profile thorough --timeout 0` looks longer than the suite has time for.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A slow or busy machine is no failure: no deadline, and being slow to generate is no error either.
settings.register_profile(
    "suite", max_examples=100, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("suite"), max_examples=3_000)
settings.load_profile("suite")
