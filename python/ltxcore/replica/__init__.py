"""The LTX files of one database in one storage."""

from ltxcore.replica._costs import RequestCosts
from ltxcore.replica._held_lease import HeldLease
from ltxcore.replica._replica import Replica

__all__ = ["HeldLease", "Replica", "RequestCosts"]
