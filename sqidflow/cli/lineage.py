"""Where an answer came from, and what came of a model or of a version of the data."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqidflow.cli.console import print_json
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError

if TYPE_CHECKING:
    from sqidflow.tracking.lineage import Lineage, Node

app = typer.Typer()
BROKEN_LINK = 3
"""The exit status where a link is broken; 1 and 2 are a bug and an error, as of every verb."""


@app.command("lineage")
def lineage_verb(
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="ID", help="The request id of an answer: where it came from.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="VERSION", help="A pushed model: where it came from, what came of it."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="HASH", help="A hash in data.dvc, or its first digits: what came of it."),
    ] = None,
    as_openlineage: Annotated[
        bool, typer.Option("--openlineage", help="Print OpenLineage run events, a line of JSON each.")
    ] = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a picture as Mermaid text.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """From an answer to the model, its training, its features, the data.dvc hash and the git commit; and back.

    A link that cannot be established is in the tree and says why: a deleted answer, a purged MLflow store, a data.dvc
    that names another version, a commit with uncommitted changes. The exit status is 0 where the chain is whole, 3
    where a link is broken, 2 for an error.

    Example: [bold]sqidflow lineage --answer 3f0c... --mermaid[/]
    """
    asked = [(name, value) for name, value in (("answer", answer), ("model", model), ("data", data)) if value]
    if len(asked) != 1:
        raise SqidflowError("give one of --answer ID, --model VERSION and --data HASH", where="lineage")
    if as_json + as_openlineage + as_mermaid > 1:
        raise SqidflowError("--json, --openlineage and --mermaid exclude each other", where="lineage")
    place, options = open_workdir(workdir, settings)
    from sqidflow.monitoring import lineage as lineages

    [(name, value)] = asked
    trace = {"answer": lineages.of_answer, "model": lineages.of_model, "data": lineages.of_data}[name]
    lineage = trace(place, options, value)
    if as_json:
        print_json(lineage.as_dict())
    elif as_openlineage:
        import json

        from sqidflow.tracking.openlineage import run_events

        for event in run_events(lineage, f"sqidflow:{place.root}", datetime.now(UTC)):
            sys.stdout.write(json.dumps(event) + "\n")
    elif as_mermaid:
        from sqidflow.tracking.lineage import mermaid

        sys.stdout.write(mermaid(lineage))
    else:
        _show(lineage)
    if lineage.broken:
        raise typer.Exit(BROKEN_LINK)


def _show(lineage: Lineage) -> None:
    from rich.tree import Tree

    root = lineage.nodes[lineage.root]
    for forward, title in ((False, "came from"), (True, "led to")):
        steps = list(lineage.walk(forward=forward))
        if forward and not steps:
            continue
        tree = Tree(f"{_text(root)}  [dim]{title}[/]" if forward else _text(root))
        branches: dict[int, Any] = {0: tree}
        for depth, relation, node, again in steps:
            text = f"[dim]{plain(relation)}[/] {_text(node, short=again)}"
            branches[depth] = branches[depth - 1].add(text + (" [dim](above)[/]" if again else ""))
        say(tree)
    broken = lineage.broken
    if broken:
        say(f"[red]{len(broken)} broken link{'' if len(broken) == 1 else 's'}:[/]")
        for node in broken:
            say(plain(f"  {_name(node)}: {node.broken}"))
    else:
        say("[green]the chain is whole[/]")


def _name(node: Node) -> str:
    from sqidflow.tracking.lineage import LABELS

    return f"{LABELS[node.kind]} {node.name}"


def _text(node: Node, short: bool = False) -> str:
    from sqidflow.tracking.lineage import LABELS

    text = f"{LABELS[node.kind]} [bold]{plain(node.name)}[/]"
    if short:
        return text
    facts = ", ".join(f"{name} {value}" for name, value in node.facts.items())
    if facts:
        text += f"  [dim]{plain(facts)}[/]"
    if node.note:
        text += f"\n[yellow]{plain(node.note)}[/]"
    if node.broken:
        text += f"\n[red]broken: {plain(node.broken)}[/]"
    return text
