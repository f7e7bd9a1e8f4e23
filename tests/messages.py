"""An IHE DPOW LAB-104 message, as in the profile's draft: an image is available, or no longer."""

STAT, ROUTINE = "S^Stat^HL70485", "R^Routine^HL70485"

_SEGMENTS = (
    "MSH|^~\\&|IMA|PATH|PATHLANE|PATH|20261123100000+0000||{kind}|{id}|P|2.5.1|||AL|NE||{charset}",
    "PID|||1234567890^^^HIS&1.2.3&ISO||MÜLLER^ZOË||19000101|F",
    "ORC|SC||{accession}||IP",
    "TQ1|1||||||||{priority}",
    "OBR|1||{accession}|687891.024^Digital AP Study^L",
    "SPM|1|P^{accession}-{slide}||TISS^Tissue^HL70487||||80248007^Breast^SCT|{scan}|{accession}",
    "OBX|1|RP|StudyInstanceUID^^DCM||1.2.3.4.5||||||F",
    "OBX|2|RP|SeriesInstanceUID^^DCM||{series}||||||F",
)


def lab_104(
    control_id, *, series="1.2.3.4.6", available="Y", priority=ROUTINE, slide="A1", accession="S26-0001",
    kind="OML^O21^OML_O21",
) -> str:  # fmt: skip
    """Segments end with CR."""
    words = {
        "id": control_id, "accession": accession, "slide": slide, "priority": priority, "series": series,
        "kind": kind, "charset": "UNICODE UTF-8|||DPOW-IMAGE-NOTIF^IHE",
        "scan": f"|||||||||20261123095500||{available}|||||||||",
    }  # fmt: skip
    return "".join(segment.format(**words) + "\r" for segment in _SEGMENTS)
