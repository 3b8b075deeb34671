"""doctor, the machine's description, and the runner profiles."""

from __future__ import annotations

import json
import shutil
from importlib import metadata

from pipeline.beam import PROFILES
from sqidflow.benches import machine
from sqidflow.cli import checks as doctor
from sqidflow.core.workdir import Workdir


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_this_environment_is_as_the_lock_says(tmp_path):
    findings = doctor.examine(Workdir(tmp_path / "not there yet"))
    wrong = [finding for finding in findings if not finding.ok and not finding.name.startswith("free ")]
    assert wrong == []
    found = by_name(findings)
    assert found["Python"].value.startswith("3.11")
    assert set(doctor.PACKAGES) <= set(found)
    assert found["tfx"].value == metadata.version("tfx")
    assert str(tmp_path) in found["free disk"].value
    json.dumps([finding.as_dict() for finding in findings])


def test_a_missing_package_and_another_version_say_the_mend():
    missing = doctor._package("no-such-package", {})
    assert (missing.value, missing.ok, missing.hint) == ("missing", False, "run `make setup`")
    other = doctor._package("numpy", {"numpy": "0.1"})
    assert not other.ok
    assert "the lock pins 0.1" in other.hint


def test_optional_parts_are_never_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    found = by_name(doctor.examine(Workdir(tmp_path)))
    for what, _ in doctor.OPTIONAL.values():
        assert found[what].ok
        assert found[what].hint


def test_too_little_disk_and_memory_are_failures(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED_DISK_BYTES", 10**18)
    monkeypatch.setattr(doctor, "NEEDED_MEMORY_BYTES", 10**18)
    found = by_name(doctor.examine(Workdir(tmp_path)))
    for name in ("free disk", "free memory"):
        assert not found[name].ok
        assert found[name].hint


def test_every_package_looked_at_is_in_the_lock():
    assert set(doctor.PACKAGES) <= set(doctor._locked_versions())


def test_doctor_prints_every_finding(tmp_path, capsys):
    findings = [doctor.Finding("disk", "1 GB", False, "free some"), doctor.Finding("java", "no", True, "install it")]
    doctor.show(findings)
    printed = capsys.readouterr().err
    for text in ("disk", "free some", "java", "install it", "optional"):
        assert text in printed


def test_the_machine_is_described():
    found = machine.describe()
    assert set(found) == {"cpu", "cores", "memory_gb", "system", "python", "packages"}
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0.5
    assert found["packages"]["tfx"] == metadata.version("tfx")
    json.dumps(found)


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package",))
    assert machine.describe()["packages"] == {"no-such-package": None}


def test_runner_profiles_that_nobody_has_run_say_so(tmp_path):
    findings = doctor.examine(Workdir(tmp_path))
    found = {f.name.removeprefix("Beam runner "): f for f in findings if f.name.startswith("Beam runner")}
    assert set(found) == set(PROFILES)
    for name, finding in found.items():
        assert finding.ok, "a profile that is not used is no reason to fail"
        verified = name in ("local", "portable")
        assert ("unverified" not in finding.value) == verified
        assert bool(finding.hint) != verified
