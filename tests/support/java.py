"""Programs in Java for tests: what they need is fetched, and they are compiled, once for all runs."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
from tests.support.caches import open_cache

_FETCH: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_SECONDS: Final = 120
_QUICK_START: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


def find_command(project: Path) -> list[str]:
    """Find what starts a project's program; skips the test where Java, Maven or its registry is missing.

    Args:
        project: A directory with a pom.xml that names dependencies, and one class.
    """
    classpath = build(project)
    if isinstance(classpath, str):
        pytest.skip(classpath)
    [source] = project.glob("*.java")
    return ["java", *_QUICK_START, "-cp", ":".join(classpath), source.stem]


def write_trust(ca_file: Path, store: Path) -> str:
    """Write a trust store; returns the variable's value that makes a program use it.

    Args:
        ca_file: Whom it trusts.
        store: Where that is put as Java reads it.
    """
    trusted = x509.load_pem_x509_certificates(ca_file.read_bytes())
    content = serialize_java_truststore([PKCS12Certificate(each, None) for each in trusted], NoEncryption())
    store.write_bytes(content)
    return f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12"


@functools.cache
def build(project: Path) -> list[str] | str:
    """Fetch what a project needs, and compile it.

    Returns:
        Where Java finds its class and what that needs, or why there is none.
    """
    compiler, maven = shutil.which("javac"), shutil.which("mvn")
    if compiler is None or maven is None or shutil.which("java") is None:
        return "java, javac and mvn are needed for this test"
    pom, [source] = project / "pom.xml", project.glob("*.java")
    with open_cache("maven", [pom]) as directory:
        jars = directory / "jars"
        if not jars.exists() and (problem := _fetch(maven, pom, jars)):
            return problem
    with open_cache("java", [pom, source]) as directory:
        classes = directory / "classes"
        if not classes.exists():
            made = directory / "made"
            subprocess.run([compiler, "-cp", f"{jars}/*", "-d", made, source], check=True)
            made.rename(classes)
    return [str(classes), f"{jars}/*"]


def _fetch(maven: str, pom: Path, jars: Path) -> str | None:
    """Fetch what a pom.xml names; answers why the registry gave nothing."""
    made = jars.with_name("made")
    command = [maven, "--batch-mode", "--quiet", f"--file={pom}", _FETCH]
    command += [f"-DoutputDirectory={made}", "-DincludeScope=runtime"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        return f"Maven did not fetch the packages within {_FETCH_SECONDS} s"
    if ended.returncode:
        return f"Maven cannot fetch the packages: {ended.stdout.strip()[:300]}"
    made.rename(jars)
    return None
