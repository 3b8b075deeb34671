"""Carry out the steps of deploy/Dockerfile.serve without a container engine, and measure the result.

    python deploy/rehearse_serving.py --workdir DIR [--query "red kettle"] [--keep]

The steps: a read-only copy of the committed files; the base package in a fresh virtual environment, by the script that
the image runs; the service, as a user without privileges (if this process is root), on a workdir that has only
artifacts/serving and artifacts/index, both read-only; one search. Prints one JSON document. Uses only the standard
library.

Exit status: 0, 1 if a step failed or a limit is exceeded, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
NOBODY = 65534
MAX_MEGABYTES = 700
MAX_SECONDS_TO_READY = 5.0
FORBIDDEN = ("tensorflow", "tfx", "apache-beam", "feast", "mlflow", "dvc", "streamlit")
_READY_WITHIN_S = 120


class StepFailed(Exception):
    """A step of the rehearsal failed; the text says which and why."""


def say(text: str) -> None:
    sys.stderr.write(f"rehearsal: {text}\n")


def run(*arguments: str | Path, **options: Any) -> str:
    done = subprocess.run([str(part) for part in arguments], capture_output=True, text=True, **options)
    if done.returncode:
        raise StepFailed(f"{' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def unprivileged() -> dict[str, Any]:
    """Arguments of subprocess that drop root's rights; none if this process has none."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def copy_checkout(target: Path) -> None:
    """The committed files of the checkout, and the page if it is built, all read-only."""
    names = run("git", "-C", CHECKOUT, "ls-files", "-z").split("\0")
    for name in filter(None, names):
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).is_file():
            shutil.copy2(CHECKOUT / name, file)
    if (CHECKOUT / "web" / "dist").is_dir():
        shutil.copytree(CHECKOUT / "web" / "dist", target / "web" / "dist")
    read_only(target)


def read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444)


def writable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def interpreter(scratch: Path) -> Path:
    """A Python that the user without privileges may start: this one, or a copy if it is below a private folder."""
    prefix = Path(sys.base_prefix)
    executable = Path("bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (prefix, *prefix.parents)):
        return prefix / executable
    say(f"copying Python, because {prefix} cannot be read by other users")
    shutil.copytree(
        prefix, scratch / "python", symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "test", "site-packages")
    )
    (scratch / "python" / "lib" / executable.name / "site-packages").mkdir(exist_ok=True)
    return scratch / "python" / executable


def megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(file.stat().st_size for file in files) / 1e6


def packages(environment: Path) -> list[str]:
    program = (
        "import importlib.metadata as m, json; print(json.dumps(sorted({d.name.lower() for d in m.distributions()})))"
    )
    return json.loads(run(environment / "bin" / "python", "-c", program, cwd=environment))


def address_in(log: str) -> str | None:
    words = (word.rstrip(".,;") for word in log.split())
    return next((word.rstrip("/") for word in words if word.startswith("http://127.0.0.1:")), None)


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its descendants in MB; pages that they share count once for each."""
    kilobytes = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if pid in (int(fields["Pid"]), int(fields["PPid"])) and "VmRSS" in fields:
            kilobytes += int(fields["VmRSS"].split()[0])
    return kilobytes / 1024


def rehearse(workdir: Path, query: str, scratch: Path) -> dict[str, Any]:
    """All steps in the folder ``scratch``; what was measured."""
    checkout, environment, served = scratch / "checkout", scratch / "environment", scratch / "workdir"
    say("copying the committed files, read-only")
    copy_checkout(checkout)
    say("installing the base package in a fresh environment")
    python = interpreter(scratch)
    started = time.monotonic()
    run("sh", checkout / "deploy" / "install_serving.sh", environment, env=os.environ | {"PYTHON": str(python)})
    installed_s = time.monotonic() - started
    for name in ("serving", "index"):
        source = workdir / "artifacts" / name
        if not source.is_dir():
            raise StepFailed(f"{source}: does not exist; run `make run` first, or name another folder with --workdir")
        shutil.copytree(source, served / "artifacts" / name)
    read_only(served)
    served.chmod(0o755)
    (served / "var").mkdir(mode=0o777)
    (served / "var").chmod(0o777)

    result: dict[str, Any] = {
        "user": "nobody" if os.geteuid() == 0 else os.environ.get("USER", "unprivileged"),
        "install_s": round(installed_s, 1),
        "megabytes": round(megabytes(environment)),
        "forbidden_packages": sorted(set(FORBIDDEN) & set(packages(environment))),
    }
    say("starting the service")
    result |= serve(environment, served, query)
    result["written_outside_var"] = sorted(
        path.relative_to(scratch).as_posix()
        for path in (*served.iterdir(), *(served / "artifacts").iterdir())
        if path.name not in ("artifacts", "var", "serving", "index")
    )
    limits = [
        (result["megabytes"] > MAX_MEGABYTES, f"{result['megabytes']} MB, more than {MAX_MEGABYTES}"),
        (bool(result["forbidden_packages"]), f"installed: {', '.join(result['forbidden_packages'])}"),
        (bool(result["written_outside_var"]), f"written: {', '.join(result['written_outside_var'])}"),
    ]
    result["exceeded"] = [text for exceeded, text in limits if exceeded]
    return result


def serve(environment: Path, workdir: Path, query: str) -> dict[str, Any]:
    """Start the service, wait until it is ready, send one search, end it with SIGTERM."""
    log = workdir.parent / "serve.log"
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
    # A copied Python may look for its library in the folder that it was built for.
    inherited |= {"LD_LIBRARY_PATH": str(workdir.parent / "python" / "lib")}
    inherited |= {"SQIDFLOW_WORKDIR": str(workdir), "SQIDFLOW_SEARCH__PORT": "0", "HOME": "/nonexistent"}
    started = time.monotonic()
    with log.open("w") as stream:
        service = subprocess.Popen(
            [environment / "bin" / "sqidflow", "serve"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=workdir,
            env=inherited,
            **unprivileged(),
        )
    try:
        while True:
            if service.poll() is not None or time.monotonic() - started > _READY_WITHIN_S:
                raise StepFailed(f"the service is not ready:\n{log.read_text()[-3000:]}")
            address = address_in(log.read_text())
            if address and is_ready(address):
                break
            time.sleep(0.02)
        ready_s = time.monotonic() - started
        request = urllib.request.Request(
            f"{address}/v1/predict", json.dumps({"query": query}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        memory = resident_mb(service.pid)
    finally:
        service.terminate()
        try:
            service.wait(60)
        except subprocess.TimeoutExpired:
            service.kill()
    if "Traceback" in log.read_text():
        raise StepFailed(log.read_text()[-3000:])
    return {
        "ready_s": round(ready_s, 1),
        "ready_within_limit": ready_s <= MAX_SECONDS_TO_READY,
        "resident_mb": round(memory),
        "results": len(answer["results"]),
        "first": answer["results"][0]["title"] if answer["results"] else None,
        "exit_status": service.returncode,
    }


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=CHECKOUT, help="folder with a finished run (the checkout)")
    parser.add_argument("--query", default="red kettle", help="the search that is sent (%(default)r)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the environment and print its path")
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="sqidflow-rehearsal-"))
    scratch.chmod(0o755)  # the user without privileges runs from it
    try:
        result = rehearse(arguments.workdir.resolve(), arguments.query, scratch)
    except StepFailed as failure:
        say(str(failure))
        return 1
    finally:
        if not arguments.keep:
            writable(scratch)
            shutil.rmtree(scratch, ignore_errors=True)
    if arguments.keep:
        result["folder"] = str(scratch)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    for text in result["exceeded"]:
        say(text)
    return 1 if result["exceeded"] else 0


if __name__ == "__main__":
    sys.exit(main())
