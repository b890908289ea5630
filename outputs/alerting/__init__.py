"""Alerts on slicks, failures and silence, by webhook, e-mail and log; docs/operator/alerts.md."""
