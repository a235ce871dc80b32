"""The links between a pod's volume and the vault: class, vault, identity, driver, version."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from hcpcreds.cluster.case import Case, Mounted, describe_notes, find_error
from hcpcreds.cluster.causes import Cause, find_cause
from hcpcreds.cluster.events import Failure, find_failure, is_started
from hcpcreds.cluster.facts import Listing, name_of, read_time
from hcpcreds.cluster.links import Link, absent, broken, ok, unknown
from hcpcreds.components import COMPONENTS
from hcpcreds.kubernetes.nodes import Node
from hcpcreds.manifests.check.subjects import Named, Subjects
from hcpcreds.roles import list_role_assignments
from hcpcreds.text import show_id

CLASS, VAULT, IDENTITY, DRIVER, VERSION = "class", "vault", "identity", "driver", "version"
_PATIENCE: Final = timedelta(minutes=5)
"""After so long without a mount or a message, nobody tries: the kubelet does every two minutes."""


def explain_mounting(case: Case) -> Iterator[Link]:
    """Follow each credential of a pod to its vault and back."""
    if not case.volumes:
        yield from (
            absent(name, "it mounts no credential itself")
            for name in (CLASS, VAULT, IDENTITY, DRIVER, VERSION)
        )
        return
    for volume in {volume.class_name: volume for volume in case.volumes}.values():
        failure = find_failure(case, volume)
        cause = find_cause(failure.message) if failure else None
        found = case.facts.classes.find(volume.class_name)
        status = _find_status(case, volume)
        yield _explain_class(case, volume, found)
        if found is None:
            yield from (
                unknown(name, f"the SecretProviderClass {volume.class_name} says it, and is not known")
                for name in (VAULT, IDENTITY)
            )
        else:
            yield _explain_vault(case, found, failure, cause)
            yield _explain_identity(case, found, failure, cause, is_mounted=status is not None)
        yield _explain_driver(case, volume, failure, cause)
        yield _explain_version(case, volume, status, failure)


def _explain_class(case: Case, volume: Mounted, found: Node | None) -> Link:
    classes, name = case.facts.classes, volume.class_name
    if classes.problem:
        return unknown(CLASS, classes.problem, classes.fix)
    if not classes.is_served:
        return broken(
            CLASS,
            "the cluster does not know SecretProviderClasses",
            "Install the Secrets Store CSI driver with its provider for Azure; in AKS, it is the add-on "
            "azure-keyvault-secrets-provider.",
        )
    findings = case.find(CLASS, name)
    if found is None:
        known = any(component.secret_provider_class == name for component in COMPONENTS)
        return broken(
            CLASS,
            f"there is no SecretProviderClass {name}" if name else "the volume names no SecretProviderClass",
            "HyperShift writes it, and so does hcpcreds render HOSTEDCLUSTER.yaml | kubectl apply -f -."
            if known
            else "Create it in this namespace, or correct secretProviderClass in the volume.",
        )
    if error := find_error(findings):
        return broken(CLASS, f"{name}: {error.code}: {error.reason}", error.fix)
    return ok(CLASS, f"{name}, of the provider {found.at('spec', 'provider').text}{describe_notes(findings)}")


def _explain_vault(case: Case, found: Node, failure: Failure | None, cause: Cause | None) -> Link:
    findings = case.find(VAULT, name_of(found))
    if error := find_error(findings):
        return broken(VAULT, f"{name_of(found)}: {error.code}: {error.reason}", error.fix)
    what = f"{_describe_objects(found)} of the vault {found.at('spec', 'parameters', 'keyvaultName').plain}"
    if failure and cause and cause.link == VAULT:
        return broken(VAULT, f"{what}: {cause.what}: {failure.reason}", cause.fix)
    return ok(VAULT, what + describe_notes(findings))


def _describe_objects(found: Node) -> str:
    subjects = Subjects()
    item = Named(found, "SecretProviderClass", name_of(found), found.at("metadata", "namespace").text)
    subjects.add_class(item)
    texts = []
    for entry in subjects.get_objects(item):
        name, alias = entry["objectName"].plain, entry["objectAlias"].plain
        file = f" (file {alias})" if alias and alias != name else ""
        texts.append(f"{entry['objectType'].plain} {name}{file}")
    return ", ".join(texts) or "nothing"


def _explain_identity(
    case: Case, found: Node, failure: Failure | None, cause: Cause | None, *, is_mounted: bool
) -> Link:
    findings = case.find(IDENTITY, name_of(found))
    if error := find_error(findings):
        return broken(IDENTITY, f"{name_of(found)}: {error.code}: {error.reason}", error.fix)
    reader = _describe_reader(found.at("spec", "parameters"))
    if failure and cause and cause.link == IDENTITY:
        return broken(IDENTITY, f"{reader}: {cause.what}: {failure.reason}", cause.fix)
    needs = "; ".join(_describe_roles(case, found))
    if is_mounted:
        return ok(IDENTITY, f"{reader}, which has read it{needs}{describe_notes(findings)}")
    return unknown(IDENTITY, f"{reader}, which needs Key Vault Secrets User on the vault{needs}")


def _describe_reader(parameters: Node) -> str:
    client_id = parameters["clientID"].plain
    if parameters["useVMManagedIdentity"].plain.lower() == "true":
        assigned = parameters["userAssignedIdentityID"].plain
        return f"the vault is read by the node's identity {show_id(assigned) if assigned else '(its own)'}"
    if parameters["useAzureTokenProxy"].plain.lower() == "true":
        return f"the vault is read through the identity binding of {show_id(client_id)}"
    return f"the vault is read by the workload identity {show_id(client_id)}"


def _describe_roles(case: Case, found: Node) -> Iterator[str]:
    """Describe the roles of the identity in the file, which only Azure knows."""
    if case.cluster is None:
        return
    for component in COMPONENTS:
        identity = component.get_identity(case.cluster)
        if component.secret_provider_class != name_of(found) or identity is None:
            continue
        scopes: dict[str, list[str]] = {}
        for each in list_role_assignments(case.cluster):
            if each.component == component.name and each.identity == "control-plane":
                scopes.setdefault(each.role, []).append(each.scope.rpartition("/")[2])
        name = f", {show_id(identity.client_id)}," if identity.client_id else ""
        if scopes:
            needed = ", ".join(f"{role} on {' and '.join(groups)}" for role, groups in scopes.items())
            yield f"; the identity in the file{name} needs the role {needed} (Azure knows if it has it)"


def _explain_driver(case: Case, volume: Mounted, failure: Failure | None, cause: Cause | None) -> Link:
    events = case.facts.events
    if events.problem:
        return unknown(DRIVER, events.problem, events.fix)
    if failure is None:
        return ok(DRIVER, "no event tells of a mount that fails")
    if cause is not None and cause.link == CLASS and case.facts.classes.find(volume.class_name):
        return ok(
            DRIVER, "it found no SecretProviderClass, which is there now; it tries again in two minutes"
        )
    if cause is not None and cause.link != DRIVER:
        return ok(DRIVER, f"it has told why: see {cause.link}")
    return broken(
        DRIVER,
        f"{cause.what if cause else 'it cannot mount the credential'}: {failure.reason}",
        cause.fix if cause else "The message is the driver's; its log on the pod's node says more.",
    )


def _find_status(case: Case, volume: Mounted) -> Node | None:
    """Find what the driver has recorded of a mount that was made."""
    for status in case.facts.statuses:
        said = status["status"]
        names = (said["podName"].text, said["secretProviderClassName"].text)
        if names == (case.subject.name, volume.class_name) and said["mounted"].boolean:
            return status
    return None


def _explain_version(case: Case, volume: Mounted, status: Node | None, failure: Failure | None) -> Link:
    statuses: Listing = case.facts.statuses
    pod = case.subject.pod
    if statuses.problem:
        return unknown(VERSION, statuses.problem, statuses.fix)
    if pod is None:
        return absent(VERSION, "there is no pod")
    if status is None:
        return _explain_no_status(case, pod, failure)
    versions = _read_versions(status)
    found = case.facts.classes.find(volume.class_name)
    expected = _list_ids(found) if found is not None else set()
    # With objectVersionHistory an id has an index behind it.
    mounted = {"/".join(each.split("/")[:2]) for each in versions}
    if expected and expected != mounted:
        return broken(
            VERSION,
            f"mounted is {', '.join(sorted(versions)) or 'nothing'}, and the SecretProviderClass now names "
            f"{', '.join(sorted(expected))}",
            "The driver mounts it at its next rotation; where rotation is off, delete the pod.",
        )
    what = ", ".join(f"{each} at version {version}" for each, version in versions.items())
    if since := _find_written(status):
        what += f", since {since}"
    others = _list_other_versions(case, volume, versions)
    if others:
        what += f"; other pods of the namespace have {', '.join(others)}"
    return ok(VERSION, what)


def _explain_no_status(case: Case, pod: Node, failure: Failure | None) -> Link:
    if is_started(pod):
        return broken(
            VERSION,
            "its containers run, and the driver has recorded no mount",
            "Is the volume really mounted? kubectl get secretproviderclasspodstatuses; the driver's log on "
            f"the node {pod.at('spec', 'nodeName').text or 'of the pod'} says why.",
        )
    made = read_time(pod.at("metadata", "creationTimestamp").text)
    if (
        made is None
        or case.facts.now - made < _PATIENCE
        or failure is not None
        or not pod.at("spec", "nodeName").is_set
    ):
        return absent(VERSION, "nothing is mounted yet")
    return broken(
        VERSION,
        f"nothing is mounted, and the pod is {(case.facts.now - made) // timedelta(minutes=1)} minutes old",
        f"Do the kubelet and the driver run on the node {pod.at('spec', 'nodeName').text}?",
    )


def _read_versions(status: Node) -> dict[str, str]:
    objects = status.at("status", "objects").items()
    return {each["id"].text: each["version"].text or "unknown" for each in objects}


def _list_ids(found: Node) -> set[str]:
    subjects = Subjects()
    item = Named(found, "SecretProviderClass", name_of(found), "")
    subjects.add_class(item)
    return {
        f"{entry['objectType'].plain}/{entry['objectName'].plain}" for entry in subjects.get_objects(item)
    }


def _list_other_versions(case: Case, volume: Mounted, versions: dict[str, str]) -> list[str]:
    """List the versions of the same secrets that other pods have, oldest known first."""
    found: dict[str, None] = {}
    for status in case.facts.statuses:
        said = status["status"]
        if said["secretProviderClassName"].text == volume.class_name and said["mounted"].boolean:
            for each, version in _read_versions(status).items():
                if versions.get(each) not in (None, version):
                    found[version] = None
    return list(found)


def _find_written(status: Node) -> str:
    """Find when the driver last wrote a record, which it does only when a version has changed."""
    times = [entry["time"].text for entry in status.at("metadata", "managedFields").items()]
    return max((time for time in times if read_time(time)), default="")
