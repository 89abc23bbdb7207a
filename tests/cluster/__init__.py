"""A cluster of PostgreSQL that loses its primary: ``make test-cluster``. Takes minutes, so no part of ``make test``."""
