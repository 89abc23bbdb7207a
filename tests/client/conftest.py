from tests.api.conftest import live, user

__all__ = ["live", "user"]
