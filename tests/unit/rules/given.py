"""Orders and rules for the tests of this room."""

from pathlib import Path
from textwrap import dedent, indent

from integrations.rules.reading import read_rules
from worker.jobs.order import Channel, Code, Order, Sender, Verb

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "rules.yaml"

ARCHIVE = Sender(channel=Channel.HL7, application="IMA", facility="PATH")

PROTOCOLS = """\
version: 1
protocols:
  stain-check:
    version: 3
    questions:
      - {name: stain, question: 'Which stain is shown?', options: [H&E, DAB], triage: {DAB: urgent}}
  second:
    version: 1
    questions:
      - {name: open, question: 'What is seen?', style: cod, regions: [[1, 2, 3, 4]]}
"""


def an_order(**fields):
    return Order(
        **{
            "verb": Verb.AVAILABLE,
            "sender": ARCHIVE,
            "accession": "S26-0001",
            "slide": "S26-0001-A1-01",
            "procedure": Code(code="687891.024", text="Biopsy, breast"),
            "stains": (Code(code="12710003", text="Hematoxylin stain", system="SCT"),),
            "body_site": Code(code="80248007", text="Breast"),
        }
        | fields
    )


def rules_with(text, more=""):
    """Rules over the two protocols above; `text` is the list under `rules`."""
    return read_rules(f"{PROTOCOLS}{dedent(more)}rules:\n{indent(dedent(text), ' ')}", "rules.yaml")


def one_rule(*keys):
    """A rule `r` that asks `stain-check`, with these lines more."""
    return rules_with("\n".join(["- name: r", "  ask: stain-check", *(f"  {key}" for key in keys)]))
