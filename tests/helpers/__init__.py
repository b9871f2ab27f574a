"""What the tests share: replicating processes, applications, reference databases, and scenario scripts."""
