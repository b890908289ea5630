"""Prefect's server, a worker and the schedules on one machine: what `slickwatch up`, `down` and `status` do."""
