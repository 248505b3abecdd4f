"""docs/wire.md's schemas for tests; the judge itself is shipped, because the demo uses it on real traffic."""

from knoop_bench.schema import SCHEMAS, faults, schema, validate

__all__ = ["SCHEMAS", "faults", "schema", "validate"]
