"""Lives of `dying_client`, in which the server is killed too: at a step of the client's, or after its end.

A line of standard input is a life; when it is over a line is printed.

    python dying_pair.py TARGET DIRECTORY
    LIFE POLICY LAST_STEP SERVER_PID SERVER_STEP CUSTOMER

At a SERVER_STEP that never comes the server is killed after the client.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path

from dying_client import JOURNAL, NOTES, WASTES_NOTHING, Steps, live, watch

from ledger.client import Credits

SESSIONS = 100
"""More than a life has."""
CALL_SECONDS = 1.0
"""Most calls of a life are made while nobody answers: they are not to take long."""


class StepsOfTwo(Steps):
    """The steps of one life, at one of which the server ends."""

    def __init__(self, last: int, notes: int, server: int, server_step: int) -> None:
        super().__init__(last, notes)
        self._server = server
        self._steps_left = server_step

    def step(self, name: str) -> None:
        """A step that may be the server's last one, or the last of both."""
        self._steps_left -= 1
        if not self._steps_left:
            os.kill(self._server, signal.SIGKILL)
        super().step(name)


def main() -> None:
    """A child for each life, one after the other."""
    target, directory = sys.argv[1], Path(sys.argv[2])
    notes = os.open(directory / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for line in sys.stdin:
        life, policy, last, server, server_step, customer = line.split()
        child = os.fork()
        if not child:
            steps = StepsOfTwo(int(last), notes, int(server), int(server_step))
            watch(steps)
            credits = Credits(
                target, timeout_seconds=CALL_SECONDS, on_outage=policy, journal=directory / JOURNAL
            )
            credits._limits = WASTES_NOTHING
            # Without an end: where nobody answers a session has few steps.
            asyncio.run(live(credits, customer, count(int(life) * SESSIONS), steps))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if int(server_step) > int(last):
            os.kill(int(server), signal.SIGKILL)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
