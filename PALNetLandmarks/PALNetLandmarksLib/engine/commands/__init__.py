"""The commands of the command line, one module each.

A module has ``HELP`` (one line), ``add_arguments(parser)`` and ``run(options, console) -> Outcome``. At import it takes
nothing but the standard library, so that ``--help`` answers at once; what a command needs is imported when it runs.
"""

from __future__ import annotations

#: Command names in the order of the help; each is a module of this package.
COMMANDS = ("predict", "batch", "measure", "convert", "verify", "check", "models", "worker")
