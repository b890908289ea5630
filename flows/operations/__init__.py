"""Prefect server, worker and schedules on one machine: `slickwatch up`, `down` and `status`."""
