"""The `pathlane` command: each subcommand is in `integrations.commands`.

Exit status: 0 done; 1 the job ended without a reading, or a check failed; 2 refused; 3 not available now;
78 a setting must change; 130 Ctrl-C.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from worker import __version__

#: command -> its module, which is imported when the command is run and not before
_COMMANDS: Final = {
    "up": "fleet",
    "worker": "fleet",
    "gateway": "fleet",
    "listen": "fleet",
    "console": "console",
    "status": "health",
    "doctor": "health",
    "submit": "jobs",
    "show": "jobs",
    "cancel": "jobs",
    "openapi": "openapi",
    "migrate": "admin",
    "replay": "admin",
    "endpoint": "admin",
    "key": "admin",
    "demo": "demo",
    "rules": "rules",
    "shadow": "shadow",
    "archive": "archive",
    "audit": "audit",
}


class Commands(click.Group):
    """Subcommands that cost nothing until they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f"integrations.commands.{_COMMANDS[cmd_name]}"), cmd_name
        )
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pathlane")
def main() -> None:
    """Pathology images in, written and signed readings out. Research use only.

    \b
    pathlane up                      everything on this machine, until Ctrl-C
    pathlane submit tile.png --data .pathlane --question "Which stain is shown?" --wait
    pathlane doctor                  what is missing, and what to do about it
    """
