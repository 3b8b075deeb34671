"""Beam runner profiles: what a profile's name means in Beam's own options."""

from __future__ import annotations

PROFILES: dict[str, tuple[str, ...]] = {
    # Named explicitly: Beam 2.68 and newer would try to download the Prism runner first. In memory and in this
    # process: worker processes import TensorFlow anew for each pipeline, and threads have been seen to lose records.
    "local": ("--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"),
}


def beam_arguments(profile: str) -> list[str]:
    """Beam's options of a profile.

    Raises:
        ValueError: no such profile; names the known ones.
    """
    if profile not in PROFILES:
        raise ValueError(f"no Beam runner profile {profile!r}; known: {', '.join(PROFILES)}")
    return list(PROFILES[profile])
