"""Alerts: on slicks in a watched area, on failures and on silence, by webhook, by e-mail and in the log."""

from outputs.alerting.alerter import Alerter
from outputs.alerting.options import AlertOptions
from outputs.alerting.records import Alert, Delivery, Sighting

__all__ = ["Alert", "AlertOptions", "Alerter", "Delivery", "Sighting"]
