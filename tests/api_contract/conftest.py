from tests.access.conftest import _no_log

__all__ = ["_no_log"]
