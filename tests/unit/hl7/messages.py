"""Messages for tests, made here: text with one segment a line, and what may be changed in it."""

from __future__ import annotations

HEAD = (
    r"MSH|^~\&|IMA|PATH|AIWORKER|PATH|20261123100000+0000||{kind}|{control_id}|{processing}|2.5.1|||{accept}|{apply}"
    r"||{charset}|||{profile}"
)

LAB_104 = """
PID|||1234567890^^^HIS&1.2.3&ISO||MÜLLER^ZOË||19000101|F
ORC|SC||S26-0001||IP
TQ1|1||||||||S^Stat^HL70485
OBR|1||S26-0001|687891.024^Digital AP Study^L
SPM|1|S26-0001-A1-01|S26-0001-A1|TISS^Tissue^HL70487||||80248007^Breast^SCT||||||||||20261123095500||Y||||||||||S26-0001
OBX|1|RP|StudyInstanceUID^^DCM||1.2.3.4.5||||||F
OBX|2|RP|SeriesInstanceUID^^DCM||1.2.3.4.6||||||F
"""


def message(
    body: str = LAB_104,
    *,
    kind: str = "OML^O21^OML_O21",
    profile: str = "DPOW-IMAGE-NOTIF^IHE",
    control_id: str = "MSG00001",
    processing: str = "P",
    accept: str = "AL",
    apply: str = "NE",
    charset: str = "UNICODE UTF-8",
    encoding: str = "utf-8",
) -> bytes:
    head = HEAD.format(
        kind=kind, profile=profile, control_id=control_id, processing=processing, accept=accept, apply=apply,
        charset=charset,
    )  # fmt: skip
    lines = [head, *(line for line in body.splitlines() if line)]
    return "".join(line + "\r" for line in lines).encode(encoding)
