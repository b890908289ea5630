"""Alerts from what the monitor says to what a web service receives, with the state between them."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr
from shapely.geometry import MultiPolygon, box

from ingest.areas import Area
from ingest.errors import StorageError
from ingest.retries import RetryPolicy
from outputs.alerting.alerter import Alerter
from outputs.alerting.channels import Log, open_channels
from outputs.alerting.options import AlertOptions
from outputs.alerting.outbox import LEASE
from outputs.alerting.webhook import Webhook
from outputs.attributes import slick_table

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AREA = Area("north", box(0, 50, 10, 60))
QUICK = RetryPolicy(attempts=3, seconds=30.0, first_wait=0.001, longest_wait=0.001)
KEY = "k3y-of-the-test"


class Receiver(ThreadingHTTPServer):
    """A web service that keeps what it is posted and answers by a script, then 200.

    A step of the script is a status with headers, or "hang": no answer until the test is over.
    """

    daemon_threads = True

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.posts = list(script), []
        self.before_answer = lambda: None
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, path="/hook/t0ken-in-the-path"):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def contents(self):
        return [json.loads(body) for _, body in self.posts]

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        step = server.script.pop(0) if server.script else (200, {})
        server.posts.append((self.headers, body))
        server.before_answer()
        if step == "hang":
            server.over.wait(60)
            return
        status, headers = step
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Clock:
    """A time that only the test moves."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def pass_(self, **units):
        self.now += timedelta(**units)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def receiver():
    with Receiver() as server:
        yield server


@pytest.fixture
def opened(tmp_path, clock):
    """Open an alerter on the test's state file, with webhooks that hardly wait between attempts, or else the log."""
    alerters = []

    def open_(*urls, secret=None, timeout_s=5.0, **options):
        hooks = [Webhook(url, secret, timeout_s, retries=QUICK) for url in urls] or [Log()]
        chosen = AlertOptions(**{"minimum_confidence": 0.5, **options})
        alerters.append(Alerter.open(chosen, tmp_path / "alerts.sqlite", channels=hooks, clock=clock))
        return alerters[-1]

    yield open_
    for alerter in alerters:
        alerter.close()


def slicks(count, prefix="slick"):
    rows = [
        {
            "id": f"{prefix}-{i:03}",
            "class": "oil",
            "status": "unreviewed",
            "area_m2": 1e6 * (i + 1),
            "confidence_mean": 0.9,
        }
        for i in range(count)
    ]
    return slick_table(rows, [MultiPolygon([box(5, 55, 5.1, 55.1)])] * count)


def see(alerter, count=1, scene="scene-1", watch="gulf"):
    return alerter.report_slicks(slicks(count, f"{scene}-slick"), watch, AREA, scene, "saross-1")


def test_five_hundred_slicks_of_a_scene_are_one_message(opened, receiver):
    alerter = opened(receiver.url())
    assert len(see(alerter, 500)) == 500
    delivery = alerter.deliver()
    assert [sent.alerts for sent in delivery.sent] == [500]
    (content,) = receiver.contents()
    assert content["counts"]["detection"] == 500
    assert content["alerts"][0]["sighting"]["area_km2"] == 500.0
    assert len(content["alerts"]) + content["omitted"] == 500


def test_a_flood_of_scenes_is_one_message(opened, receiver):
    alerter = opened(receiver.url(), rate_count=3)
    for i in range(50):
        see(alerter, 10, scene=f"scene-{i}")
    alerter.report_failure("scene-x", "no orbit file")
    alerter.deliver()
    (content,) = receiver.contents()
    assert content["title"] == "501 alerts: 500 slicks, 1 failure"
    assert alerter.deliver().sent == ()


def test_no_more_messages_than_allowed_and_none_lost(opened, receiver, clock):
    alerter = opened(receiver.url(), rate_count=2, rate_minutes=60)
    arrived = []
    for minute in range(0, 180, 10):
        see(alerter, scene=f"scene-{minute}")
        arrived += [clock.now] * len(alerter.deliver().sent)
        clock.pass_(minutes=10)
    for end in arrived:
        assert sum(end - timedelta(minutes=60) < at <= end for at in arrived) <= 2
    clock.pass_(minutes=60)
    alerter.deliver()
    told = [alert["id"] for content in receiver.contents() for alert in content["alerts"]]
    assert len(told) == len(set(told)) == 18


def test_scenes_within_the_rate_have_a_message_each(opened, receiver):
    alerter = opened(receiver.url(), rate_count=3)
    for i in range(3):
        see(alerter, 2, scene=f"scene-{i}")
    alerter.deliver()
    assert [content["counts"]["detection"] for content in receiver.contents()] == [2, 2, 2]


def test_the_same_detection_is_told_once(opened, receiver, clock):
    alerter = opened(receiver.url())
    see(alerter, 2)
    alerter.deliver()
    clock.pass_(days=30)
    assert see(alerter, 2) == ()
    assert [alert.subject for alert in see(alerter, 3)] == ["scene-1-slick-002"]
    alerter.deliver()
    assert [content["counts"]["detection"] for content in receiver.contents()] == [2, 1]


def test_the_message_is_signed_over_time_and_body(opened, receiver):
    alerter = opened(receiver.url(), secret=SecretStr(KEY))
    see(alerter)
    alerter.deliver()
    ((headers, body),) = receiver.posts
    stamp, digest = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["X-Slickwatch-Signature"]).groups()
    assert hmac.new(KEY.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest() == digest
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == json.loads(body)["id"]


@pytest.mark.parametrize(
    "script", [[(500, {}), (500, {})], [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"})]], ids=["500", "429"]
)
def test_what_passes_is_tried_retry_at_once(opened, script):
    with Receiver(*script) as server:
        alerter = opened(server.url())
        see(alerter)
        delivery = alerter.deliver()
        assert (len(delivery.sent), delivery.failed) == (1, ())
        assert len({body for _, body in server.posts}) == 1
        assert len(server.posts) == 3


def test_a_service_that_asks_for_time_is_given_it(opened, clock):
    with Receiver((429, {"Retry-After": "1800"})) as server:
        alerter = opened(server.url())
        see(alerter)
        (failed,) = alerter.deliver().failed
        assert failed.retry_at == START + timedelta(seconds=1800)
        clock.pass_(seconds=1799)
        assert alerter.deliver().sent == ()
        clock.pass_(seconds=1)
        assert len(alerter.deliver().sent) == 1


def test_a_service_that_hangs_stops_no_other_and_gets_the_same_message_later(opened, receiver, clock):
    with Receiver("hang", "hang", "hang") as hanging:
        alerter = opened(hanging.url(), receiver.url(), timeout_s=0.2)
        see(alerter)
        delivery = alerter.deliver()
        assert "no answer in time" in delivery.failed[0].reason
        assert len(delivery.sent) == len(receiver.posts) == 1
        see(alerter, scene="scene-2")  # comes later, and must not change what may have arrived
        clock.pass_(minutes=2)
        assert len(alerter.deliver().sent) == 3
        keys = [headers["Idempotency-Key"] for headers, _ in hanging.posts]
        assert keys[:4] == [keys[0]] * 4 != keys[4]
        assert len({body for _, body in hanging.posts[:4]}) == 1


def test_what_was_refused_goes_out_with_what_came_after(opened, clock):
    with Receiver((401, {})) as server:
        alerter = opened(server.url(), rate_count=1)
        see(alerter)
        (failed,) = alerter.deliver().failed
        assert "401" in failed.reason
        see(alerter, scene="scene-2")
        assert alerter.deliver().sent == ()  # the service is left in peace for a while
        clock.pass_(minutes=2)
        alerter.deliver()
        assert [content["counts"]["detection"] for content in server.contents()] == [1, 2]


def test_a_redirect_is_not_followed(opened, receiver):
    with Receiver((307, {"Location": receiver.url("/elsewhere")})) as server:
        alerter = opened(server.url())
        see(alerter)
        (failed,) = alerter.deliver().failed
    assert "redirects are not followed" in failed.reason
    assert receiver.posts == []


def test_nobody_there_is_a_failure_of_one_line(opened, receiver):
    with Receiver() as gone:
        url = gone.url()
    alerter = opened(url, receiver.url())
    see(alerter)
    delivery = alerter.deliver()
    assert re.fullmatch(r"webhook at 127\.0\.0\.1: the connection failed \(connect error\)", delivery.failed[0].reason)
    assert len(delivery.sent) == 1


def test_no_secret_is_logged(opened, caplog):
    caplog.set_level(logging.DEBUG)
    with Receiver((401, {})) as server:
        alerter = opened(server.url(), secret=SecretStr(KEY))
        see(alerter)
        delivery = alerter.deliver()
    assert "not delivered" in caplog.text
    for secret in ("t0ken-in-the-path", KEY):
        assert secret not in caplog.text + repr(delivery)


def test_a_mistake_in_one_channel_does_not_stop_the_next(tmp_path, receiver, clock):
    class Mistaken:
        name = title = "mistaken"
        limited = True

        def send(self, message):
            raise KeyError("mistake")

    channels = [Mistaken(), Webhook(receiver.url(), None, 5.0)]
    with Alerter.open(AlertOptions(), tmp_path / "alerts.sqlite", channels=channels, clock=clock) as alerter:
        see(alerter)
        delivery = alerter.deliver()
        assert ([f.channel for f in delivery.failed], len(delivery.sent)) == (["mistaken"], 1)
        assert delivery.waiting == {"mistaken": 1}


def test_waiting_alerts_outlive_the_process(opened, receiver):
    see(opened(receiver.url()), 3)
    opened(receiver.url()).deliver()
    assert receiver.contents()[0]["counts"]["detection"] == 3


_KILLED = """
import sys
from outputs.alerting.alerter import Alerter
from outputs.alerting.options import AlertOptions
from outputs.alerting.webhook import Webhook
with Alerter.open(AlertOptions(), sys.argv[1], channels=[Webhook(sys.argv[2], None, 20.0)]) as alerter:
    alerter.report_failure("scene-1", "no orbit file")
    print("ready", flush=True)
    alerter.deliver()
"""


def test_killed_between_delivery_and_record_it_is_sent_again_under_the_same_key(tmp_path, receiver):
    state = tmp_path / "alerts.sqlite"
    command = [sys.executable, "-c", _KILLED, str(state), receiver.url()]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        receiver.before_answer = lambda: os.kill(child.pid, signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    receiver.before_answer = lambda: None
    hook = Webhook(receiver.url(), None, 5.0)
    now = datetime.now(UTC)
    with Alerter.open(AlertOptions(), state, channels=[hook], clock=lambda: now) as alerter:
        assert alerter.deliver().sent == ()  # it might still be alive
    with Alerter.open(AlertOptions(), state, channels=[hook], clock=lambda: now + LEASE) as alerter:
        assert len(alerter.deliver().sent) == 1
        assert alerter.deliver().sent == ()
    (first, body), (again, same) = receiver.posts
    assert first["Idempotency-Key"] == again["Idempotency-Key"]
    assert body == same


def test_several_at_once_deliver_each_message_once(opened, receiver):
    alerters = [opened(receiver.url(), rate_count=20) for _ in range(4)]
    for i in range(8):
        see(alerters[0], scene=f"scene-{i}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda alerter: alerter.deliver(), alerters))
    alerters[0].deliver()
    keys = [headers["Idempotency-Key"] for headers, _ in receiver.posts]
    assert len(keys) == len(set(keys)) == 8


def test_silence_is_told_again_only_after_a_day_and_its_end_once(opened, clock):
    alerter = opened(silence_hours=48, idle_hours=None, repeat_hours=24)
    last, told = START - timedelta(hours=40), []
    for hour in range(0, 70, 2):
        clock.now = START + timedelta(hours=hour)
        told += [(hour, alert.kind) for alert in alerter.check_silence(clock.now, {"gulf": last}, None)]
    # 48 hours after the last scene, then each day.
    assert told == [(8, "silence"), (32, "silence"), (56, "silence")]
    (clear,) = alerter.check_silence(clock.now, {"gulf": clock.now}, None)
    assert clear.kind == "all-clear"
    assert "2026-02-27 20:00:00 UTC" in clear.reason
    assert alerter.check_silence(clock.now, {"gulf": clock.now}, None) == ()
    clock.pass_(hours=49)
    (again,) = alerter.check_silence(clock.now, {"gulf": clock.now - timedelta(hours=49)}, None)
    assert again.kind == "silence"


def test_each_watch_and_the_runs_have_hours_of_their_own(opened, clock):
    alerter = opened(silence_hours=48, silence_hours_by_watch={"rare": 300.0}, idle_hours=6, all_clear=False)
    ago = {hours: START - timedelta(hours=hours) for hours in (5, 6, 47, 100)}
    alerts = alerter.check_silence(START, {"gulf": ago[100], "rare": ago[100], "busy": ago[47]}, ago[6])
    assert {(alert.subject, alert.watch) for alert in alerts} == {("watch gulf", "gulf"), ("monitoring", None)}
    assert "no new scene for 100 hours (limit 48)" in alerts[0].reason
    assert alerter.check_silence(START, {"gulf": START}, START) == ()


def test_where_there_was_never_a_scene_the_wait_begins_with_the_first_look(opened, clock):
    alerter = opened(silence_hours=48, idle_hours=6)
    assert alerter.check_silence(START, {"gulf": None}, None) == ()
    later = START + timedelta(hours=48)
    assert {alert.subject for alert in alerter.check_silence(later, {"gulf": None}, None)} == {
        "watch gulf",
        "monitoring",
    }


def test_a_failure_is_told_again_when_it_lasts_and_when_it_is_another(opened, clock):
    alerter = opened(repeat_hours=24)

    def told(reason="no space", **more):
        return len(alerter.report_failure("scene-1", reason, kind="scene", **more))

    assert [told(), told(), told("no orbit")] == [1, 0, 1]
    clock.pass_(hours=24)
    assert [told(), told()] == [1, 0]
    assert [told(occurrence="run-1"), told(occurrence="run-1"), told(occurrence="run-2")] == [1, 0, 1]


def test_the_log_is_always_there_and_knows_no_limit(tmp_path, caplog, clock, monkeypatch):
    monkeypatch.delenv("SLICKWATCH_WEBHOOK_SECRET", raising=False)
    options = AlertOptions(rate_count=1)
    channels = open_channels(options, lambda: None)
    assert [channel.name for channel in channels] == ["log"]
    with Alerter.open(options, tmp_path / "deep" / "alerts.sqlite", channels=channels, clock=clock) as alerter:
        for i in range(3):
            see(alerter, scene=f"scene-{i}")
        alerter.report_failure("flow\nnext", "no\nreason", kind="flow")
        assert len(alerter.deliver().sent) == 4
    levels = [record.levelno for record in caplog.records if record.name == "outputs.alerting.channels"]
    assert levels == [logging.WARNING] * 3 + [logging.ERROR]
    assert "Flow failed: flow next" in caplog.text


def test_channels_are_those_of_the_options():
    options = AlertOptions(
        webhooks=("https://a.example/s3cret", "https://b.example/x", "https://a.example/s3cret"),
        smtp_host="mail.example",
        sender="a@b.example",
        recipients=("c@d.example",),
    )
    channels = open_channels(options, lambda: None)
    assert [c.title for c in channels] == [
        "log",
        "webhook at a.example",
        "webhook at b.example",
        "mail via mail.example",
    ]
    assert isinstance(channels[0], Log)
    assert len({channel.name for channel in channels}) == 4
    assert not any("s3cret" in channel.name for channel in channels)


def test_a_state_that_cannot_be_kept_leaves_the_alert_in_the_log(tmp_path, caplog):
    path = tmp_path / "alerts.sqlite"
    with Alerter.open(AlertOptions(), path, channels=[Log()]) as alerter:
        alerter.close()
        for file in tmp_path.glob("alerts.sqlite*"):
            file.unlink()
        path.write_bytes(b"something else, and long enough not to be taken for a short file" * 20)
        with pytest.raises(StorageError, match=r"alerts\.sqlite"):
            alerter.report_failure("scene-1", "no orbit file", kind="scene")
    assert "alert not saved for delivery: Scene failed: scene-1 (no orbit file)" in caplog.text


def test_the_state_of_a_newer_program_is_refused(tmp_path, opened):
    import sqlite3

    opened().close()
    with sqlite3.connect(tmp_path / "alerts.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="newer"):
        opened()
