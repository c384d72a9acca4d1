"""Builds the one optional part in C (src/restive/hub/_fanout.c), where there is a compiler.

RESTIVE_PURE=1 leaves it out.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HUB = "src/restive/hub"
LIBRARY = f"{HUB}/_fanout.abi3.so"


class FanoutHook(BuildHookInterface[Any]):
    """Runs before the wheel is put together, for an editable install too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, and say for which platform the wheel is then."""
        root = Path(self.root)
        (root / LIBRARY).unlink(missing_ok=True)
        if os.name != "posix" or os.environ.get("RESTIVE_PURE"):
            return
        try:
            self._compile(root)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"Without the push loop in C, which is optional: {error}")
            return
        if version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["artifacts"].append(LIBRARY)

    def _compile(self, root: Path) -> None:
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        flags = ["-O2", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}"]
        if sys.platform == "darwin":
            flags += ["-undefined", "dynamic_lookup"]
        # Beside its name, so that a process which has it loaded keeps what it has.
        made = root / f"{LIBRARY}.{os.getpid()}"
        command = [*compiler, *flags, str(root / HUB / "_fanout.c"), "-o", str(made)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            made.replace(root / LIBRARY)
        finally:
            made.unlink(missing_ok=True)
