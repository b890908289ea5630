"""The scene ledger: which scenes there are, how far each has come, and who works on it now."""

from ingest.ledger.heartbeat import kept
from ingest.ledger.ledger import Ledger
from ingest.ledger.records import STATES, Claim, LeaseLost, RetryPolicy, SceneRecord, Task

__all__ = ["STATES", "Claim", "LeaseLost", "Ledger", "RetryPolicy", "SceneRecord", "Task", "kept"]
