"""These tests run on the reference evaluator."""

from tests.reference_engine import reference_engine as reference_engine
