"""The LTX files of one database in one storage."""

from ltxcore.replica._costs import RequestCosts
from ltxcore.replica._replica import Replica

__all__ = ["Replica", "RequestCosts"]
