"""`hcpcreds explain`: says in a cluster where the chain from a label to a credential breaks."""

import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from hcpcreds.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hcpcreds.cluster.links import Explanation, Link

_COLORS: Final = {"ok": "green", "broken": "red", "unknown": "yellow", "absent": "bright_black"}
_INDENT: Final = " " * 10


@click.command(
    "explain",
    epilog="""\b
Examples:
  kubectl hcpcreds explain pod/ingress-operator-5d8f9c-x7k2p -n clusters-otter
  hcpcreds explain deployment/ingress-operator -n clusters-otter
  hcpcreds explain hostedcontrolplane/otter -n clusters-otter
  hcpcreds explain -n clusters-otter --output json
""",
)
@click.argument("target", required=False, metavar="[KIND/NAME]")
@click.option("-n", "--namespace", help="Where it is; by default the namespace of the kubeconfig's context.")
@click.option("--context", help="The context of the kubeconfig to use instead of the current one.")
@click.option("-v", "--verbose", is_flag=True, help="Show every link, also of pods that lack nothing.")
@output_option("json is a list of pods with their links.")
def command(
    target: str | None, namespace: str | None, context: str | None, *, verbose: bool, output: str
) -> None:
    """Explain why a pod has its Azure credential, or where the chain to it breaks, with the fix.

    KIND is pod, deployment, statefulset or hostedcontrolplane; without, all pods of the namespace that need a
    credential. Each link is looked at: the component, the hosted control plane, the admission policy, the
    mount, the SecretProviderClass, the vault, the identities, what the driver has told, the version that is
    mounted, the sidecar, the program.

    It only reads, it reads no Secrets, and it needs nothing of hcpcreds in the cluster. What it may not see,
    it says, and goes on; deploy/explain has the ClusterRole.

    The exit status is 0 if no link is broken, 1 if one is or the API server cannot be asked, and 2 when an
    argument cannot be used or nothing needs a credential.
    """
    from hcpcreds.cluster.explain import explain
    from hcpcreds.cluster.reading import parse_target, read_facts
    from hcpcreds.errors import InputError
    from hcpcreds.kubernetes.reading import Cluster

    wanted = parse_target(target) if target is not None else None
    with Cluster.open(context=context) as cluster:
        where = namespace or cluster.namespace
        facts = read_facts(cluster, where, wanted, now=datetime.now(UTC))
    explanations = explain(facts, wanted)
    if not explanations:
        hint = "Name another namespace with --namespace."
        raise InputError(where, ["nothing in this namespace needs a credential"], hint=hint)
    if output == "json":
        click.echo(json.dumps([_build(each) for each in explanations], indent=2))
    else:
        is_long = verbose or (wanted is not None and wanted.kind == "pod") or len(explanations) == 1
        text = "\n\n".join(_render(each, is_long=is_long) for each in explanations)
        click.echo(text, color=False if os.environ.get("NO_COLOR") else None)
        click.echo(_summarize(explanations), err=True)
    sys.exit(1 if any(each.broken for each in explanations) else 0)


def _build(explanation: "Explanation") -> dict[str, object]:
    import msgspec

    broken = explanation.broken
    return {
        "kind": explanation.kind,
        "namespace": explanation.namespace,
        "name": explanation.name,
        "component": explanation.component,
        "broken": broken.name if broken else None,
        "links": [msgspec.structs.asdict(link) for link in explanation.links],
    }


def _render(explanation: "Explanation", *, is_long: bool) -> str:
    broken = explanation.broken
    title = click.style(explanation.title, bold=True)
    color = "red" if broken else "green" if explanation.links[-1].state == "ok" else "yellow"
    verdict = click.style(explanation.verdict, fg=color)
    shown = explanation.links if is_long else tuple(filter(None, (broken,)))
    unknown = sum(link.state == "unknown" for link in explanation.links)
    note = f", {unknown} not known" if unknown and not is_long else ""
    lines = [_render_link(link, is_first=link is broken) for link in shown]
    return "\n".join([f"{title}: {verdict}{note}", *lines])


def _render_link(link: "Link", *, is_first: bool) -> str:
    line = f"  {click.style(f'{link.state:7}', fg=_COLORS[link.state])} {link.name}: {link.what}"
    # What is broken behind the first may be so because of it.
    return f"{line}\n{_INDENT}fix: {link.fix}" if link.fix and (is_first or link.state == "unknown") else line


def _summarize(explanations: "Sequence[Explanation]") -> str:
    broken = Counter(each.broken.name for each in explanations if each.broken)
    places = "".join(f"; {number} broken at {name}" for name, number in broken.most_common())
    number = len(explanations)
    return f"{number} {'pod or workload' if number == 1 else 'pods and workloads'} looked at{places}"
