"""An alarm that nobody received is sent again or passed on, on both servers."""

import pytest
from tests.integration.test_unreceived import outlives, quickly  # noqa: F401 -- a fixture


@pytest.mark.usefixtures("quickly")
async def test_an_alarm_outlives_its_clients_connection_on_both_servers(tmp_path, server, caplog):
    await outlives(tmp_path, server, caplog)
