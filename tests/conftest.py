"""Settings for the whole suite."""

from hypothesis import settings

# No deadline: a slow machine is not a bug. Derandomised: the same commit gives the same verdict.
settings.register_profile("ringfort", deadline=None, derandomize=True)
settings.load_profile("ringfort")
