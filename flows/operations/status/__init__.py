"""The state of the services: collected from the locks and Prefect's API, judged, and printed."""
