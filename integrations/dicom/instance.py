"""Instance: what is kept in mind of one DICOM object that a lab's system sent.

In: header values. Out: a frozen value, and whether its pixels may be read. It holds no name, number or date
of a patient. It does not know where it is kept, and it reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass

#: values of Image Type for pictures that show the label of a slide, or too little; LOCALIZER is what an
#: overview was called in early writers (PS3.3 C.8.12.4.1.1)
NOT_THE_SPECIMEN = frozenset({"LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Instance:
    """One stored object. Text fields are empty where the object says nothing."""

    sop_class: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    modality: str
    #: Image Type, value 3: `VOLUME`, `LABEL` ...
    flavor: str
    accession: str
    #: Container Identifier (0040,0512): the slide
    container: str
    #: Specimen Identifiers (0040,0551)
    specimens: tuple[str, ...]
    #: of one frame; 0 where there is no picture
    rows: int
    columns: int
    frames: int
    #: of the whole level of a slide; 0 where it is no slide
    matrix_rows: int
    matrix_columns: int
    #: False for labels, overviews and whatever is marked as showing text about the patient
    eligible: bool
    #: application entity title of the sender
    caller: str
    #: `upload:sha256-...`; empty until the bytes are kept
    reference: str = ""

    def __repr__(self) -> str:
        return f"Instance(eligible={self.eligible!r})"

    @property
    def is_slide(self) -> bool:
        """Whether it is one level of a pyramid."""
        return self.matrix_rows > 0 and self.matrix_columns > 0

    @property
    def pixels(self) -> int:
        """Of the picture that is read without a frame number: the level of a slide, else one frame."""
        return self.matrix_rows * self.matrix_columns if self.is_slide else self.rows * self.columns
