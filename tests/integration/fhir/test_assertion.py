"""The signed assertion of SMART backend services, checked by Node's crypto instead of the library that made it."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from integrations.fhir.token import PrivateKey
from tests.conftest import missing

CHECK = """
const { key, jwt } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const [head, claims, signature] = jwt.split(".");
const fits = require("node:crypto").verify("sha384", Buffer.from(`${head}.${claims}`),
  { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
console.log(JSON.stringify({ fits, head: JSON.parse(Buffer.from(head, "base64url")) }));
"""


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_node_accepts_the_signature(algorithm):
    if shutil.which("node") is None:
        missing("node")
    made = {
        "RS384": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    private = made[algorithm]()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    credentials = PrivateKey(token_url="https://auth.example", client_id="c", key=pem.decode(), key_id="k")
    _, form = credentials.proof(now=datetime(2026, 11, 23, tzinfo=UTC), new_id=lambda: "1")
    given = json.dumps({"key": public.decode(), "jwt": form["client_assertion"]})
    done = subprocess.run(["node", "-e", CHECK], input=given, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"fits": True, "head": {"alg": algorithm, "kid": "k", "typ": "JWT"}}
