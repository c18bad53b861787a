"""A server whose files change while it serves."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc.aio
from life_world import write_card, write_costs

from ledger.admin.v1.admin_service_pb2 import ListRateCardVersionsRequest, ListRateCardVersionsResponse
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.waiting import PAUSE_SECONDS


async def test_a_server_reads_its_files_again(serve, database_urls, tmp_path: Path) -> None:
    """When they change, and when it is asked to by SIGHUP; what is wrong with them is listed."""
    write_costs(tmp_path)
    write_card(tmp_path)
    with serve(database_urls, tmp_path) as served:
        async with grpc.aio.insecure_channel(served.back_office) as channel:
            admin = AdminServiceStub(channel)

            async def until(number: int, problems: int) -> ListRateCardVersionsResponse:
                """The versions, once there are so many, and so many problems of the files."""
                async with asyncio.timeout(60):
                    while True:
                        answer = await admin.ListRateCardVersions(ListRateCardVersionsRequest(name="basic"))
                        if (len(answer.versions), len(answer.file_problems)) == (number, problems):
                            return answer
                        await asyncio.sleep(PAUSE_SECONDS)

            write_card(tmp_path, 2, "2")
            await until(2, 0)
            write_card(tmp_path, 3, "-3")
            served.process.send_signal(signal.SIGHUP)
            answer = await until(2, 1)
            assert "the rate -3 is negative" in answer.file_problems[0]
            write_card(tmp_path, 3, "3")
            served.process.send_signal(signal.SIGHUP)
            assert [version.revision for version in (await until(3, 0)).versions] == [3, 2, 1]
            write_card(tmp_path, 4, "0.0001")
            await until(4, 0)
    assert '"event": "prices.refused", "level": "error"' in served.log()
    [doubtful] = [line for line in served.log().splitlines() if '"prices.doubtful"' in line]
    assert "cards/basic.yaml:7:" in doubtful
    assert '"level": "warning"' in doubtful
