"""Alerts by e-mail: text and HTML in UTF-8, by SMTP with STARTTLS and login."""

from __future__ import annotations

import hashlib
import html
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

from ingest.credentials import Credentials
from ingest.errors import SourceError, TransientError, UsageError
from ingest.retries import RetryPolicy, retrying
from ingest.sources.http import is_loopback
from outputs.alerting.options import AlertOptions, mailbox
from outputs.alerting.records import Message
from outputs.alerting.render import page, text, title
from outputs.alerting.webhook import RETRIES

ReportOf = Callable[[str], Path | None]  # the PDF of a scene by the scene's id
_MOST_REPORTS = 5  # of one letter


class Mail:
    """A channel that sends each message as one e-mail to all recipients; errors show only the server.

    Raises `UsageError` where a password would be sent unencrypted to another machine.
    """

    limited = True

    def __init__(
        self,
        options: AlertOptions,
        credentials: Credentials | None,
        report_of: ReportOf | None = None,
        *,
        retries: RetryPolicy = RETRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        assert options.smtp_host is not None
        assert options.sender is not None
        if credentials and not options.smtp_starttls and not is_loopback(options.smtp_host):
            problem = "a password is set but smtp_starttls is off"
            raise UsageError("alerts: mail", problem, "turn on smtp_starttls, or remove the password")
        self._options, self._credentials, self._host = options, credentials, options.smtp_host
        self._sender = mailbox(options.sender)
        self._report_of = report_of or (lambda scene_id: None)
        self._retries, self._sleep = retries, sleep
        self.title = f"mail via {options.smtp_host}"
        recipients = "\n".join(sorted(options.recipients))
        self.name = f"mail {hashlib.sha256(recipients.encode()).hexdigest()[:12]}"

    def send(self, message: Message) -> None:
        """Send a message; retry temporary failures; raises `TransientError`, `SourceError`."""
        letter = self.letter(message)
        for attempt in retrying(self._retries, self._sleep):
            with attempt, smtp_failures(self.title):
                self._submit(letter)

    def letter(self, message: Message) -> EmailMessage:
        """The e-mail of a message, with a Message-ID and Date that never change."""
        letter = EmailMessage(policy=SMTP)
        letter["Subject"] = f"[Slickwatch] {title(message)}"
        letter["From"] = self._sender
        letter["To"] = [mailbox(recipient) for recipient in self._options.recipients]
        letter["Date"] = format_datetime(message.composed_at)
        letter["Message-ID"] = f"<{message.id}@{self._sender.domain}>"
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        reports, remarks = self._reports(message)
        written, shown = text(message), page(message)
        if remarks:
            written = "\n".join([written, *remarks, ""])
            lines = "".join(f"<p>{html.escape(remark)}</p>" for remark in remarks)
            shown = shown.replace("</body>", f"{lines}</body>")
        letter.set_content(written, cte="quoted-printable")
        letter.add_alternative(shown, subtype="html", cte="quoted-printable")
        for name, content in reports:
            letter.add_attachment(content, maintype="application", subtype="pdf", filename=name)
        return letter

    def _reports(self, message: Message) -> tuple[list[tuple[str, bytes]], list[str]]:
        """The reports that go with a message, name and content, and a remark on each that does not or is gone."""
        scenes = dict.fromkeys(alert.detection.scene_id for alert in message.alerts if alert.detection)
        files: list[tuple[str, bytes]] = []
        remarks: list[str] = []
        room = self._options.attach_mb * 1e6
        for scene in scenes if room else ():
            path = self._report_of(scene)
            if path is None:
                continue
            try:
                content = path.read_bytes()
            except OSError:
                remarks.append(f"The report of {scene} is not there any more.")
                continue
            if len(content) > room or len(files) == _MOST_REPORTS:
                why = f"{len(content) / 1e6:.1f} MB" if len(content) > room else f"only {_MOST_REPORTS} are attached"
                remarks.append(f"The report of {scene} is not attached ({why}); it is in the results of the scene.")
            else:
                room -= len(content)
                files.append((f"{scene}.pdf", content))
        return files, [f"Attached: {name}" for name, _ in files] + remarks

    def _submit(self, letter: EmailMessage) -> None:
        with smtplib.SMTP(self._host, self._options.smtp_port, timeout=self._options.timeout_s) as server:
            if self._options.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if self._credentials:
                server.login(self._credentials.user, self._credentials.secret.get_secret_value())
            server.send_message(letter)


@contextmanager
def smtp_failures(subject: str) -> Iterator[None]:
    """Turn failures of the mail server into `TransientError`, or `SourceError` where it rejects the message.

    Only the code is reported: the server's text may quote addresses and login data.
    """
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise _smtp_error(subject, codes[0], "all recipients rejected") from None
    except smtplib.SMTPAuthenticationError as error:
        raise _smtp_error(subject, error.smtp_code, "login rejected") from None
    except smtplib.SMTPNotSupportedError:
        problem = "the server does not support STARTTLS, login or these addresses"
        raise SourceError(subject, problem, "check smtp_port and smtp_starttls") from None
    except smtplib.SMTPResponseException as error:
        raise _smtp_error(subject, error.smtp_code, "message rejected") from None
    except ssl.SSLCertVerificationError as error:
        problem = f"untrusted certificate ({error.verify_message})"
        raise SourceError(subject, problem, "check smtp_host, or set SSL_CERT_FILE to its CA") from None
    except UnicodeError:  # its text would show part of the password
        raise SourceError(subject, "the user or password is not ASCII", "use ASCII ones") from None
    except (OSError, smtplib.SMTPException) as error:  # a time-out, or a connection refused or lost
        raise TransientError(f"{subject}: the connection failed ({type(error).__name__})") from None


def _smtp_error(subject: str, code: int, problem: str) -> Exception:
    """RFC 5321, 4.2.1: 4yz is temporary, 5yz permanent; smtplib uses -1 for a lost connection."""
    detail = f"{problem} (SMTP {code})"
    if code < 500:
        return TransientError(f"{subject}: {detail}")
    return SourceError(subject, detail, "check the user, the password, the sender and the recipients")
