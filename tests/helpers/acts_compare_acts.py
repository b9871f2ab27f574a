"""All acts of `acts_compare`, in the order of the table."""

from tests.helpers import acts_compare_database, acts_compare_kept
from tests.helpers.acts_compare_base import ACTS, Act

__all__ = ["ACTS", "Act", "acts_compare_database", "acts_compare_kept"]
