"""Alerts by e-mail, through a real mail server on loopback, with encryption and log-in."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from html.parser import HTMLParser
from ipaddress import ip_address

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from shapely.geometry import MultiPolygon, box

from ingest.areas import Area
from ingest.credentials import Credentials, find_credentials
from ingest.errors import SourceError, TransientError, UsageError
from ingest.retries import RetryPolicy
from outputs.alerting import rules
from outputs.alerting.alerter import Alerter
from outputs.alerting.channels import open_channels
from outputs.alerting.mail import Mail
from outputs.alerting.options import AlertOptions
from outputs.alerting.records import Message
from outputs.attributes import slick_table

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCENE = "S1A_IW_GRDH_1SDV_20260301T031653_20260301T031718_036201_043ED0_8255"
USER, PASSWORD = "watcher", "pass-word-of-the-test"
QUICK = RetryPolicy(attempts=3, seconds=30.0, first_wait=0.001, longest_wait=0.001)


class Postman:
    """What the mail server does with letters: it refuses by a script, then keeps them."""

    def __init__(self):
        self.answers, self.envelopes, self.recipients_refused = [], [], {}

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.recipients_refused:
            return self.recipients_refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answers:
            return self.answers.pop(0)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content, session.ssl is not None))
        return "250 OK"

    def letters(self):
        return [message_from_bytes(content, policy=policy.default) for _, _, content, _ in self.envelopes]


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail server of the test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(plain + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def serve(certificate):
    """Start a mail server, with STARTTLS and log-in unless `plain`; returns its port and its postman."""
    with ExitStack() as stack:

        def start(plain=False):
            postman, parameters = Postman(), {}
            if not plain:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                parameters = {
                    "tls_context": context,
                    "require_starttls": True,
                    "auth_required": True,
                    "authenticator": lambda server, session, envelope, mechanism, given: AuthResult(
                        success=(given.login, given.password) == (USER.encode(), PASSWORD.encode()), handled=False
                    ),
                }
            controller = Controller(postman, hostname="127.0.0.1", port=free_port(), **parameters)
            controller.start()
            stack.callback(controller.stop)
            return controller.port, postman

        yield start


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def options(port, **more):
    return AlertOptions(
        **{
            "smtp_host": "127.0.0.1",
            "smtp_port": port,
            "sender": "Slickwatch Nordsee <watch@sea.example>",
            "recipients": ("Zoë Ölwehr <zoe@coast.example>", "duty@coast.example"),
            "link_template": "https://map.example/{scene_id}?slick={slick_id}",
            "timeout_s": 10.0,
            **more,
        }
    )


LOGIN = Credentials(USER, SecretStr(PASSWORD))


def mail(port, credentials=LOGIN, **more):
    return Mail(options(port, **more), credentials, retries=QUICK)


def slicks():
    common = {
        "class": "oil",
        "status": "unreviewed",
        "length_m": 8412.0,
        "confidence_mean": 0.913,
        "confidence_level": "High",
        "acquired_start": datetime(2026, 3, 1, 3, 16, 53, tzinfo=UTC),
        "centroid_lon": 3.456789,
        "centroid_lat": 58.123456,
    }
    rows = [{**common, "id": f"{i:x}f3a9c", "area_m2": 12.34e6 / (i + 1)} for i in range(2)]
    return slick_table(rows, [MultiPolygon([box(3.4, 58.1, 3.5, 58.2)])] * 2)


def message(port=0):
    area = Area("Ölfeld Süd", box(0, 50, 10, 60))
    found = rules.detections(slicks(), "nordsee", (area,), options(port), NOW, scene_id=SCENE, model_id="saross-1")
    return Message("0" * 32, NOW, tuple(found))


def test_a_letter_reads_well_in_text_and_html(serve, trusted):
    port, postman = serve()
    mail(port).send(message(port))
    ((sender, recipients, content, encrypted),) = postman.envelopes
    assert (sender, recipients) == ("watch@sea.example", ["zoe@coast.example", "duty@coast.example"])
    assert encrypted
    assert content.isascii()  # whatever servers are on the way
    (letter,) = postman.letters()
    assert letter["Subject"] == "[Slickwatch] 2 oil slicks in watch nordsee, largest 12.3 km2"
    assert letter["From"] == "Slickwatch Nordsee <watch@sea.example>"
    assert letter["To"].addresses[0].display_name == "Zoë Ölwehr"
    assert letter["Message-ID"] == f"<{'0' * 32}@sea.example>"
    assert letter["Date"].datetime == NOW
    text = letter.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert text == EXPECTED
    shown = _Text()
    shown.feed(letter.get_body(("html",)).get_content())
    for line in EXPECTED.split("\n"):
        words = line.split()
        assert all(word.rstrip(".") in shown.text for word in words), line
    assert shown.links == [f"https://map.example/{SCENE}?slick={i}f3a9c" for i in range(2)]


EXPECTED = f"""\
2 oil slicks in watch nordsee (1 scene):

1. 12.34 km2, 8.4 km long, at 58.1235 N, 3.4568 E
   area       Ölfeld Süd
   acquired   2026-03-01 03:16:53 UTC
   confidence 0.91 (High)
   slick      0f3a9c
   scene      {SCENE}
   model      saross-1
   link       https://map.example/{SCENE}?slick=0f3a9c

2. 6.17 km2, 8.4 km long, at 58.1235 N, 3.4568 E
   area       Ölfeld Süd
   acquired   2026-03-01 03:16:53 UTC
   confidence 0.91 (High)
   slick      1f3a9c
   scene      {SCENE}
   model      saross-1
   link       https://map.example/{SCENE}?slick=1f3a9c
"""


class _Text(HTMLParser):
    """What a reader sees of a page, and where its links lead."""

    def __init__(self):
        super().__init__()
        self.text, self.links = "1. 2. ", []

    def handle_data(self, data):
        self.text += data + " "

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.links.append(dict(attrs)["href"])


def reported(port, path, **more):
    return Mail(options(port, **more), LOGIN, lambda scene_id: path if scene_id == SCENE else None, retries=QUICK)


def test_the_report_of_the_scene_goes_with_the_letter(serve, trusted, tmp_path):
    port, postman = serve()
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4\n" + bytes(range(256)) * 400)
    reported(port, tmp_path / "report.pdf").send(message(port))
    (letter,) = postman.letters()
    (attached,) = letter.iter_attachments()
    assert attached.get_content_type() == "application/pdf"
    assert attached.get_filename() == f"{SCENE}.pdf"
    assert attached.get_content() == (tmp_path / "report.pdf").read_bytes()
    text = letter.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert text == f"{EXPECTED}\nAttached: {SCENE}.pdf\n"
    assert f"Attached: {SCENE}.pdf" in letter.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    ("size", "limit", "told"),
    [
        (300_000, 0.25, f"The report of {SCENE} is not attached (0.3 MB); it is in the results of the scene."),
        (None, 5.0, f"The report of {SCENE} is not there any more."),
        (300_000, 0.0, None),
    ],
)
def test_a_letter_without_the_report_says_why(serve, trusted, tmp_path, size, limit, told):
    port, postman = serve()
    if size is not None:
        (tmp_path / "report.pdf").write_bytes(bytes(size))
    reported(port, tmp_path / "report.pdf", attach_mb=limit).send(message(port))
    (letter,) = postman.letters()
    assert list(letter.iter_attachments()) == []
    text = letter.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert text == (EXPECTED if told is None else f"{EXPECTED}\n{told}\n")


def test_nothing_that_is_alerted_becomes_a_header(serve, trusted):
    port, postman = serve()
    spiteful = "scene\r\nBcc: thief@evil.example\r\n\r\nbody\u2028X-Evil: 1\x00"
    alert = rules.failure(spiteful, "x\r\n.\r\nMAIL FROM:<thief@evil.example>", "scene", "", NOW)
    mail(port).send(Message("1" * 32, NOW, (alert,)))
    (letter,) = postman.letters()
    assert letter["Bcc"] is None
    assert letter["X-Evil"] is None
    assert letter["Subject"].strip() == "[Slickwatch] Scene failed: scene Bcc: thief@evil.example body X-Evil: 1"
    assert postman.envelopes[0][1] == ["zoe@coast.example", "duty@coast.example"]
    assert "reason     x . MAIL FROM:<thief@evil.example>" in letter.get_body(("plain",)).get_content()


def test_an_unknown_certificate_is_refused_before_the_password_is_sent(serve):
    port, postman = serve()
    with pytest.raises(SourceError, match="untrusted certificate"):
        mail(port).send(message())
    assert postman.envelopes == []


def test_without_starttls_nothing_is_sent_where_it_is_wanted(serve):
    port, postman = serve(plain=True)
    with pytest.raises(SourceError, match="does not support STARTTLS"):
        mail(port).send(message())
    assert postman.envelopes == []


def test_a_plain_server_on_this_machine_will_do_where_it_is_chosen(serve):
    port, postman = serve(plain=True)
    mail(port, credentials=None, smtp_starttls=False).send(message())
    assert [encrypted for *_, encrypted in postman.envelopes] == [False]


def test_a_password_never_goes_unencrypted_to_another_machine():
    with pytest.raises(UsageError, match="smtp_starttls is off") as refused:
        mail(25, smtp_host="mail.example", smtp_starttls=False)
    assert PASSWORD not in str(refused.value)


def test_a_wrong_password_is_told_without_it(serve, trusted):
    port, _ = serve()
    wrong = "another-pass-word"
    with pytest.raises(SourceError, match=r"login rejected \(SMTP 535\)") as refused:
        mail(port, Credentials(USER, SecretStr(wrong))).send(message())
    assert wrong not in str(refused.value)


def test_what_passes_is_tried_again_under_the_same_id(serve, trusted):
    port, postman = serve()
    postman.answers = ["451 try later", "421 too busy"]
    mail(port).send(message())
    assert [letter["Message-ID"] for letter in postman.letters()] == [f"<{'0' * 32}@sea.example>"]


def test_what_does_not_pass_is_not_tried_again(serve, trusted):
    port, postman = serve()
    postman.answers = ["554 no", "554 no"]
    with pytest.raises(SourceError, match="SMTP 554"):
        mail(port).send(message())
    assert len(postman.answers) == 1


def test_one_refused_recipient_does_not_keep_it_from_the_others(serve, trusted):
    port, postman = serve()
    postman.recipients_refused = {"zoe@coast.example": "550 gone"}
    mail(port).send(message())
    assert postman.envelopes[0][1] == ["duty@coast.example"]
    postman.recipients_refused["duty@coast.example"] = "550 gone"
    with pytest.raises(SourceError, match="all recipients rejected"):
        mail(port).send(message())


def test_nobody_there_may_pass():
    with pytest.raises(TransientError, match=r"mail via 127\.0\.0\.1: the connection failed"):
        mail(free_port()).send(message())


def test_mail_by_the_settings_and_the_environment(serve, trusted, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SLICKWATCH_SMTP_USERNAME", USER)
    monkeypatch.setenv("SLICKWATCH_SMTP_PASSWORD", PASSWORD)
    port, postman = serve()
    given = options(port)
    channels = open_channels(given, lambda: find_credentials("smtp"))
    with Alerter.open(given, tmp_path / "alerts.sqlite", channels=channels) as alerter:
        alerter.report_slicks(slicks(), "nordsee", None, SCENE, "saross-1")
        assert [sent.channel for sent in alerter.deliver().sent] == ["log", "mail via 127.0.0.1"]
    assert len(postman.envelopes) == 1
    assert PASSWORD not in caplog.text
