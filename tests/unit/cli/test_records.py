"""What each kind of record means in the API's terms, and what becomes of rows that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from ledger.cli.replaying.csv_records import (
    NAME_MAX,
    Record,
    RecordFormat,
    RecordOptions,
    RecordsError,
    Skipped,
    open_records,
)
from ledger.v1.usage_pb2 import (
    OUTCOME_RESULT_FAILED,
    OUTCOME_RESULT_RESOLVED,
    ComputeUsage,
    Outcome,
    TokenUsage,
    UsageItem,
)

SESSIONS = "session_id,model,api_calls,input_tokens,output_tokens,sandbox_seconds,resolved\n"
JOBS = "created_at,customer,job_type,status,gpu_seconds,images,steps\n"
PODS = "pod,num_gpu,gpu_milli,gpu_spec,phase,creation_s,scheduled_s,deletion_s\n"
REQUESTS = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def read(
    directory: Path,
    text: str | bytes,
    record_format: RecordFormat,
    *,
    model: str | None = None,
    resource: str | None = None,
    limit: int | None = None,
) -> list[Record | Skipped]:
    path = directory / "records.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with open_records(path, record_format, RecordOptions(model, resource)) as records:
        return list(records.take(limit))


def tokens(**quantities: object) -> UsageItem:
    return UsageItem(tokens=TokenUsage(**quantities))  # type: ignore[arg-type]


def compute(resource: str, seconds: int, nanos: int, count: str) -> UsageItem:
    return UsageItem(
        compute=ComputeUsage(resource=resource, duration=Duration(seconds=seconds, nanos=nanos), count=count)
    )


def test_llm_request_is_one_tokens_item(tmp_path: Path) -> None:
    """An LLM request is its input and output tokens on the model that the caller names."""
    [record] = read(tmp_path, REQUESTS + "2023-11-16,4808,10\n", RecordFormat.LLM_REQUESTS, model="acme/code")
    usage = (tokens(model="acme/code", input=4808, output=10),)
    assert record == Record(1, "row-1", None, usage, usage)


def test_llm_request_that_names_its_model_keeps_it(tmp_path: Path) -> None:
    """--model is for requests that name none."""
    text = "ContextTokens,GeneratedTokens,model\n1,2,acme/own\n3,4,\n"
    own, other = read(tmp_path, text, RecordFormat.LLM_REQUESTS, model="acme/given")
    assert isinstance(own, Record)
    assert isinstance(other, Record)
    assert [record.usage[0].tokens.model for record in (own, other)] == ["acme/own", "acme/given"]


def test_agent_session_is_tokens_sandbox_and_outcome(tmp_path: Path) -> None:
    """The estimate hopes for a resolved issue, the usage says what came; both carry the same quantities."""
    text = SESSIONS + "s1,openai/gpt-5,40,1193569,2507,17.064,0\n"
    [record] = read(tmp_path, text, RecordFormat.AGENT_SESSIONS)
    work = (
        tokens(model="openai/gpt-5", requests=40, input=1193569, output=2507),
        compute("sandbox", 17, 64_000_000, "1"),
    )

    def outcome(result: int) -> UsageItem:
        return UsageItem(outcome=Outcome(name="issue.resolved", result=result, count=1))  # type: ignore[arg-type]

    assert record == Record(
        1,
        "s1",
        None,
        (*work, outcome(OUTCOME_RESULT_RESOLVED)),
        (*work, outcome(OUTCOME_RESULT_FAILED)),
    )


def test_gpu_job_is_compute_and_outcome_of_its_images(tmp_path: Path) -> None:
    """A job is its GPU seconds and an outcome counted in images; only SUCCEED and FAILED are work."""
    text = JOBS + "t,G1,X,SUCCEED,32.5,8.0,30\nt,G2,X,FAILED,3,4.0,\nt,,X,FAILED,3,,\nt,G2,X,PENDING,0.0,,\n"
    done, failed, empty, pending = read(tmp_path, text, RecordFormat.GPU_JOBS, resource="h100")
    assert isinstance(done, Record)
    assert isinstance(failed, Record)
    assert isinstance(empty, Record)
    assert (done.customer, failed.customer, empty.customer) == ("G1", "G2", None)
    assert done.usage[0] == compute("h100", 32, 500_000_000, "1")
    results = [
        (record.usage[1].outcome.result, record.usage[1].outcome.count) for record in (done, failed, empty)
    ]
    assert results == [
        (OUTCOME_RESULT_RESOLVED, 8),
        (OUTCOME_RESULT_FAILED, 4),
        (OUTCOME_RESULT_FAILED, 0),
    ]
    assert pending == Skipped("PENDING")


def test_gpu_pod_is_its_share_of_gpus_from_schedule_to_deletion(tmp_path: Path) -> None:
    """The count is num_gpu x gpu_milli / 1000, exactly; a pod without both instants is skipped."""
    text = (
        PODS
        + "p1,2,470,,Running,0,10,70\np2,1,1000,T4,Pending,5,,9\n"
        + "p3,1,1000,,Running,5,6,\np4,8,1000,,R,0,0,1\n"
    )
    half, waiting, alive, whole = read(tmp_path, text, RecordFormat.GPU_PODS, resource="t4")
    assert isinstance(half, Record)
    assert isinstance(whole, Record)
    assert half.key == "p1"
    assert half.usage == (compute("t4", 60, 0, "0.94"),)
    assert whole.usage == (compute("t4", 1, 0, "8"),)
    assert [waiting, alive] == [Skipped("not_scheduled"), Skipped("not_deleted")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("s1,openai/gpt-5,40,-1,2507,17,0", "input_tokens: '-1' is not a number of 0 or more"),
        ("s1,openai/gpt-5,40,NaN,2507,17,0", "input_tokens: 'NaN'"),
        ("s1,openai/gpt-5,40,1e9,2507,17,0", "input_tokens: '1e9'"),
        ("s1,openai/gpt-5,40,1.5,2507,17,0", "input_tokens: '1.5' is not a whole number"),
        ("s1,openai/gpt-5,40,٣,2507,17,0", "input_tokens: '٣'"),
        ("s1,openai/gpt-5,40,1234567890123456,2507,17,0", "at most 15 integer"),
        ("s1,openai/gpt-5,40,,2507,17,0", "input_tokens: ''"),
        ("s1,openai/gpt-5,40,1,2507,17.0000000001,0", "sandbox_seconds: '17.0000000001'"),
        ("s1,openai/gpt-5,40,1,2507,17,maybe", "resolved: 'maybe' is neither 0 nor 1"),
        (",openai/gpt-5,40,1,2507,17,0", "session_id: '' is not 1 to 60"),
        ("x" * (NAME_MAX + 1) + ",openai/gpt-5,40,1,2507,17,0", "session_id: "),
        ("s1,openai/gpt-5,40,1,2507,17", "6 fields where the header has 7"),
        ("s1,openai/gpt-5,40,1,2507,17,0,more", "8 fields where the header has 7"),
        ('s1,"openai/gpt-5,40,1,2507,17,0', "unexpected end of data"),
    ],
)
def test_broken_row_is_named_and_the_rest_runs(tmp_path: Path, row: str, says: str) -> None:
    """A row that cannot be read is reported with file, line and field; the rows around it are taken."""
    good = "{},openai/gpt-5,1,2,3,4,1\n"
    first, broken, last = read(
        tmp_path, SESSIONS + good.format("a") + row + "\n" + good.format("b"), RecordFormat.AGENT_SESSIONS
    )
    assert isinstance(first, Record)
    assert isinstance(broken, Skipped)
    assert isinstance(last, Record)
    assert (first.key, last.key, last.row) == ("a", "b", 3)
    assert broken.reason == "broken_row"
    assert broken.message is not None
    assert broken.message.startswith(f"{tmp_path / 'records.csv'}:3: ")
    assert says in broken.message


def test_bytes_that_are_no_text_break_their_row_only(tmp_path: Path) -> None:
    """A name that is not UTF-8 breaks its row; the next one is read."""
    good = b",openai/gpt-5,1,2,3,4,1\n"
    broken, fine = read(
        tmp_path, SESSIONS.encode() + b"\xff" + good + b"b" + good, RecordFormat.AGENT_SESSIONS
    )
    assert isinstance(broken, Skipped)
    assert isinstance(fine, Record)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("t,G1,X,SUCCEED,1,,", "images: ''"),
        ("t,G1,X,SUCCEED,1,0.5,", "images: '0.5' is not a whole number"),
        ("t,G1,X,SUCCEED,,1,", "gpu_seconds: ''"),
        ("t,G1,X,,1,1,", "status: ''"),
    ],
)
def test_broken_job(tmp_path: Path, row: str, says: str) -> None:
    """A finished job says how many images it made and how long it ran: neither is taken for 0."""
    [broken] = read(tmp_path, JOBS + row + "\n", RecordFormat.GPU_JOBS, resource="h100")
    assert isinstance(broken, Skipped)
    assert broken.message is not None
    assert says in broken.message


def test_pod_that_ends_before_it_starts_is_broken(tmp_path: Path) -> None:
    """A negative duration is no usage."""
    [broken] = read(tmp_path, PODS + "p,1,1000,,Running,0,20,10\n", RecordFormat.GPU_PODS, resource="t4")
    assert isinstance(broken, Skipped)
    assert broken.message is not None
    assert "deletion_s: 10 is before scheduled_s, 20" in broken.message


def test_missing_columns_are_named_beside_those_there(tmp_path: Path) -> None:
    """A file without a column that the format needs is refused whole."""
    with pytest.raises(
        RecordsError, match=r"missing columns input_tokens, resolved; the file has session_id, model"
    ):
        read(
            tmp_path,
            "session_id,model,api_calls,output_tokens,sandbox_seconds\ns,m,1,2,3\n",
            RecordFormat.AGENT_SESSIONS,
        )


def test_empty_file_has_no_header(tmp_path: Path) -> None:
    """A file of nothing is refused like one without the columns."""
    with pytest.raises(RecordsError, match="the file has no header"):
        read(tmp_path, "", RecordFormat.GPU_PODS, resource="t4")


def test_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    """Which of two columns of one name is meant is not guessed."""
    text = "ContextTokens,GeneratedTokens,ContextTokens\n1,2,3\n"
    with pytest.raises(RecordsError, match="more than one column is called ContextTokens"):
        read(tmp_path, text, RecordFormat.LLM_REQUESTS, model="m")


@pytest.mark.parametrize(
    ("text", "record_format", "option"),
    [
        (REQUESTS, RecordFormat.LLM_REQUESTS, "--model"),
        (JOBS, RecordFormat.GPU_JOBS, "--resource"),
        (PODS, RecordFormat.GPU_PODS, "--resource"),
    ],
)
def test_what_the_file_does_not_say_is_asked_for(
    tmp_path: Path, text: str, record_format: RecordFormat, option: str
) -> None:
    """Without the option that the records need nothing is read."""
    with pytest.raises(RecordsError, match=option):
        read(tmp_path, text, record_format)


def test_rows_are_counted_blank_lines_are_not(tmp_path: Path) -> None:
    """The limit takes rows as they stand, broken ones included; line ends and a BOM do not matter."""
    text = "\ufeff" + REQUESTS + "t,1,1\n\nt,x,1\nt,2,2\nt,3,3\n"
    rows = read(tmp_path, text.replace("\n", "\r\n"), RecordFormat.LLM_REQUESTS, model="m", limit=3)
    assert [type(row) for row in rows] == [Record, Skipped, Record]
    last = rows[-1]
    assert isinstance(last, Record)
    assert (last.row, last.key) == (3, "row-3")


def test_a_name_that_comes_again_is_other_work(tmp_path: Path) -> None:
    """Keys are unique within a file and the same each time it is read."""
    text = SESSIONS + "s,m/x,1,2,3,4,1\n" * 3
    keys = [
        [row.key for row in read(tmp_path, text, RecordFormat.AGENT_SESSIONS) if isinstance(row, Record)]
        for _ in range(2)
    ]
    assert keys == [["s", "s#2", "s#3"]] * 2


def test_zero_is_allowed(tmp_path: Path) -> None:
    """Zero quantities are records like others."""
    [record] = read(tmp_path, SESSIONS + "s,m/x,0,0,0,0.000,1\n", RecordFormat.AGENT_SESSIONS)
    assert isinstance(record, Record)
    assert record.usage[0].tokens.HasField("input")
    assert record.usage[1] == compute("sandbox", 0, 0, "1")
