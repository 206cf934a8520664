"""`factory approvals`: what waits for people, and their votes."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.as_json import print_json, to_json, without
from cli.completion import complete_approval
from cli.door import Door, open_door
from cli.options import Json, Tenant
from cli.text import first_line, local_time
from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote, spell_deciders

app = typer.Typer(help="Approvals: what waits for people, and their votes.", no_args_is_help=True)

_MANY = 1000

ApprovalId = Annotated[
    str,
    typer.Argument(metavar="APPROVAL_ID", help="Like appr-01k….", autocompletion=complete_approval),
]


@app.command("list")
def list_approvals(
    everything: Annotated[
        bool, typer.Option("--all", help="Those too that were decided, expired or withdrawn.")
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List what waits to be approved, the oldest first."""
    door = open_door(tenant=tenant, json=json)
    with door.desk.reading() as tx:
        status = None if everything else ApprovalStatus.OPEN
        found = tx.list_approvals(status=status, limit=_MANY)
        votes = {approval.id: tx.list_votes(approval.id) for approval in found}
    if json:
        rows = [{**to_json(one), "votes": to_json(votes[one.id])} for one in found]
        print_json({"approvals": rows})
        return
    if not found:
        door.screen.line("no approvals" if everything else "nothing waits to be approved")
        return
    door.screen.table(
        ("approval", "status", "run", "step", "requested by", "who may", "votes", "until", "asks"),
        [_row(door, approval, votes[approval.id]) for approval in found],
        flexible=("who may", "asks"),
    )


@app.command()
def show(approval_id: ApprovalId, tenant: Tenant = None, json: Json = False) -> None:
    """Show what is to be approved: the question, the plan with all it will do, and the votes."""
    from cli.approval_page import approval_as_json, read_approval, show_approval

    door = open_door(tenant=tenant, json=json)
    facts = read_approval(door, approval_id)
    if json:
        print_json(approval_as_json(facts))
    else:
        show_approval(door, facts)


@app.command()
def grant(
    approval_id: ApprovalId,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Kept with your vote.")] = "",
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Grant it, as the user that you are; the run goes on once enough have."""
    _decide(open_door(tenant=tenant, json=json), approval_id, True, comment)


@app.command()
def deny(
    approval_id: ApprovalId,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why; the requester reads it.")],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Deny it, as the user that you are: the job that asks fails with your comment."""
    _decide(open_door(tenant=tenant, json=json), approval_id, False, comment)


def _decide(door: Door, approval_id: str, granted: bool, comment: str) -> None:
    decided = door.desk.decide(approval_id, granted=granted, comment=comment)
    approval = decided.approval
    with door.desk.reading() as tx:
        run, jobs = tx.get_run(approval.run_id), tx.list_jobs(approval.run_id)
    if door.json:
        document = {
            "approval": to_json(approval),
            "votes": to_json(decided.votes),
            "counted": decided.counted,
            "run": without(run, "inputs", "outputs", "plan"),
        }
        print_json(document)
        return
    from cli.standing import whole_standing

    word = "granted" if granted else "denied"
    if not decided.counted:
        me = door.desk.me().name
        door.screen.line(f"{me} had {word} {approval.id} before: nothing was changed")
    door.screen.line(_said(approval, decided.votes), _STYLES.get(approval.status))
    words = whole_standing(door, run, jobs)
    door.screen.line(f"{run.id}  {run.status}{f'  {words}' if words else ''}")


_STYLES = {ApprovalStatus.GRANTED: "good", ApprovalStatus.DENIED: "bad"}


def _said(approval: Approval, votes: tuple[Vote, ...]) -> str:
    if approval.status is ApprovalStatus.OPEN:
        return f"{approval.id}  granted by {len(votes)} of {approval.count}, open until the rest do"
    return f"{approval.id}  {approval.status} by {', '.join(vote.person for vote in votes)}"


def _row(door: Door, approval: Approval, votes: tuple[Vote, ...]) -> tuple[str, ...]:
    return (
        approval.id,
        approval.status,
        approval.run_id,
        approval.step,
        approval.requested_by,
        spell_deciders(approval.deciders(door.desk.now())),
        f"{len(votes)} of {approval.count}",
        local_time(approval.expires_at),
        first_line(approval.message),
    )
