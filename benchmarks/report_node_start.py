"""Makes Markdown of how soon a node's executor begins."""

from __future__ import annotations

from benchmarks.report import Figures, table

TARGET = 0.65
"""The most that the start of a node may take of importing `tfx.v1`."""


def node_start(figures: Figures) -> str:
    """The section on the start of a node, as a container does it."""
    whole, tensorflow = (figures["imports"][name]["seconds"] for name in ("tfx.v1", "tensorflow"))
    rows: list[list[object]] = []
    failed: list[str] = []
    shares: dict[bool, list[float]] = {True: [], False: []}
    for node in figures["nodes"]:
        name = _name(node["nodes"], executor=node["executor"])
        ours, theirs = node.get("ours"), node.get("tfx")
        failed += [
            f"{name}, {side}: {node[f'{key}_error']}"
            for key, side in (("ours", "this project"), ("tfx", "TFX"))
            if f"{key}_error" in node
        ]
        row: list[object] = [name]
        for side in (ours, theirs):
            row += [side["seconds"], f"{side['seconds'] / whole:.2f}"] if side else [None, None]
        if ours:
            imports = "tensorflow" in ours["imported"]
            shares[imports].append(ours["seconds"] / whole)
            share = ours["tensorflow_seconds"] / ours["seconds"]
            row.append(f"{share:.0%}" if imports else "none")
        else:
            row.append(None)
        rows.append(row)
    headers = ["node", "ours, s", "/ tfx.v1", "TFX's, s", "/ tfx.v1", "TensorFlow's share of ours"]
    parts = [
        "From the start of a node's process to the first line of its executor, the command line "
        "read, the driver's work done and inputs resolved. Ours is `python -m pipeline.node`, as "
        "a container calls it; TFX's is the entry point of its own containers, "
        "`kubeflow_v2_run_executor`, which has no driver to run, with the same executor, inputs "
        "and outputs. A resolver has no executor: its time goes to its end, and TFX's runs on "
        f"Vertex alone. The least of {figures['rounds']}, in turn, on sqlite.",
        f"In the same rounds `import tfx.v1` took {whole:.2f} s and `import tensorflow` "
        f"{tensorflow:.2f} s, {tensorflow / whole:.2f} of it.",
        table(headers, rows),
    ]
    for imports, what in ((True, "import TensorFlow"), (False, "do without TensorFlow")):
        if shares[imports]:
            goal = f" (target: at most {TARGET})" if imports else ""
            parts.append(
                f"- nodes that {what}: at most {max(shares[imports]):.2f} of `import tfx.v1`{goal}"
            )
    return "\n\n".join([*parts, *failed])


def _name(nodes: list[str], *, executor: bool) -> str:
    name, *others = nodes
    if others:
        name = ", ".join([name, *(other.rpartition(".")[2] for other in others)])
    return name if executor else f"{name} (resolver)"
