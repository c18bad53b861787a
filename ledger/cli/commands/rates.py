"""`acu-ledger rates`: rate cards, the cost book and plans, from files to what is in force, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, NoReturn

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import PAGE_SIZE, ask
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server, reach
from ledger.cli.commands.rate_files import PricesFile, read_files
from ledger.cli.lazy import LazyGroup
from ledger.cli.output.console import REFUSED, USAGE, fail, note, print_json, print_table, table
from ledger.cli.output.rate_tables import described, differences_table, since, version_row
from ledger.cli.run import run
from ledger.cli.services import call
from ledger.client import CreditsError, Unavailable
from pricing.documents.validate import ConfigError, Problem


class _Rates(LazyGroup):
    elsewhere: ClassVar = {
        "simulate": "ledger.cli.commands.rates_simulate:simulate",
        "fit": "ledger.cli.commands.rates_simulate:fit",
        "import": "ledger.cli.commands.rates_simulate:import_costs",
    }


rates = typer.Typer(
    cls=_Rates,
    no_args_is_help=True,
    help="Rate cards, the cost book and plans: check, compare, publish, take back.",
)

Files = Annotated[
    list[Path],
    typer.Argument(
        exists=True, help="A directory of costs.yaml, cards/ and plans.yaml, or such files themselves."
    ),
]
OfCosts = Annotated[bool, typer.Option("--costs", help="The cost book, instead of a card.")]
OfPlans = Annotated[bool, typer.Option("--plans", help="The plans, instead of a card.")]
Strict = Annotated[bool, typer.Option("--strict", help="Warnings refuse too.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="In spite of a card's margin floor, and of customers whom plans leave out; it is recorded.",
    ),
]


@rates.command("check")
@at_server
def check(
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    strict: Strict = False,
    target: Annotated[
        str, typer.Option(help="A server, whose published versions the files are compared with too.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check a directory as a server would read it; exit status 1 if anything is wrong.

    Without a target it needs no server, and does not know what is published.
    """
    from ledger.app import check as check_files  # noqa: PLC0415 -- with it comes all that serves

    try:
        config, plans = check_files(directory)
    except ConfigError as error:
        _refuse_files(error.problems, [], as_json=as_json)
    warnings = config.doubts(datetime.now(UTC))
    warnings += plans.doubts(config.cards) if plans is not None else []
    problems = list(map(_problem, _checked(target, read_files([directory])).problems)) if target else []
    if problems or (strict and warnings):
        _refuse_files(problems, warnings, as_json=as_json)
    if as_json:
        found = [warning._asdict() for warning in warnings]
        print_json({"problems": [], "warnings": found, "revisions_compared": bool(target)})
        return
    _note_warnings(warnings)
    what = "can be published" if target else "is sound"
    made = table(f"{directory} {what}", "what", "revision", "rules", numbers=2)
    made.add_row("cost book", str(config.costs.revision), "")
    for name, card in sorted(config.cards.items()):
        made.add_row(name, str(card.revision), str(len(card.rules)))
    if plans is not None:
        made.add_row("plans", str(plans.revision), "")
    print_table(made)
    if not target:
        note("whether revisions are above what is published only a server knows: name it with --target")


def _refuse_files(problems: Sequence[Problem], warnings: Sequence[Problem], *, as_json: bool) -> NoReturn:
    if as_json:
        found = {"problems": problems, "warnings": warnings}
        print_json({key: [each._asdict() for each in value] for key, value in found.items()})
    else:
        for problem in problems:
            note(str(problem))
        _note_warnings(warnings)
    raise typer.Exit(REFUSED) from None


def _note_warnings(warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        note(f"warning: {warning}")


def _checked(target: str, documents: Sequence[PricesFile]) -> pb.CheckRatesResponse:
    """What a server would refuse of the documents, their revisions included."""
    asked = pb.CheckRatesRequest()
    for document in documents:
        if document.is_costs:
            asked.costs.CopyFrom(document.stated)
        elif document.is_plans:
            asked.plans.CopyFrom(document.stated)
        else:
            asked.rate_cards.append(document.stated)
    return ask(target, lambda ledger: ledger.admin.CheckRates, asked)


def _problem(found: pb.RateProblem) -> Problem:
    return Problem(found.document, found.line, found.column, found.message, found.hint)


@rates.command("diff")
@at_server
def diff(files: Files, target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """Show what files change against what is published, rate by rate."""
    found = run(_diff(target, read_files(files)))
    if as_json:
        print_json({"files": [{"file": str(file.path), **_as_dict(answer)} for file, answer in found]})
        return
    for file, answer in found:
        with_what = described(file.title(answer.name), answer.before)
        if answer.differences:
            typer.echo(f"{file.path} against {with_what}:")
            print_table(differences_table(answer))
        else:
            typer.echo(f"{file.path}: no difference to {with_what}")


async def _diff(
    target: str, documents: Sequence[PricesFile]
) -> list[tuple[PricesFile, pb.DiffRatesResponse]]:
    async with reach(target) as ledger:
        return [
            (document, await call(ledger.admin.DiffRates, document.diff_request())) for document in documents
        ]


@rates.command("publish")
@at_server
def publish(
    files: Files,
    force: Force = False,
    strict: Strict = False,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Publish files: each becomes the next version, if its revision is above the published one.

    A file that is the latest version already is left as it is. One that is refused does not keep the others.
    """
    documents = read_files(files)
    if strict:
        warnings = list(map(_problem, _checked(target, documents).warnings))
        if warnings:
            _refuse_files([], warnings, as_json=as_json)
    done = run(_publish(target, documents, force=force))
    if as_json:
        print_json({"files": [each.as_dict() for each in done]})
    else:
        made = table("Published", "file", "what", "version", "revision", "in force from (UTC)")
        for each in done:
            made.add_row(*each.row())
        print_table(made)
        for each in done:
            _note_warnings(each.warnings)
            if each.refused is not None:
                note(f"{each.path}: {each.refused}")
    if any(each.refused is not None for each in done):
        raise typer.Exit(REFUSED)


async def _publish(target: str, documents: Sequence[PricesFile], *, force: bool) -> list[_PublishedFile]:
    async with reach(target) as ledger:
        done = []
        for document in documents:
            try:
                answer = await document.publish(ledger, force=force)
                warnings = tuple(_problem(each)._replace(file=str(document.path)) for each in answer.warnings)
                done.append(_PublishedFile(document.path, answer.version, answer.replayed, warnings=warnings))
            except Unavailable:
                raise
            except CreditsError as refused:
                done.append(_PublishedFile(document.path, refused=refused))
        return done


@rates.command("list")
@at_server
def list_versions(
    name: Annotated[str, typer.Argument(help="One card; all, if not given.")] = "",
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """List versions, and what is wrong with the server's files."""
    cards, costs, plans = run(_list(target, name))
    if as_json:
        print_json({"cards": _as_dict(cards), "costs": _as_dict(costs), "plans": _as_dict(plans)})
        return
    made = table("Versions", "name", "version", "revision", "from (UTC)", "published (UTC)", "by", "")
    for title, versions in (("(cost book)", costs), ("(plans)", plans), ("", cards)):
        for version in versions.versions:
            made.add_row(title or version.name, *version_row(version))
    print_table(made)
    for problem in cards.file_problems:
        note(f"not in force, a file of the server: {problem}")
    for older in cards.older_files:
        note(f"left alone, a file of the server that is older than what is published: {older}")


async def _list(
    target: str, name: str
) -> tuple[pb.ListRateCardVersionsResponse, pb.ListCostVersionsResponse, pb.ListPlanVersionsResponse]:
    async with reach(target) as ledger:
        cards = await _pages(
            ledger.admin.ListRateCardVersions,
            pb.ListRateCardVersionsRequest(name=name, page_size=PAGE_SIZE),
        )
        if name:
            return cards, pb.ListCostVersionsResponse(), pb.ListPlanVersionsResponse()
        costs = pb.ListCostVersionsRequest(page_size=PAGE_SIZE)
        plans = pb.ListPlanVersionsRequest(page_size=PAGE_SIZE)
        return (
            cards,
            await _pages(ledger.admin.ListCostVersions, costs),
            await _pages(ledger.admin.ListPlanVersions, plans),
        )


async def _pages(method: Any, request: Any) -> Any:
    """The first answer, with the versions of all pages."""
    whole = await call(method, request)
    while whole.next_page_token:
        request.page_token = whole.next_page_token
        page = await call(method, request)
        whole.versions.extend(page.versions)
        whole.next_page_token = page.next_page_token
    return whole


@rates.command("show")
@at_server
def show(
    name: Annotated[str, typer.Argument(help="Of the card.")] = "",
    costs: OfCosts = False,
    plans: OfPlans = False,
    version: Annotated[int | None, typer.Option(min=1, help="The one in force, if not given.")] = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Show the document of a card, of the cost book or of the plans: what is in force, or a version."""
    title = _one_of(name, costs=costs, plans=plans)
    answer = _shown(target, name, version or 0, plans=plans)
    if as_json:
        print_json(answer)
        return
    note(described(title, answer.version))
    typer.echo(answer.document.rstrip("\n"))


def _shown(
    target: str, name: str, number: int, *, plans: bool
) -> pb.GetRateCardResponse | pb.GetCostsResponse | pb.GetPlansResponse:
    if name:
        request = pb.GetRateCardRequest(name=name, number=number)
        return ask(target, lambda ledger: ledger.admin.GetRateCard, request)
    if plans:
        return ask(target, lambda ledger: ledger.admin.GetPlans, pb.GetPlansRequest(number=number))
    return ask(target, lambda ledger: ledger.admin.GetCosts, pb.GetCostsRequest(number=number))


@rates.command("rollback")
@at_server
def rollback(
    version: Annotated[int, typer.Option(min=1, help="Whose content is to come back.")],
    name: Annotated[str, typer.Argument(help="Of the card.")] = "",
    costs: OfCosts = False,
    plans: OfPlans = False,
    force: Force = False,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Publish the content of an older version again, as the next one."""
    title = _one_of(name, costs=costs, plans=plans)
    answer = _rolled_back(target, name, version, force=force, plans=plans)
    if as_json:
        print_json(answer)
        return
    answered = described(title, answer.version)
    typer.echo(f"unchanged: {answered}" if answer.replayed else answered)
    for later in answer.to_come:
        note(f"it is replaced later by {described(title, later)}")


def _rolled_back(
    target: str, name: str, number: int, *, force: bool, plans: bool
) -> pb.RollbackRateCardResponse | pb.RollbackCostsResponse | pb.RollbackPlansResponse:
    if name:
        of_card = pb.RollbackRateCardRequest(name=name, number=number, force=force)
        return ask(target, lambda ledger: ledger.admin.RollbackRateCard, of_card)
    if plans:
        of_plans = pb.RollbackPlansRequest(number=number, force=force)
        return ask(target, lambda ledger: ledger.admin.RollbackPlans, of_plans)
    return ask(target, lambda ledger: ledger.admin.RollbackCosts, pb.RollbackCostsRequest(number=number))


class _PublishedFile(NamedTuple):
    """What became of a file."""

    path: Path
    version: pb.PriceVersion = pb.PriceVersion()
    replayed: bool = False
    refused: CreditsError | None = None
    warnings: tuple[Problem, ...] = ()

    def row(self) -> tuple[str, ...]:
        if self.refused is not None:
            return str(self.path), "REFUSED", "", "", ""
        what = "unchanged" if self.replayed else "published"
        version = self.version
        return str(self.path), what, str(version.number), str(version.revision), since(version.effective_from)

    def as_dict(self) -> dict[str, object]:
        if self.refused is not None:
            refused = {"reason": self.refused.reason, "message": str(self.refused)}
            return {"file": str(self.path), "refused": refused}
        return {
            "file": str(self.path),
            "version": _as_dict(self.version),
            "replayed": self.replayed,
            "warnings": [warning._asdict() for warning in self.warnings],
        }


def _one_of(name: str, *, costs: bool, plans: bool) -> str:
    """What is meant, for people."""
    if [bool(name), costs, plans].count(True) != 1:
        fail("name a card, or say --costs or --plans: one of the three", USAGE)
    if name:
        return f"card {name}"
    return "the cost book" if costs else "the plans"


def _as_dict(message: Message) -> dict[str, object]:
    made: dict[str, object] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return made
