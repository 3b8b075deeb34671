"""Where something came from, and what came of it: a graph of versions whose broken links are part of it. No IO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "answer", "answers", "index", "model", "mlflow_run", "execution", "feature_service", "pairs", "data", "commit"
]
LABELS: dict[Kind, str] = {
    "answer": "answer",
    "answers": "answers",
    "index": "product index",
    "model": "model",
    "mlflow_run": "MLflow run",
    "execution": "TFX execution",
    "feature_service": "feature service",
    "pairs": "prepared pairs",
    "data": "data",
    "commit": "git commit",
}


@dataclass(frozen=True)
class Node:
    """A version of something. ``broken``: why it, or what it would lead to, cannot be established; ``note``: what does
    not break the chain and is worth knowing."""

    kind: Kind
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    broken: str | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Link:
    """``source`` was made from ``target``, in the way that ``relation`` says; ids of nodes."""

    source: str
    target: str
    relation: str


class Lineage:
    """A graph around ``root``, the node that was asked about."""

    def __init__(self, root: Node) -> None:
        self.root = root.id
        self.nodes: dict[str, Node] = {root.id: root}
        self.links: list[Link] = []

    def add(self, node: Node) -> Node:
        """Add a node; one that is there stays, unless only the new one knows that it is broken."""
        known = self.nodes.get(node.id)
        if known is None or (node.broken and not known.broken):
            self.nodes[node.id] = node
        return self.nodes[node.id]

    def link(self, source: Node, target: Node, relation: str) -> Node:
        """Note that ``source`` was made from ``target``; adds both, and returns the target."""
        self.add(source)
        target = self.add(target)
        link = Link(source.id, target.id, relation)
        if link not in self.links:
            self.links.append(link)
        return target

    @property
    def broken(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.broken]

    def origins(self, node_id: str) -> list[tuple[str, Node]]:
        """What a node was made from: (relation, node)."""
        return [(link.relation, self.nodes[link.target]) for link in self.links if link.source == node_id]

    def results(self, node_id: str) -> list[tuple[str, Node]]:
        """What was made from a node: (relation, node)."""
        return [(link.relation, self.nodes[link.source]) for link in self.links if link.target == node_id]

    def walk(self, *, forward: bool) -> Iterator[tuple[int, str, Node, bool]]:
        """Depth, relation and node along all links from the root, which is not among them; True for a node that came
        before, whose links are not followed again."""
        seen = {self.root}

        def below(node_id: str, depth: int) -> Iterator[tuple[int, str, Node, bool]]:
            for relation, node in self.results(node_id) if forward else self.origins(node_id):
                again = node.id in seen
                seen.add(node.id)
                yield depth, relation, node, again
                if not again:
                    yield from below(node.id, depth + 1)

        yield from below(self.root, 1)

    def reaches(self, kind: Kind) -> list[Node]:
        """The nodes of a kind that the root was made from."""
        return list({node.id: node for _, _, node, _ in self.walk(forward=False) if node.kind == kind}.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "root": self.root,
            "whole": not self.broken,
            "nodes": [
                {
                    "id": node.id, "kind": node.kind, "name": node.name, "facts": dict(node.facts),
                    "broken": node.broken, "note": node.note,
                }
                for node in self.nodes.values()
            ],
            "links": [
                {"source": link.source, "target": link.target, "relation": link.relation} for link in self.links
            ],
            "broken": [{"id": node.id, "why": node.broken} for node in self.broken],
        }  # fmt: skip


def mermaid(lineage: Lineage) -> str:
    """The graph as a Mermaid flowchart, which GitHub, GitLab and MkDocs draw; arrows go from what was there first."""
    numbers = {node_id: f"n{number}" for number, node_id in enumerate(lineage.nodes)}
    lines = ["flowchart LR"]
    for node_id, node in lineage.nodes.items():
        name = node.name if len(node.name) <= 44 else f"{node.name[:40]}..."
        text = f"{_escaped(LABELS[node.kind])}<br/>{_escaped(name)}"
        if node.broken:
            text += f"<br/>{_escaped(node.broken if len(node.broken) <= 90 else f'{node.broken[:86]}...')}"
        lines.append(f'    {numbers[node_id]}["{text}"]')
    for link in lineage.links:
        lines.append(f'    {numbers[link.target]} -->|"{_escaped(link.relation)}"| {numbers[link.source]}')
    lines.append("    classDef broken stroke:#c00,stroke-width:2px,stroke-dasharray:4")
    lines.append("    classDef asked stroke-width:3px")
    lines.append(f"    class {numbers[lineage.root]} asked")
    if lineage.broken:
        lines.append(f"    class {','.join(numbers[node.id] for node in lineage.broken)} broken")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Mermaid takes entities written with a number sign; a line break ends a label."""
    out = []
    for char in " ".join(text.split()):
        out.append(char if char.isalnum() or char in " .,:;/_-+()=@" else f"#{ord(char)};")
    return "".join(out)
