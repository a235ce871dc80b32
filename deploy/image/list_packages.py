"""Complete an SBOM: hcpcreds itself, and Debian's packages beside Python's.

usage: list_packages.py SBOM_OF_PYTHON_PACKAGES STATUS_FOLDER VERSION
"""

import json
import sys
from email.parser import Parser
from pathlib import Path


def main() -> None:
    """Print the whole SBOM (CycloneDX, JSON)."""
    python, folder, version = sys.argv[1:]
    sbom = json.loads(Path(python).read_text(encoding="utf-8"))
    reference = f"pkg:pypi/hcpcreds@{version}"
    sbom.setdefault("metadata", {})["component"] = {
        "bom-ref": reference,
        "type": "container",
        "name": "hcpcreds",
        "version": version,
        "purl": reference,
    }
    for path in sorted(Path(folder).iterdir()):
        fields = Parser().parsestr(path.read_text(encoding="utf-8"))
        name, number = fields["Package"], fields["Version"]
        url = f"pkg:deb/debian/{name}@{number.replace('+', '%2B').replace('~', '%7E')}?distro=trixie"
        component = {"bom-ref": url, "type": "library", "name": name, "version": number, "purl": url}
        sbom["components"].append(component)
    print(json.dumps(sbom, indent=2))  # noqa: T201 (its result)


main()
