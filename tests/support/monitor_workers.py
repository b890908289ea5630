"""A worker of the monitoring that is killed: ``python -m tests.support.monitor_workers SETTINGS TOLD``.

It reads one number a line: so many seconds after its start a child, which processes whatever waits, is killed with
SIGKILL. 0 lets it come to its end. It answers with the child's exit status. A child is a fork of a process that has
imported everything, and so works from its first moment on. Alerts that it delivers are lines of the file TOLD.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from flows.alerts import alert_options
from flows.processing import process
from flows.settings import Settings
from ingest.ledger.ledger import Ledger
from outputs.alerting.alerter import Alerter
from outputs.alerting.records import Message

LEASE_S = 2.0


class Told:
    """A channel that is a file."""

    name, title, limited = "file", "file", False

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, message: Message) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{alert.kind} {alert.id} {alert.subject}\n" for alert in message.alerts)


def brisk(settings: Settings) -> Settings:
    """The settings with leases shorter than they may be set."""
    return settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"lease_minutes": LEASE_S / 60})})


def drain(config: str, told: str) -> None:
    """Process until nothing is left."""
    settings = brisk(Settings.read(Path(config)))
    state = settings.prefect.home / "alerts.sqlite"
    state.parent.mkdir(exist_ok=True)
    with Alerter.open(alert_options(settings), state, channels=[Told(Path(told))]) as alerter:
        while True:
            done = process(None, settings, alerter)
            alerter.deliver()
            if done.scene_id is None:
                with Ledger.open(settings.ledger_url()) as ledger:
                    if not ledger.counts()["fetched"]:
                        return
                time.sleep(0.1)


def main(config: str, told: str) -> None:
    """Answer the lines."""
    logging.disable(logging.WARNING)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                drain(config, told)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        if seconds := float(line):
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
