"""The `pathlane` command: each subcommand is in `integrations.commands`.

Exit status: 0 done; 1 the job ended without a reading, or a check failed; 2 refused; 3 not available now;
78 a setting must change; 130 Ctrl-C.
"""

from __future__ import annotations

import click

from integrations.commands import admin, demo, fleet, jobs
from worker import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pathlane")
def main() -> None:
    """Pathology images in, written and signed readings out. Research use only.

    \b
    pathlane up                      everything on this machine, until Ctrl-C
    pathlane submit tile.png --data .pathlane --question "Which stain is shown?" --wait
    pathlane doctor                  what is missing, and what to do about it
    """


for module in (fleet, jobs, admin, demo):
    for command in module.COMMANDS:
        main.add_command(command)
