import logging

from tests.support.commands import run
from tests.support.logs import restored_logging

from hcpcreds.cli.logs import start_logging


def test_logging_is_as_before_when_commands_have_run_in_this_process():
    def describe() -> tuple[object, ...]:
        logger = logging.getLogger("hcpcreds")
        return logger.level, list(logger.handlers), logging.lastResort, vars(logging.lastResort)["formatter"]

    before = describe()
    with restored_logging():
        run("completion", "bash")
        start_logging()
        assert describe() != before
    assert describe() == before
