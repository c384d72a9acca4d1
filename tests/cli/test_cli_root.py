"""The command as a whole: what it lists, what it loads, how it refuses."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = ["serve", "demo", "watch", "submit", "follow", "operations", "changed", "check", "version"]


def test_help_lists_all_commands(restive):
    done = restive("--help")
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == COMMANDS


def test_each_command_has_help(restive):
    for command in COMMANDS:
        done = restive(command, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"Usage: restive {command}")


def test_an_unknown_command_is_a_usage_error(restive):
    done = restive("wacth")
    assert done.returncode == 2
    assert "No such command 'wacth'" in done.stderr


def test_version_names_what_a_bug_report_needs(restive):
    done = restive("version")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()][:4] == [
        "restive",
        "python",
        "starlette",
        "fastapi",
    ]


def test_help_loads_neither_server_nor_client():
    code = (
        "import sys\n"
        "from restive.cli.root import restive\n"
        "restive(['--help'], standalone_mode=False)\n"
        "print(sorted({'uvicorn', 'httpx2', 'websockets', 'fastapi', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_click_it_says_what_to_install():
    code = "import sys; sys.modules['click'] = None\nfrom restive.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == 'restive: the command line needs click: pip install "restive[cli]"'


def test_a_missing_extra_is_one_line(restive, tmp_path):
    code = (
        "import sys; sys.modules['httpx2'] = None; sys.argv[1:] = ['watch', 'localhost']\n"
        "from restive.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert "restive[client]" in done.stderr
    assert "Traceback" not in done.stderr
