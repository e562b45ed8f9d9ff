"""A ZooKeeper of Debian's, on loopback, with the TLS that Nodepool insists on."""

import contextlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fetched
import stage
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

# ZooKeeper and what its server needs of its dependencies; its embedded web server stays off.
PACKAGES = (
    "libzookeeper-java",
    "libcommons-cli-java",
    "libcommons-io-java",
    "libdropwizard-metrics-java",
    "libjackson2-annotations-java",
    "libjackson2-core-java",
    "libjackson2-databind-java",
    "libnetty-java",
    "libslf4j-java",
    "libsnappy-java",
)


@dataclass(frozen=True)
class ZooKeeper:
    """One that runs."""

    port: int
    # The one certificate: both sides', and its own issuer's.
    certificate: Path
    key: Path


@contextlib.contextmanager
def zookeeper(home: Path) -> Iterator[ZooKeeper]:
    """Run a ZooKeeper.

    Raises:
        NotFetched: there is none.
    """
    jars, java = fetched.debian("zookeeper", *PACKAGES) / "usr" / "share" / "java", fetched.java()
    certificate, key = _certificate(home)
    both = home / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    port = stage.free_port()
    settings = home / "zoo.cfg"
    settings.write_text(_settings(home / "zookeeper", port, both, certificate))
    command = [java, "-Xmx512m", "-cp", f"{jars}/*"]
    command += ["org.apache.zookeeper.server.ZooKeeperServerMain", str(settings)]
    with stage.running(command, log=home / "zookeeper.log"):
        stage.wait_for(port)
        yield ZooKeeper(port, certificate, key)


def _settings(folder: Path, port: int, both: Path, certificate: Path) -> str:
    lines = {
        "dataDir": folder,
        "tickTime": 2000,
        "maxClientCnxns": 0,
        "admin.enableServer": "false",
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "secureClientPort": port,
        "secureClientPortAddress": stage.HOST,
        "ssl.keyStore.location": both,
        "ssl.keyStore.type": "PEM",
        "ssl.trustStore.location": certificate,
        "ssl.trustStore.type": "PEM",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _certificate(home: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stage.HOST)])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address(stage.HOST))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = home / "zookeeper.pem", home / "zookeeper-key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
