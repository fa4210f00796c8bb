"""The source of a layer, without what a reader of its arithmetic can do without."""

import ast
import re
import textwrap


def bare(source: str, *, width: int = 110) -> str:
    """The same function without types, checks of its arguments, and the examples and errors of its docstring."""
    data = textwrap.dedent(source).rstrip().encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    cuts: list[tuple[int, int]] = []

    def end(node: ast.AST) -> int:
        return starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def start(node: ast.AST) -> int:
        return starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.arg) and node.annotation is not None:
            cuts.append((start(node) + len(node.arg.encode()), end(node.annotation)))
        elif isinstance(node, ast.AnnAssign):
            cuts.append((end(node.target), end(node.annotation)))
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            cuts.append((data.rindex(b" ->", 0, start(node.returns)), end(node.returns)))
        elif isinstance(node, ast.stmt) and _checks(node):
            cuts.append((starts[node.lineno - 1], starts[node.end_lineno or node.lineno]))
    for first, last in sorted(cuts, reverse=True):
        data = data[:first] + data[last:]
    text = re.sub(r"  # type: ignore\[[^\]]*\]", "", data.decode())
    text = re.sub(r'^( +)"""(.*?)"""', _told, text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"def \w+\(.*?\):", lambda found: _joined(found[0].replace(" = ", "="), width), text, flags=re.DOTALL)


def _checks(node: ast.stmt) -> bool:
    """Whether a statement only looks at arguments: a call of a ``check_...``, or an if that raises."""
    if isinstance(node, ast.If):
        return not node.orelse and all(isinstance(each, ast.Raise) for each in node.body)
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.lstrip("_").startswith("check_")


def _told(docstring: re.Match[str]) -> str:
    """A docstring without its examples and errors."""
    kept = [part.rstrip() for part in docstring[2].split("\n\n") if not part.lstrip().startswith((">>>", "Raises "))]
    return f'{docstring[1]}"""' + "\n\n".join(kept) + (f"\n{docstring[1]}" if len(kept) > 1 else "") + '"""'


def _joined(signature: str, width: int) -> str:
    """A signature on one line, where it fits."""
    if "\n" not in signature:
        return signature
    name, *arguments, last = (line.strip() for line in signature.splitlines())
    whole = f"{name}{' '.join(arguments).removesuffix(',')}{last}"
    return whole if len(whole) <= width else signature
