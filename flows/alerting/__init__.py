"""Alerts: on slicks in a watched area, on failures and on silence, by webhook, by e-mail and in the log."""

from flows.alerting.alerter import Alerter
from flows.alerting.options import AlertOptions
from flows.alerting.records import Alert, Delivery, Sighting

__all__ = ["Alert", "AlertOptions", "Alerter", "Delivery", "Sighting"]
