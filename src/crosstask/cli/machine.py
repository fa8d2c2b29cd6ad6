"""How busy the machine is: processors, memory, GPUs; what cannot be asked is left out."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosstask.processes import cores

_GPU_FIELDS = ("name", "utilization.gpu", "memory.used", "memory.total")


@dataclass(frozen=True)
class Load:
    """How busy the machine is.

    Attributes:
        cores: that this process may use.
        load: processes that ran or waited over the last minute, on average; None where the system does not say.
        memory: bytes in use, and of all; None likewise.
        gpus: name, share of the time busy (percent), memory in use and of all (MiB), one each.
    """

    cores: int
    load: float | None
    memory: tuple[int, int] | None
    gpus: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All of it."""
        used, whole = self.memory or (None, None)
        return {
            "cores": self.cores,
            "load": self.load,
            "memory_used": used,
            "memory_total": whole,
            "gpus": list(self.gpus),
        }

    def __str__(self) -> str:
        parts = [f"load {self.load:.1f} on {self.cores} cores"] if self.load is not None else [f"{self.cores} cores"]
        if self.memory is not None:
            used, whole = (number / 2**30 for number in self.memory)
            parts.append(f"memory {used:.1f} of {whole:.1f} GiB")
        for gpu in self.gpus:
            used, whole = gpu["memory_used"] / 1024, gpu["memory_total"] / 1024
            parts.append(f"{gpu['name']} {gpu['utilization']:.0f} %, {used:.1f} of {whole:.1f} GiB")
        return ", ".join(parts)


def load_now() -> Load:
    """How busy the machine is now."""
    load = None
    with contextlib.suppress(OSError, AttributeError):  # Windows has none
        load = os.getloadavg()[0]
    return Load(cores(), load, memory_in_use(), tuple(_gpus()))


def memory_in_use() -> tuple[int, int] | None:
    """Bytes in use, and of all; None where the system does not say."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        whole = kilobytes["MemTotal"] * 1024
        return whole - kilobytes["MemAvailable"] * 1024, whole
    return None


def _gpus() -> list[dict[str, Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        rows = [[part.strip() for part in line.split(",")] for line in said.splitlines() if line.strip()]
        return [
            {
                "name": name,
                "utilization": float(busy),
                "memory_used": float(used),
                "memory_total": float(whole),
            }
            for name, busy, used, whole in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
