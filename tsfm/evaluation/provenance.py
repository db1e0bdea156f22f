"""Where a number came from: command, commit, machine and versions."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "tsfm-zeroshot"


def describe_run(device: str, packages: tuple[str, ...] = ()) -> dict[str, object]:
    """Command, commit, date, machine and versions of the running process.

    Parameters
    ----------
    device
        Torch device the model ran on, such as "cpu" or "cuda:0".
    packages
        Further distributions whose versions matter.

    Returns
    -------
    dict
        JSON-ready; a fact that cannot be found is None.

    Examples
    --------
    >>> sorted(describe_run("cpu"))
    ['command', 'commit', 'date', 'device', 'machine', 'versions']
    """
    return {
        "command": command_line(),
        "commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(device),
        "machine": {
            "platform": platform.platform(),
            "cpu": cpu_name(),
            "cpu_count": os.cpu_count(),
            "torch_threads": _torch_threads(),
        },
        "versions": versions(("torch", "numpy", "pandas", *packages)),
    }


def command_line() -> str:
    """The command that started this process, without the directory of the program."""
    program = Path(sys.argv[0]).name
    if program in ("", "-", "-c"):
        program = "python"
    if program == "__main__.py":
        program = f"python -m {Path(sys.argv[0]).parent.name}"
        return " ".join([program, shlex.join(sys.argv[1:])]).strip()
    return shlex.join([program, *sys.argv[1:]])


def git_commit() -> str | None:
    """Commit of this checkout, "-dirty" if tracked files changed; None outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    return (
        f"{commit}-dirty"
        if _git(root, "status", "--porcelain", "--untracked-files=no")
        else commit
    )


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """Versions of Python, this package and the given ones; None where not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in (DISTRIBUTION, *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def cpu_name() -> str | None:
    """Marketing name of the processor where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def device_name(device: str) -> str:
    """The device, with the name of the card if it is a GPU."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None and torch.cuda.is_available():
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return device


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators inside the block and restore them after it (if torch is loaded)."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
