"""Property tests judge by values, never by time, and are few enough to run with every change."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "codecs", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("codecs")
