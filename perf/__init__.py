"""The benchmark suites and their records; see README.md in this directory."""
